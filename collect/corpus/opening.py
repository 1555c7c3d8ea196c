"""Open a corpus for reading, in a folder or in a store."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from collect.corpus.json_files import read_manifest
from collect.corpus.layout import FINISHED, hashes
from collect.corpus.places import Place, Remote, at
from collect.corpus.run import Run, check_description, read_descriptions, read_runs
from nowcast import text
from nowcast.paths import dangling
from nowcast.types import UserError


@dataclass(frozen=True)
class Corpus:
    """A set of trajectories.

    Only finished runs are listed, not the half-written ones of a killed collection.
    """

    path: Place
    runs: list[Run]

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def hash(self) -> str:
        """SHA-256 over the configurations and the arrays' hashes of all runs.

        It depends neither on their order nor on where they lie.
        """
        lines = sorted(
            json.dumps([run.config, *hashes(run.info)], sort_keys=True) for run in self.runs
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def open(path: str | Place) -> Corpus:
    """Open a corpus for reading.

    Args:
        path: A folder, or the URL of one in a store: ``gs://bucket/mine``, ``s3://…``,
            ``https://…``, ``file://…``.

    Raises:
        UserError: No corpus there, one of another schema, or a run whose description is damaged.

    Examples:
        >>> from collect import corpus
        >>> for run in corpus.open("corpora/mine"):  # doctest: +SKIP
        ...     print(run.id, run.weights.shape, run.metrics["loss"][-1])
    """
    path = at(path)
    if not (path / "manifest.json").is_file():
        if isinstance(path, Path) and (lost := dangling(path)):
            raise UserError(f"corpus={str(path)!r}: {lost}; give a corpus's folder")
        raise UserError(
            f"corpus={str(path)!r}: no corpus there (no manifest.json); {text.command('collect')}"
            " makes one"
        )
    manifest = read_manifest(path)
    if isinstance(path, Remote):
        runs = [
            Run(*described)
            for described in read_descriptions(path, sorted(manifest["runs"])).values()
        ]
        for run in runs:
            check_description(run)
    else:
        runs = read_runs(path)
    return Corpus(path, [run for run in runs if run.status in FINISHED])
