"""The configurations of the commands that import into, inspect and advise on a corpus.

Each is checked where it enters. The text below a key is what a command's ``--help`` prints.
"""

from dataclasses import dataclass

from collect.checks import check_record, check_seed, require
from nowcast.paths import at_home
from nowcast.types import UserError


@dataclass
class ImportCheckpointsConfig:
    """Make a run of a corpus from a series of checkpoints that any program wrote.

    nowcast-import 'checkpoints="runs/7/step_*.safetensors"' corpus=corpora/mine run=mine-7

    Half and double precision become float32. Integers, and running means and variances, are left
    out. Arrays keep the order of their axes: a convolution of PyTorch's stays (out, in, height,
    width), which makes no difference to a forecaster. --cfg job prints the configuration.
    """

    checkpoints: str
    """a folder of checkpoints, or a pattern in quotes: .safetensors, .npz, .h5, .pt and .pth (where
    PyTorch is installed), folders of Orbax; the numbers in the names are the steps: the one after
    "step", else the one that differs"""
    corpus: str
    """the folder to write, new or with other runs; or a URL: gs://bucket/mine, s3://bucket/mine,
    file:///…"""
    run: str
    """the run's name in the corpus; one that is there already is refused"""
    task: str | None = None
    """what was trained: runs of one task are alike; null: the run's name without the number behind
    it"""
    operations: str | None = None
    """a YAML file of 'pattern: operation', such as "*.bn?.weight": norm; the first that fits
    counts, null leaves an array out. Operations: conv, depthwise_conv, fc, bias, norm, embedding,
    other. What it leaves open is told by names and ranks"""
    prefix: str | None = None
    """the part of a checkpoint that holds the parameters, such as model or state.params; null: the
    one called model, params or state_dict beside an optimizer's state, else all arrays"""
    sample: int | None = None
    """record so many scalars of each leaf at most, the same in every run: for large networks, and
    forecasters of single weights; null: all"""
    record: str = "weights"
    """gram: record inner products in place of the weights, kilobytes a leaf of any size: for
    forecaster=gram"""
    band: int = 16
    """with record=gram: how many increments each is multiplied with; so many checkpoints are held
    in memory"""

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
    """Look at a corpus: what it holds, whether it is whole, and pictures of how its weights move.

    nowcast-inspect corpus=corpora/mine

    --cfg job prints the configuration.
    """

    corpus: str
    """the folder that nowcast-collect wrote, or its URL: gs://, s3://, https://, file://"""
    pictures: str | None = None
    """where the pictures go; null: beside the corpus, corpora/mine-pictures; of a URL, and of a
    corpus beside which nothing can be written, mine-pictures here; none are drawn where that cannot
    be written either"""
    weights: int = 12
    """how many weights of each operation the picture of their evolution shows"""
    every_run: bool = False
    """true: pictures of every run; false: of one run per task"""
    verify: bool = False
    """true: read every snapshot and compare it with the hash noted when it was written"""
    seed: int = 0
    """the seed of the choice of weights"""

    def __post_init__(self) -> None:
        require(bool(self.corpus), "corpus", repr(self.corpus), "must be a folder's path, or a URL")
        require(self.pictures != "", "pictures", repr(self.pictures), "must be a folder's path")
        self.pictures = self.pictures and at_home(self.pictures)
        require(1 <= self.weights <= 1000, "weights", self.weights, "must be 1 to 1000")
        check_seed("seed", self.seed)


@dataclass
class AdviseConfig:
    """Say how far a run's learning rate is from its best, and whether an average of its snapshots
    or a decay would pay now.

    nowcast-advise corpus=corpora/mine run=mine-7
    nowcast-advise 'checkpoints="runs/7/step_*.safetensors"'

    Advice needs 5 snapshots or more, evenly spaced, 20 steps or more apart. A corpus with
    record=gram does as well, with band=4 or more. --cfg job prints the configuration.
    """

    corpus: str | None = None
    """a folder that nowcast-collect wrote, or collect.record is writing; or the URL of one: gs://,
    s3://, https://, file://. Give this or checkpoints"""
    run: str | None = None
    """the run's name in the corpus, such as the name of a folder in corpora/mine/runs; null: its
    only run. A run that is still being recorded is read up to its last snapshot"""
    checkpoints: str | None = None
    """a folder of checkpoints, or a pattern in quotes: .safetensors, .npz, .h5, .pt and .pth (where
    PyTorch is installed), folders of Orbax; the numbers in the names are the steps"""
    prefix: str | None = None
    """the part of a checkpoint that holds the parameters, such as model or state.params; null: it
    is found"""
    steps: int | None = None
    """the steps that the whole run takes: the interval becomes narrower; null: those of a finished
    run of a corpus, else unknown"""
    pictures: str | None = None
    """the folder for the picture; null: beside the corpus, corpora/mine-pictures; of a URL
    mine-pictures here, of checkpoints advice-pictures here"""

    def __post_init__(self) -> None:
        for key in ("corpus", "run", "checkpoints", "prefix", "pictures"):
            require(
                getattr(self, key) != "", key, "''", "must be a text; leave it out for the usual"
            )
        one = (self.corpus is None) != (self.checkpoints is None)
        if not one:
            raise UserError("give corpus=… or checkpoints=…, and not both; --help explains them")
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
