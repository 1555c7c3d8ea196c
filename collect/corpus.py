"""The corpus on disk, and reading it.

Layout (schema 1)::

    manifest.json              schema, versions, and an index of the runs: task, seed, status, size, configuration
    runs/ID/run.json           one run: its configuration, leaves, status, hash
    runs/ID/weights/           zarr v3 array (snapshots, scalars) float32: blosc-compressed, crc32c per chunk
    runs/ID/metrics.jsonl      one line per snapshot: step, epoch, losses, sha256 of the weights

All leaves of a model are flattened and laid end to end, in the order of ``leaves``, to the ``scalars`` of one row.
A chunk holds up to 2¹⁸ scalars of one snapshot, so appending writes only new files, and all snapshots of some
scalars are one small read per snapshot. ``run.json`` is the truth about a run; the manifest repeats it as an index.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from jaxtyping import Float

from nowcast.types import OPERATIONS, UserError

SCHEMA = "weight-nowcaster/corpus/1"
CHUNK = 1 << 18
FINISHED = ("complete", "diverged")


@dataclass(frozen=True)
class Leaf:
    """One array of a model's parameters and its place among the scalars."""

    path: str
    shape: tuple[int, ...]
    op: str
    start: int

    @property
    def size(self) -> int:
        """How many scalars it has."""
        return math.prod(self.shape)

    @property
    def scalars(self) -> slice:
        """Its columns in :attr:`Run.weights`."""
        return slice(self.start, self.start + self.size)


class Weights:
    """The snapshots of one run, ``(S, N)`` float32; indexing reads from disk: ``weights[:, 10:20]``."""

    def __init__(self, path: Path, snapshots: int):
        self._path = path
        try:
            self._store = ts.open(
                {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}, "fill_missing_data_reads": False},
                read=True,
            ).result()
        except ValueError as error:
            raise UserError(
                f"corpus: cannot open {path} ({first_line(error)}); remove this run's folder and collect it again"
            ) from None
        self.shape: tuple[int, int] = (snapshots, self._store.shape[1])
        self.stored: int = self._store.shape[0]
        self.dtype = np.dtype("float32")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Float[np.ndarray, "..."]:
        try:
            return self._store[_as_numpy(index, self.shape)].read().result()
        except ValueError as error:
            if "OUT_OF_RANGE" in str(error):
                raise IndexError(first_line(error)) from None
            raise UserError(
                f"corpus: damaged chunk ({first_line(error)}); remove this run's folder and collect it again"
            ) from None

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


@dataclass(frozen=True)
class Run:
    """One recorded training: its trajectory, and how it came about."""

    path: Path
    info: dict[str, Any]

    @property
    def id(self) -> str:
        """The name of its folder."""
        return self.path.name

    @property
    def config(self) -> dict[str, Any]:
        """What determined it: model, data, optimizer, seed, learning rate, schedule, epochs."""
        return self.info["config"]

    @property
    def status(self) -> str:
        """``running`` (or killed), ``complete`` or ``diverged``."""
        return self.info["status"]

    @cached_property
    def leaves(self) -> list[Leaf]:
        """Path, shape, operation and place of every array of parameters."""
        starts = np.cumsum([0, *(math.prod(leaf["shape"]) for leaf in self.info["leaves"])])
        return [
            Leaf(leaf["path"], tuple(leaf["shape"]), leaf["op"], int(start))
            for leaf, start in zip(self.info["leaves"], starts, strict=False)
        ]

    @cached_property
    def weights(self) -> Weights:
        """``(S, N)``, read lazily."""
        return Weights(self.path / "weights", self.info["snapshots"])

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; of a finished run, one per snapshot."""
        rows = read_metrics(self.path)
        if self.status in FINISHED and len(rows) != self.info["snapshots"]:
            raise UserError(
                f"corpus: {self.path}/metrics.jsonl is damaged (line {len(rows) + 1}); remove that folder and collect it again"
            )
        return rows

    @cached_property
    def metrics(self) -> dict[str, np.ndarray]:
        """Per snapshot: ``step``, ``epoch``, ``train_loss``, and the validation metrics."""
        keys = self.rows[0] if self.rows else {}
        return {key: np.array([row[key] for row in self.rows]) for key in keys if key != "sha256"}


@dataclass(frozen=True)
class Corpus:
    """A folder of trajectories. Only finished runs are listed; a killed collection's half-written ones are not."""

    path: Path
    runs: list[Run]

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def hash(self) -> str:
        """SHA-256 over the configuration and the weights' hashes of all runs, whatever their order."""
        lines = sorted(json.dumps([run.config, run.info["sha256"]], sort_keys=True) for run in self.runs)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def open(path: str | Path) -> Corpus:
    """Open a corpus for reading.

    Raises:
        UserError: No corpus there, one of another schema, or a run whose description is damaged.

    Example:
        >>> from collect import corpus
        >>> for run in corpus.open("corpora/mine"):  # doctest: +SKIP
        ...     print(run.id, run.weights.shape, run.metrics["loss"][-1])
    """
    path = Path(path)
    if not (path / "manifest.json").is_file():
        raise UserError(
            f"corpus={str(path)!r}: no corpus there (no manifest.json); scripts/collect.py corpus={path} makes one"
        )
    check_schema(path)
    runs = [Run(file.parent, read_json(file)) for file in sorted((path / "runs").glob("*/run.json"))]
    for run in runs:
        missing = {"config", "status", "leaves", "snapshots", "sha256"} - run.info.keys()
        if missing:
            raise UserError(
                f"corpus: {run.path}/run.json lacks {', '.join(sorted(missing))}; remove that folder and collect it again"
            )
        _check_description(run)
    return Corpus(path, [run for run in runs if run.status in FINISHED])


def _check_description(run: Run) -> None:
    """A finished run's ``run.json`` must agree with its array."""
    said, leaves = run.info["config"], run.info["leaves"]
    wrong = [
        name
        for name, right in {
            "config": isinstance(said, dict)
            and isinstance(said.get("task"), str)
            and _is_count(said.get("record_every")),
            "status": isinstance(run.info["status"], str),
            "snapshots": _is_count(run.info["snapshots"]),
            "leaves": isinstance(leaves, list) and all(_is_leaf(leaf) for leaf in leaves),
        }.items()
        if not right
    ]
    if wrong:
        raise UserError(f"corpus: {run.path}/run.json is damaged ({wrong[0]}); remove that folder and collect it again")
    if run.status in FINISHED and (
        scalars(leaves) != run.weights.shape[1] or run.info["snapshots"] > run.weights.stored
    ):
        raise UserError(
            f"corpus: {run.path}/run.json does not fit its weights; remove that folder and collect it again"
        )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_leaf(leaf: Any) -> bool:
    return (
        isinstance(leaf, dict)
        and isinstance(leaf.get("path"), str)
        and leaf.get("op") in OPERATIONS
        and isinstance(leaf.get("shape"), list)
        and all(_is_count(size) for size in leaf["shape"])
    )


def scalars(leaves: Iterable[Mapping[str, Any]]) -> int:
    """How many scalars the described leaves have together."""
    return sum(math.prod(leaf["shape"]) for leaf in leaves)


def check_schema(path: Path) -> None:
    """Refuse a corpus of another schema."""
    manifest = read_json(path / "manifest.json")
    if manifest.get("schema") != SCHEMA:
        raise UserError(
            f"corpus={str(path)!r} has schema {manifest.get('schema')!r}, and this version reads {SCHEMA!r}; collect into another folder"
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or an error that names the file."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"corpus: {path} is damaged ({first_line(error)}); remove its folder and collect it again"
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"corpus: {path} is damaged (not a JSON object); remove its folder and collect it again")
    return content


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl``; a last line that a kill cut short is left out."""
    file = run / "metrics.jsonl"
    rows = []
    for line in file.read_text(errors="replace").splitlines() if file.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict):
            break
        rows.append(row)
    return rows


def _as_numpy(index: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """An index with NumPy's meaning (ends clipped, negatives from the end) for tensorstore, which is stricter."""
    index = index if isinstance(index, tuple) else (index,)
    if any(part is Ellipsis for part in index):
        place = [part is Ellipsis for part in index].index(True)
        index = index[:place] + (slice(None),) * (len(shape) - len(index) + 1) + index[place + 1 :]
    index += (slice(None),) * (len(shape) - len(index))
    return tuple(
        slice(*part.indices(size)) if isinstance(part, slice)
        else part + size * (part < 0) if isinstance(part, int)
        else np.flatnonzero(part)
        if np.asarray(part).dtype == bool
        else np.where(np.asarray(part) < 0, np.asarray(part) + size, part)
        for part, size in zip(index, shape, strict=True)
    )  # fmt: skip


def first_line(error: Exception) -> str:
    """What an error says first, without the library's inner details."""
    return str(error).strip().splitlines()[0].split(" [")[0]
