"""The configurations of the commands that import into, inspect and advise on a corpus.

Each is checked where it enters; ``--help`` of a command explains every key.
"""

from dataclasses import dataclass

from collect.config import check_record, check_seed, require
from nowcast.paths import at_home


@dataclass
class ImportCheckpointsConfig:
    """A series of checkpoints to import as a run."""

    checkpoints: str
    corpus: str
    run: str
    task: str | None = None
    operations: str | None = None
    prefix: str | None = None
    sample: int | None = None
    record: str = "weights"
    band: int = 16

    def __post_init__(self) -> None:
        require(
            bool(self.checkpoints),
            "checkpoints",
            repr(self.checkpoints),
            "must be a folder, or a pattern of files",
        )
        require(bool(self.corpus), "corpus", repr(self.corpus), "must be a folder's path, or a URL")
        for key in ("task", "operations", "prefix"):
            require(
                getattr(self, key) != "", key, "''", "must be a text; leave it out for the usual"
            )
        check_record(self.sample, self.record, self.band)


@dataclass
class InspectCorpusConfig:
    """A corpus to inspect."""

    corpus: str
    pictures: str | None = None
    weights: int = 12
    every_run: bool = False
    verify: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        require(bool(self.corpus), "corpus", repr(self.corpus), "must be a folder's path, or a URL")
        require(self.pictures != "", "pictures", repr(self.pictures), "must be a folder's path")
        self.pictures = self.pictures and at_home(self.pictures)
        require(1 <= self.weights <= 1000, "weights", self.weights, "must be 1 to 1000")
        check_seed("seed", self.seed)


@dataclass
class AdviseConfig:
    """A run to advise on."""

    corpus: str | None = None
    run: str | None = None
    checkpoints: str | None = None
    prefix: str | None = None
    steps: int | None = None
    pictures: str | None = None

    def __post_init__(self) -> None:
        for key in ("corpus", "run", "checkpoints", "prefix", "pictures"):
            require(
                getattr(self, key) != "", key, "''", "must be a text; leave it out for the usual"
            )
        one = (self.corpus is None) != (self.checkpoints is None)
        require(one, "corpus", self.corpus, "give corpus=… or checkpoints=…, and not both")
        require(
            self.run is None or self.corpus is not None,
            "run",
            self.run,
            "is of a corpus; give corpus=… too",
        )
        require(
            self.prefix is None or self.corpus is None,
            "prefix",
            self.prefix,
            "is of checkpoints; leave it out",
        )
        require(
            self.steps is None or self.steps >= 1,
            "steps",
            self.steps,
            "must be 1 or more; null: unknown",
        )
        self.pictures = self.pictures and at_home(self.pictures)
