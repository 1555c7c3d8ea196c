"""Writing a corpus: one :class:`Recorder` per run, durable snapshot by snapshot.

Order of writes, so that a kill at any moment loses at most the current snapshot: weights (atomic files), then the
line in ``metrics.jsonl``, now and then a checkpoint of the whole training state, and ``run.json`` last, when the run
is finished. A run that was killed goes on from its newest checkpoint; what it had recorded beyond is recorded again,
with the same numbers.
"""

import fcntl
import hashlib
import json
import shutil
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorstore as ts
from orbax.checkpoint import v1 as ocp

from collect import corpus as store
from collect.corpus import DIGESTS
from collect.corpus.checkpoint_pace import CheckpointPace
from collect.corpus.places import CONTEXT
from collect.files import lock, replace
from nowcast.ops import path_name
from nowcast.paths import check_utf8, check_writable
from nowcast.types import PyTree, UserError, first_line

CHECKPOINT_SHARE = 0.05
"""Checkpoints may take this share of the time, and no more."""


ORBAX = threading.Lock()
"""Orbax numbers its operations per process: two at a time, from two threads, mix up their folders."""

INDEX_PACE = 1e-5
"""Seconds to wait, per byte of the manifest, until it is written anew: some 50 times what writing it takes."""


def describe_leaves(params: PyTree, labels: PyTree) -> list[dict[str, Any]]:
    """Path, shape and operation of every leaf, in flattening order."""
    leaves = jax.tree.flatten_with_path(params)[0]
    ops = jax.tree.leaves(labels)
    return [
        {"path": path_name(path), "shape": list(leaf.shape), "op": op}
        for (path, leaf), op in zip(leaves, ops, strict=True)
    ]


class Recorder:
    """Records one run; use as a context manager.

    Args:
        corpus: The corpus's folder, made when missing; see :func:`check_destination`.
        run_id: Name of the run in it.
        config: What determines the run, as JSON: ``task``, ``record_every`` (steps) and whatever else there is to say.
        leaves: From :func:`describe_leaves`.
        snapshots: How many the finished run will have.
        statistics: What the run carries beside its weights, described like the leaves; None: it is not recorded.
        command: The command that makes it, for those who want to make it again.
    """

    def __init__(
        self,
        corpus: Path,
        run_id: str,
        *,
        config: dict[str, Any],
        leaves: list[dict[str, Any]],
        snapshots: int,
        statistics: list[dict[str, Any]] | None = None,
        command: str | None = None,
    ):
        self.corpus, self.path = corpus, corpus / "runs" / run_id
        check_utf8(f"corpus={str(corpus)!r}", self.path)
        self._planned = snapshots
        self._info: dict[str, Any] = {
            "config": config, "status": "running", "snapshots": 0, "sha256": None, "leaves": leaves, "command": command,
        }  # fmt: skip
        self._widths = {"weights": store.scalars(leaves)}
        if statistics is not None:
            self._info["statistics"] = {"leaves": statistics, "sha256": None}
            self._widths["statistics"] = store.scalars(statistics)
        self._digests: dict[str, list[str]] = {name: [] for name in self._widths}
        self._pace = CheckpointPace(CHECKPOINT_SHARE, cost=0.1)

    def __enter__(self) -> "Recorder":
        self._lock = lock(
            self.path,
            "corpus",
            taken=f"corpus: run {self.path} is being recorded by another process; wait for it or stop it",
            cure="collect on a file system that has locks and room",
        )
        try:
            self._begin()
        except BaseException:
            self._lock.close()
            raise
        return self

    def _begin(self) -> None:
        """Find out what is there."""
        info = self.path / "run.json"
        if info.exists():
            self._info = {**store.read_run(self.path).info, "leaves": self._info["leaves"]}
        else:
            self._write_info()
        if not self.finished:
            self._arrays = {name: self._open(name, width) for name, width in self._widths.items()}

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self._info["status"] in store.FINISHED

    def resume(self, like: PyTree) -> tuple[int, PyTree] | None:
        """``(snapshot, state)`` of the newest checkpoint, or None. ``like`` gives the state's structure."""
        found = sorted((int(p.name) for p in (self.path / "checkpoint").glob("*") if p.name.isdigit()), reverse=True)
        if not found:
            (self.path / "metrics.jsonl").unlink(missing_ok=True)
            return None
        rows = store.read_metrics(self.path)[: found[0] + 1]
        if len(rows) < found[0] + 1 or any(DIGESTS[name] not in row for row in rows for name in self._digests):
            raise UserError(
                f"corpus: {self.path}/metrics.jsonl is damaged; remove that run's folder and collect it again"
            )
        replace(self.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        self._digests = {name: [row[DIGESTS[name]] for row in rows] for name in self._digests}
        folder = self.path.resolve() / "checkpoint" / str(found[0])
        try:
            abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
            with ORBAX:
                state = ocp.load(folder, abstract)
            if _digest(state) != folder.with_suffix(".sha256").read_text(encoding="utf-8"):
                raise ValueError("its content is not what was saved")
        except Exception as error:  # whatever a damaged checkpoint makes Orbax say
            reason = first_line(error)
            raise UserError(f"corpus: checkpoint {folder} is damaged ({reason}); remove {self.path}") from None
        return found[0], state

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
        """Record one snapshot; ``state`` is what a checkpoint (made when due, or asked for) must hold."""
        digests = {}
        for name, tree in zip(self._arrays, (params, statistics), strict=False):
            row = np.concatenate([np.asarray(leaf, np.float32).ravel() for leaf in jax.tree.leaves(tree)])
            try:
                self._arrays[name][snapshot].write(row).result()
            except ValueError as error:
                reason = first_line(error)
                raise UserError(
                    f"corpus: cannot write to {self.path} ({reason}); make room and give the command again"
                ) from None
            digests[DIGESTS[name]] = hashlib.sha256(row.tobytes()).hexdigest()
            self._digests[name].append(digests[DIGESTS[name]])
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"snapshot": snapshot, **metrics, **digests}) + "\n")
        if checkpoint or self._pace.due():
            with self._pace.timed():
                self._checkpoint(snapshot, state)

    def finish(self, status: str, seconds: float | None = None) -> None:
        """Declare the run ``complete`` or ``diverged``, after so many seconds of training: from now on readers see it."""
        whole = {
            name: hashlib.sha256("\n".join(digests).encode()).hexdigest() for name, digests in self._digests.items()
        }
        self._info |= {"status": status, "snapshots": len(self._digests["weights"]), "sha256": whole["weights"]}
        if seconds is not None:
            self._info["seconds"] = round(seconds, 3)
        if "statistics" in whole:
            self._info["statistics"] |= {"sha256": whole["statistics"]}
        self._write_info()
        shutil.rmtree(self.path / "checkpoint", ignore_errors=True)

    def _checkpoint(self, snapshot: int, state: PyTree) -> None:
        folder = self.path.resolve() / "checkpoint"
        try:
            folder.mkdir(exist_ok=True)
            replace(folder / f"{snapshot}.sha256", _digest(state))
            with ORBAX:
                ocp.save(folder / str(snapshot), state)
        except Exception as error:  # whatever a full disk makes Orbax say
            reason = first_line(error)
            raise UserError(f"corpus: cannot write {folder} ({reason}); make room and give the command again") from None
        for old in folder.glob("*"):
            if old.stem != str(snapshot):
                shutil.rmtree(old) if old.is_dir() else old.unlink()

    def _write_info(self) -> None:
        replace(self.path / "run.json", json.dumps(self._info, indent=1) + "\n")
        index(self.corpus, wait=True)

    def _open(self, name: str, width: int) -> Any:
        try:
            return _open_array(self.path / name, (self._planned, width))
        except ValueError as error:
            reason = first_line(error)
            raise UserError(f"corpus: cannot open {self.path}/{name} ({reason}); remove that run's folder") from None


def _digest(state: PyTree) -> str:
    """SHA-256 of all arrays of a state."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(state)):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def is_finished(corpus: Path, run_id: str) -> bool:
    """Whether a corpus holds this run, whole."""
    info = corpus / "runs" / run_id / "run.json"
    return info.exists() and store.read_run(info.parent).status in store.FINISHED


def check_destination(corpus: Path) -> None:
    """Refuse a path where no corpus can be written: a file, another program's folder, a corpus of another schema."""
    check_writable(f"corpus={str(corpus)!r}", corpus)
    if (corpus / "manifest.json").exists():
        store.open(corpus)
    elif corpus.exists() and any(item.name != "runs" and item.name[0] != "." for item in corpus.iterdir()):
        raise UserError(f"corpus={str(corpus)!r} exists and is no corpus; choose another path")


def index(corpus: Path, *, wait: bool = False) -> None:
    """Bring the manifest up to what every ``run.json`` says; one process at a time.

    Args:
        corpus: The corpus's folder.
        wait: Leave a manifest as it is that was written a short while ago, measured by its length: with many runs,
            reading them all at the end of each would take longer than training them.
    """
    manifest = corpus / "manifest.json"
    if wait and manifest.exists():
        stat = manifest.stat()
        if time.time() - stat.st_mtime < INDEX_PACE * stat.st_size:
            return
    with (corpus / "runs" / ".lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        runs = {run.id: entry(run.info) for run in store.read_runs(corpus)}
        if not manifest.exists() or store.read_json(manifest).get("runs") != runs:
            replace(manifest, manifest_text(runs))


def entry(info: dict[str, Any]) -> dict[str, Any]:
    """What the manifest says about a run."""
    config = info["config"]
    return {
        "task": config["task"], "seed": config.get("seed"), "status": info["status"],
        "snapshots": info["snapshots"], "scalars": store.scalars(info["leaves"]), "config": config,
    }  # fmt: skip


def manifest_text(runs: dict[str, Any]) -> str:
    """A manifest that lists these runs."""
    versions = {name: metadata.version(name) for name in ("weight-nowcaster", "jax", "flax", "optax", "tensorstore")}
    return json.dumps({"schema": store.SCHEMA, "versions": versions, "runs": runs}, indent=1) + "\n"


def _open_array(path: Path, shape: tuple[int, int]) -> Any:
    return ts.open(
        {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": str(path)},
            "metadata": {
                "shape": shape,
                "data_type": "float32",
                "chunk_grid": {
                    "name": "regular",
                    "configuration": {"chunk_shape": [1, min(shape[1], store.CHUNK)]},
                },
                "codecs": [
                    {"name": "bytes", "configuration": {"endian": "little"}},
                    {
                        "name": "blosc",
                        "configuration": {"cname": "zstd", "clevel": 1, "shuffle": "shuffle", "typesize": 4},
                    },
                    {"name": "crc32c"},
                ],
                "fill_value": "NaN",
            },
        },
        open=True,
        create=True,
        context=CONTEXT,
    ).result()
