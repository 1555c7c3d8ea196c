"""Read a corpus, on disk or in a store.

Layout (schema 1)::

    manifest.json          schema, versions, and an index of the runs: task, seed, status, size,
                           configuration
    runs/ID/run.json       one run: its configuration, leaves, status, hash
    runs/ID/weights/       zarr v3 array (snapshots, scalars) float32: blosc-compressed, crc32c
                           per chunk
    runs/ID/gram/          with record=gram, in the place of the weights: inner products, float64
                           (:mod:`collect.corpus.gram`)
    runs/ID/statistics/    where asked for: an array like the weights', of BatchNorm's running
                           mean and variance, which are no parameters
    runs/ID/metrics.jsonl  one line per snapshot: step, epoch, losses, sha256 of the weights (and
                           of the statistics)

All leaves of a model are flattened and laid end to end, in the order of ``leaves``, to the
``scalars`` of one row; with ``sample=N``, at most N scalars of each
(:func:`collect.corpus.leaf.chosen`), and such a leaf says how many are ``stored``. A chunk holds up
to 2¹⁸ scalars of one snapshot, so appending writes only new files, and all snapshots of some
scalars are one small read per snapshot. ``run.json`` is the truth about a run; the manifest repeats
it as an index.

In a store (:mod:`collect.corpus.places`) a run's arrays and metrics lie one folder deeper,
``runs/ID/FOLDER``, which ``run.json`` names, and readers take the runs from the manifest.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from collect.corpus.leaf import Leaf, laid_out, scalars, wrong
from collect.corpus.places import Place, Remote, at
from collect.corpus.trajectory import Trajectory
from nowcast import text
from nowcast.paths import dangling
from nowcast.types import UserError, first_line

SCHEMA = "weight-nowcaster/corpus/1"
CHUNK = 1 << 18
FINISHED = ("complete", "diverged")
DIGESTS = {"weights": "sha256", "gram": "sha256", "statistics": "sha256_statistics"}
"""The arrays of a run, and the names of their hashes in a line of ``metrics.jsonl``."""


@dataclass(frozen=True)
class Run:
    """One recorded training: its trajectory, and its description."""

    path: Place
    info: dict[str, Any]

    @property
    def id(self) -> str:
        """The name of its folder."""
        return self.path.name

    @property
    def config(self) -> dict[str, Any]:
        """Everything that determined it: model, data, optimizer, seed, rate, schedule, epochs."""
        return self.info["config"]

    @property
    def status(self) -> str:
        """``running`` (or killed), ``complete`` or ``diverged``."""
        return self.info["status"]

    @property
    def folder(self) -> Place:
        """Where its arrays and metrics lie."""
        return self.path / self.info["folder"] if "folder" in self.info else self.path

    @cached_property
    def leaves(self) -> list[Leaf]:
        """Path, shape, operation and columns of every array of parameters."""
        return laid_out(self.info["leaves"])

    @property
    def snapshots(self) -> int:
        """How many snapshots it has."""
        return self.info["snapshots"]

    @property
    def band(self) -> int | None:
        """How many snapshots back the inner products of a run with ``record=gram`` reach.

        None: the run holds weights.
        """
        return self.info["gram"]["band"] if "gram" in self.info else None

    @cached_property
    def weights(self) -> Trajectory:
        """The weights, ``(S, N)``, read lazily."""
        if self.band is not None:
            raise UserError(
                f"corpus: run {self.path} holds inner products and no weights; collect it without"
                " record=gram"
            )
        return self._trajectory("weights", self.leaves)

    @cached_property
    def gram(self) -> Trajectory:
        """The inner products of a run with ``record=gram``, ``(S, leaves · band)``.

        See :mod:`collect.corpus.gram`.
        """
        if self.band is None:
            raise UserError(
                f"corpus: run {self.path} holds weights and no inner products; collect it with"
                " record=gram"
            )
        return self._trajectory("gram", self.leaves)

    @property
    def arrays(self) -> dict[str, Trajectory]:
        """All arrays that it holds, by name."""
        names = [
            "weights" if self.band is None else "gram",
            *(["statistics"] if "statistics" in self.info else []),
        ]
        return {name: getattr(self, name) for name in names}

    @cached_property
    def statistics(self) -> Trajectory:
        """BatchNorm's means and variances, ``(S, M)``, with ``leaves`` of their own.

        They are what the run carried besides its weights.
        """
        if "statistics" not in self.info:
            raise UserError(
                f"corpus: run {self.path} was recorded without BatchNorm's statistics; collect it"
                " with batch_stats=true"
            )
        return self._trajectory("statistics", laid_out(self.info["statistics"]["leaves"]))

    def _trajectory(self, name: str, leaves: list[Leaf]) -> Trajectory:
        """One of its arrays, checked against ``run.json``."""
        array = Trajectory(self.folder / name, self.info["snapshots"], leaves)
        if self.status in FINISHED and (
            array.shape[1] != width(self.info, name) or len(array) > array.stored
        ):
            raise UserError(
                f"corpus: {self.path}/run.json does not fit its {name}; remove that folder and"
                " collect it again"
            )
        return array

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; one per snapshot in a finished run."""
        rows = read_metrics(self.folder)
        if self.status in FINISHED and len(rows) != self.info["snapshots"]:
            raise UserError(
                f"corpus: {self.folder}/metrics.jsonl is damaged (line {len(rows) + 1}); remove"
                " that folder and collect it again"
            )
        return rows

    @cached_property
    def metrics(self) -> dict[str, np.ndarray]:
        """Per snapshot: ``step``, ``epoch``, ``train_loss``, and the validation metrics.

        NaN where a snapshot lacks one.
        """
        keys = dict.fromkeys(
            key for row in self.rows for key in row if not key.startswith("sha256")
        )
        return {key: np.array([row.get(key, np.nan) for row in self.rows]) for key in keys}


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


def read_runs(corpus: Path) -> list[Run]:
    """All runs in a corpus's folder, finished or not."""
    return [read_run(file.parent) for file in sorted((corpus / "runs").glob("*/run.json"))]


def read_descriptions(path: Remote, runs: Sequence[str]) -> dict[str, tuple[Place, dict[str, Any]]]:
    """Place and ``run.json`` of the named runs that a store holds."""
    places = [path / "runs" / name for name in runs]
    contents = path.read_all([f"runs/{name}/run.json" for name in runs])
    return {
        place.name: (place, parse(place / "run.json", content))
        for place, content in zip(places, contents, strict=True)
        if content is not None
    }


def read_run(folder: Path) -> Run:
    """Read the run in a folder; refuse one whose description is damaged."""
    run = Run(folder, read_json(folder / "run.json"))
    check_description(run)
    return run


def check_description(run: Run) -> None:
    """Refuse a ``run.json`` that lacks something, or has another form than readers expect."""
    missing = {"config", "status", "leaves", "snapshots", "sha256"} - run.info.keys()
    if missing:
        raise UserError(
            f"corpus: {run.path}/run.json lacks {', '.join(sorted(missing))}; remove that folder"
            " and collect it again"
        )
    if damaged := wrong(run.info):
        raise UserError(
            f"corpus: {run.path}/run.json is damaged ({damaged[0]}); remove that folder and collect"
            " it again"
        )


def width(info: Mapping[str, Any], name: str) -> int:
    """How many columns an array of the described run has."""
    if name == "gram":
        return len(info["leaves"]) * info["gram"]["band"]
    return scalars(info["leaves"] if name == "weights" else info["statistics"]["leaves"])


def hashes(info: Mapping[str, Any]) -> list[str]:
    """The hashes of a run's arrays: of the weights, and of the statistics where it has them."""
    return [info["sha256"], *([info["statistics"]["sha256"]] if "statistics" in info else [])]


def read_manifest(path: Place) -> dict[str, Any]:
    """Read the manifest; refuse one of another schema."""
    return check_schema(path, read_json(path / "manifest.json"))


def check_schema(path: Place, manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest; refuse one of another schema, or without its list of runs."""
    if manifest.get("schema") != SCHEMA:
        raise UserError(
            f"corpus={str(path)!r} has schema {manifest.get('schema')!r}, and this version reads"
            f" {SCHEMA!r}; collect into another folder"
        )
    if not isinstance(manifest.get("runs"), dict):
        raise UserError(
            f"corpus: {path}/manifest.json is damaged (it lists no runs);"
            f" {_cure(path / 'manifest.json')}"
        )
    return manifest


def read_json(path: Place) -> dict[str, Any]:
    """Read a JSON object, or raise an error that names the file."""
    try:
        return parse(path, path.read_bytes())
    except OSError as error:
        raise UserError(
            f"corpus: {path} cannot be read ({first_line(error)}); check its rights"
        ) from None


def parse(path: Place, content: bytes) -> dict[str, Any]:
    """Parse the content that :func:`read_json` reads."""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"corpus: {path} is damaged ({first_line(error)}); {_cure(path)}") from None
    if not isinstance(parsed, dict):
        raise UserError(f"corpus: {path} is damaged (not a JSON object); {_cure(path)}")
    return parsed


def _cure(path: Place) -> str:
    if path.name == "manifest.json":
        return (
            f"remove this file alone: {text.command('collect')}, given its command again, writes it"
            " anew from the runs"
        )
    return "remove its folder and collect it again"


def read_metrics(run: Place) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl``, without a last line that a kill cut short."""
    try:
        content = (run / "metrics.jsonl").read_bytes()
    except FileNotFoundError:
        return []
    rows = []
    for line in content.decode(errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict):
            break
        rows.append(row)
    return rows
