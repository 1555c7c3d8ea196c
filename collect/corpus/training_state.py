"""Save the whole state of a training and load it again: a run's checkpoints.

Orbax writes the state into ``checkpoint/SNAPSHOT``; ``SNAPSHOT.sha256`` beside that folder says
what the state was.
"""

import hashlib
import shutil
import threading
from pathlib import Path

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from collect.files import replace
from nowcast.types import PyTree, UserError, first_line

ORBAX = threading.Lock()
"""Orbax numbers its operations per process: two threads at a time would mix up their folders."""


def snapshots(run: Path) -> list[int]:
    """The snapshots of which a run's folder has a checkpoint, the newest first."""
    names = [path.name for path in (run / "checkpoint").glob("*")]
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def load(run: Path, snapshot: int, like: PyTree) -> PyTree:
    """The state in a run's checkpoint of this snapshot; ``like`` gives its structure."""
    folder = run.resolve() / "checkpoint" / str(snapshot)
    try:
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
        )
        with ORBAX:
            state = ocp.load(folder, abstract)
        if _digest(state) != folder.with_suffix(".sha256").read_text(encoding="utf-8"):
            raise ValueError("its content is not what was saved")
    except Exception as error:  # whatever a damaged checkpoint makes Orbax say
        reason = first_line(error)
        raise UserError(
            f"corpus: checkpoint {folder} is damaged ({reason}); remove {run}"
        ) from None
    return state


def save(run: Path, snapshot: int, state: PyTree) -> None:
    """Make a checkpoint of the state at this snapshot, and remove older ones."""
    folder = run.resolve() / "checkpoint"
    try:
        folder.mkdir(exist_ok=True)
        replace(folder / f"{snapshot}.sha256", _digest(state))
        with ORBAX:
            ocp.save(folder / str(snapshot), state)
    except Exception as error:  # whatever a full disk makes Orbax say
        reason = first_line(error)
        raise UserError(
            f"corpus: cannot write {folder} ({reason}); make room and give the command again"
        ) from None
    for old in folder.glob("*"):
        if old.stem != str(snapshot):
            shutil.rmtree(old) if old.is_dir() else old.unlink()


def _digest(state: PyTree) -> str:
    """SHA-256 of all arrays of a state."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(state)):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
