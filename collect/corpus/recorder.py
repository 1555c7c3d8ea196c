"""Write a corpus: one :class:`Recorder` per run, durable snapshot by snapshot.

Order of writes, so that a kill at any time loses at most the current snapshot: weights (atomic
files), then the line in ``metrics.jsonl``, now and then a checkpoint of the whole training state,
and ``run.json`` last, when the run is finished. A run that was killed goes on from its newest
checkpoint; what it had recorded beyond is recorded again, with the same numbers.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from collect.corpus import training_state
from collect.corpus.checkpoint_pace import CheckpointPace
from collect.corpus.gram import Products
from collect.corpus.json_files import read_metrics
from collect.corpus.layout import DIGESTS, FINISHED, width
from collect.corpus.leaf import laid_out, sampled, scalars
from collect.corpus.manifest import index
from collect.corpus.run import read_run
from collect.corpus.writing import Rows, picks, row
from collect.files import lock, replace
from nowcast.paths import check_utf8
from nowcast.types import PyTree, UserError

CHECKPOINT_SHARE = 0.05
"""The share of the time that checkpoints may take."""


def holds(sample: int | None, record: str, band: int) -> dict[str, Any]:
    """The entries of a run's configuration on what is recorded; empty if that is all weights."""
    return ({} if sample is None else {"sample": sample}) | (
        {"record": "gram", "band": band} if record == "gram" else {}
    )


class Recorder:
    """Records one run; use as a context manager.

    Args:
        corpus: The corpus's folder, made when missing; see :func:`check_destination`.
        run_id: Name of the run in it.
        config: What determines the run, as JSON: ``task``, ``record_every`` (steps) and whatever
            else there is to say.
        leaves: From :func:`collect.corpus.leaf.describe_leaves`.
        snapshots: How many the finished run will have; None: that is not known.
        statistics: What the run carries beside its weights, described like the leaves; None: it is
            not recorded.
        command: The command that makes it, for those who want to make it again.
        sample: Record at most so many scalars of each leaf (:func:`collect.corpus.leaf.chosen`);
            None: all of them.
        band: Record, in the place of the weights, the inner products of so many increments
            (:mod:`collect.corpus.gram`).
    """

    def __init__(
        self,
        corpus: Path,
        run_id: str,
        *,
        config: dict[str, Any],
        leaves: list[dict[str, Any]],
        snapshots: int | None,
        statistics: list[dict[str, Any]] | None = None,
        command: str | None = None,
        sample: int | None = None,
        band: int | None = None,
    ):
        self.corpus, self.path = corpus, corpus / "runs" / run_id
        check_utf8(f"corpus={str(corpus)!r}", self.path)
        self._planned = snapshots
        self._info: dict[str, Any] = {
            "config": config,
            "status": "running",
            "snapshots": 0,
            "sha256": None,
            "leaves": leaves,
            "command": command,
        }
        self._info["leaves"] = leaves = sampled(leaves, sample)
        self._products = None if band is None else Products(laid_out(leaves), band)
        self._picks = {"weights": picks(leaves)}
        if band is not None:
            self._info["gram"] = {"band": band}
        if statistics is not None:
            self._info["statistics"] = {"leaves": statistics, "sha256": None}
            self._picks["statistics"] = picks(statistics)
        self._names = [
            "weights" if band is None else "gram",
            *(["statistics"] if statistics is not None else []),
        ]
        self._digests: dict[str, list[str]] = {name: [] for name in self._names}
        self._pace = CheckpointPace(CHECKPOINT_SHARE, cost=0.1)
        self.sound = True
        """Whether all weights of the last snapshot are finite."""
        self.unfinished = ""
        """The state of an unfinished run that was there, in words; empty: there was none."""

    def __enter__(self) -> "Recorder":
        self._lock = lock(
            self.path,
            "corpus",
            taken=(
                f"corpus: run {self.path} is being recorded by another process; wait for it or"
                " stop it"
            ),
            cure="collect on a file system that has locks and room",
        )
        try:
            self._begin()
        except BaseException:
            self._lock.close()
            raise
        return self

    def _begin(self) -> None:
        """Read what is already recorded; clear away an unfinished run of other leaves."""
        known = read_run(self.path).info if (self.path / "run.json").exists() else None
        if known and known["status"] not in FINISHED and _leaves(known) != _leaves(self._info):
            self._clear()
            self.unfinished = "its leaves were others; it begins anew"
            known = None
        if known:
            self._info = {**known, "leaves": self._info["leaves"]}
            if not self.finished:
                found = training_state.snapshots(self.path)
                self.unfinished = (
                    f"it goes on from snapshot {found[0]}"
                    if found
                    else "there was no checkpoint; it begins anew"
                )
        else:
            self._write_info()
        if not self.finished:
            self._arrays = {name: self._open(name, width(self._info, name)) for name in self._names}
            if self._products:
                self._recent = self._open("recent", scalars(self._info["leaves"]))

    def _clear(self) -> None:
        """Remove all of the run but the lock that we hold."""
        for item in self.path.iterdir():
            if item.is_dir():
                shutil.rmtree(item)
            elif item.name != "lock":
                item.unlink()

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    @property
    def finished(self) -> bool:
        """Whether the run is recorded to its end."""
        return self._info["status"] in FINISHED

    def resume(self, like: PyTree) -> tuple[int, PyTree] | None:
        """``(snapshot, state)`` of the newest checkpoint, or None.

        ``like`` gives the state's structure.
        """
        found = training_state.snapshots(self.path)
        if not found:
            (self.path / "metrics.jsonl").unlink(missing_ok=True)
            return None
        self.rewind(found[0] + 1)
        return found[0], training_state.load(self.path, found[0], like)

    def rewind(self, snapshots: int) -> None:
        """Go on after this many of the recorded snapshots; later ones are recorded again."""
        rows = read_metrics(self.path)[:snapshots]
        if len(rows) < snapshots or any(
            DIGESTS[name] not in row for row in rows for name in self._names
        ):
            raise UserError(
                f"corpus: {self.path}/metrics.jsonl is damaged; remove that run's folder and"
                " collect it again"
            )
        if self._products:
            first = max(0, snapshots - self._products.band)
            if snapshots and not (self.path / "recent" / "c" / str(first)).is_dir():
                raise UserError(
                    f"corpus: run {self.path} holds inner products and no longer the weights of"
                    f" snapshot {first}, which going on from there takes; remove that folder and"
                    " begin the run anew"
                )
            self._products.begin(self._recent.read(first, snapshots))
        replace(self.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        self._digests = {name: [row[DIGESTS[name]] for row in rows] for name in self._names}

    def keep(self, snapshots: int) -> None:
        """Go on after this many snapshots, at least one, with no other to come."""
        self.rewind(snapshots)
        last = snapshots - 1
        found = {name: self._arrays[name].read(last, snapshots) for name in self._names}
        for name, values in found.items():
            if hashlib.sha256(values.tobytes()).hexdigest() != self._digests[name][last]:
                raise UserError(
                    f"corpus: {self.path}/{name} is damaged in snapshot {last}; remove that run's"
                    " folder and record it again"
                )
        weights = self._recent.read(last, snapshots) if self._products else found["weights"]
        self.sound = bool(np.isfinite(weights).all())

    def append(
        self,
        snapshot: int,
        params: PyTree,
        metrics: dict[str, float],
        state: PyTree,
        *,
        checkpoint: bool,
        statistics: PyTree = None,
    ) -> None:
        """Record one snapshot.

        ``state`` is what a checkpoint must hold; one is made when it is due, or asked for. None:
        the caller makes its own.
        """
        digests = {}
        for name in self._names:
            values = self._values(name, snapshot, statistics if name == "statistics" else params)
            self._arrays[name].write(snapshot, values)
            digests[DIGESTS[name]] = hashlib.sha256(values.tobytes()).hexdigest()
            self._digests[name].append(digests[DIGESTS[name]])
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"snapshot": snapshot, **metrics, **digests}) + "\n")
        if state is not None and (checkpoint or self._pace.due()):
            with self._pace.timed():
                training_state.save(self.path, snapshot, state)
                if self._products:
                    self.forget(snapshot + 1 - self._products.band)

    def _values(self, name: str, snapshot: int, tree: PyTree) -> np.ndarray:
        """The row of an array for this snapshot."""
        values = row(tree, self._picks["weights" if name == "gram" else name])
        if name != "statistics":
            self.sound = bool(np.isfinite(values).all())
        if name != "gram" or self._products is None:
            return values
        self._recent.write(snapshot, values)
        return self._products.add(values)

    def forget(self, before: int) -> None:
        """Remove snapshots before this one, from which the run will not resume.

        This concerns runs that record inner products.
        """
        if self._products and (self.path / "recent" / "c").is_dir():
            for old in (self.path / "recent" / "c").iterdir():
                if int(old.name) < before:
                    shutil.rmtree(old)

    def describe(self, **more: Any) -> None:
        """Add entries to the run's configuration that were not known when recording began."""
        self._info["config"] |= more

    def discard(self) -> None:
        """Remove the run's folder."""
        shutil.rmtree(self.path)

    def finish(self, status: str, seconds: float | None = None) -> None:
        """Declare the run ``complete`` or ``diverged``, after ``seconds`` of training.

        From now on readers see it.
        """
        whole = {
            name: hashlib.sha256("\n".join(digests).encode()).hexdigest()
            for name, digests in self._digests.items()
        }
        self._info |= {
            "status": status,
            "snapshots": len(self._digests[self._names[0]]),
            "sha256": whole[self._names[0]],
        }
        for array in self._arrays.values():
            array.cut(self._info["snapshots"])
        if seconds is not None:
            self._info["seconds"] = round(seconds, 3)
        if "statistics" in whole:
            self._info["statistics"] |= {"sha256": whole["statistics"]}
        self._write_info()
        for folder in ("checkpoint", "recent"):
            shutil.rmtree(self.path / folder, ignore_errors=True)

    def _write_info(self) -> None:
        replace(self.path / "run.json", json.dumps(self._info, indent=1) + "\n")
        index(self.corpus, wait=True)

    def _open(self, name: str, width: int) -> Rows:
        return Rows(
            self.path / name, width, self._planned, "float64" if name == "gram" else "float32"
        )


def _leaves(info: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The leaves of a described run and of its statistics, but for their operations."""
    every = [*info["leaves"], *info.get("statistics", {}).get("leaves", [])]
    return [(leaf["path"], leaf["shape"], leaf.get("stored")) for leaf in every]
