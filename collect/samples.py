"""Some weights of a run at every snapshot: enough to tell how well forecasters would have forecast it."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from nowcast.forecasters import Forecaster
from nowcast.types import OPERATIONS, PyTree

MOST = 20_000
"""Weights of an operation that are kept, drawn once and for all of all its leaves; all of them where there are fewer."""

Kept = Mapping[str, Sequence[Float[np.ndarray, "S _"]]]
"""By operation the snapshots of its leaves, of each the weights that are kept."""


class Samples:
    """Gathers them from snapshot to snapshot.

    Args:
        labels: The operation of every leaf.
    """

    def __init__(self, labels: PyTree):
        self._labels = jax.tree.leaves(labels)
        self._rows: dict[str, list[np.ndarray]] = {}
        self._picks: dict[str, np.ndarray] = {}
        """By leaf, ``conv/0``: which of its weights are kept."""

    def add(self, params: PyTree) -> None:
        """One snapshot."""
        leaves = [np.asarray(leaf, np.float32).ravel() for leaf in jax.tree.leaves(jax.device_get(params))]
        for operation in OPERATIONS:
            own = [leaf for leaf, label in zip(leaves, self._labels, strict=True) if label == operation]
            if f"{operation}/0" not in self._picks:
                self._picks |= {
                    f"{operation}/{n}": picks for n, picks in enumerate(_drawn([leaf.size for leaf in own]))
                }
            for number, leaf in enumerate(own):
                name = f"{operation}/{number}"
                self._rows.setdefault(name, []).append(leaf[self._picks[name]])

    def write(self, file: Path) -> None:
        """As an npz file, an array ``(snapshots, weights)`` for each leaf, ``conv/0``."""
        fresh = file.with_suffix(".part.npz")
        np.savez_compressed(fresh, **{name: np.stack(rows) for name, rows in self._rows.items()})  # type: ignore[arg-type]
        fresh.replace(file)


def read(file: Path) -> dict[str, list[Float[np.ndarray, "S _"]]] | None:
    """What :meth:`Samples.write` wrote; None where there is none, or a damaged one."""
    found: dict[str, list[np.ndarray]] = {}
    try:
        with file.open("rb") as opened, np.load(opened) as arrays:
            for name in arrays.files:
                found.setdefault(name.partition("/")[0], []).append(arrays[name])
    except Exception:  # whatever NumPy, zipfile and zlib say of a damaged archive
        return None
    return found


def errors(
    samples: Kept,
    forecaster: Forecaster,
    horizon: Any,
    every: int = 1,
    start: int = 0,
) -> dict[str, float]:
    """By operation the error of the forecasts that a run's jumps would be made of, over that of staying: 1 is no better.

    Windows are those of :func:`nowcast.periodic`: W snapshots from the first one after ``start`` on, one window after another. The error is
    the sum of the absolute ones, over all windows whose truth the run still has.
    """
    found = {}
    for operation, leaves in samples.items():
        if not forecaster.serves(operation):
            continue
        forecast = _compiled(forecaster, operation, horizon)
        missed = stayed = 0.0
        for values in (leaf[start::every] for leaf in leaves if leaf.shape[1]):
            for end in range(forecaster.window, len(values) - horizon, forecaster.window):
                window, truth = values[end - forecaster.window + 1 : end + 1], values[end + horizon]
                missed += float(np.abs(np.asarray(forecast(jnp.asarray(window))) - truth).sum())
                stayed += float(np.abs(window[-1] - truth).sum())
        if stayed > 0 and np.isfinite(missed):
            found[operation] = missed / stayed
    return found


@lru_cache(maxsize=64)
def _compiled(forecaster: Forecaster, operation: str, horizon: Any) -> Callable[[Any], Any]:
    """Once for all seeds."""
    return jax.jit(lambda window: forecaster.leaf(window, operation, horizon))


def _drawn(sizes: Sequence[int]) -> list[Int[np.ndarray, "n"]]:
    """Of leaves of these sizes the weights to keep: each as likely as any other."""
    ends = np.cumsum(sizes, dtype=int)
    total = int(sum(sizes))
    picks = np.arange(total)
    if total > MOST:
        picks = np.sort(np.random.default_rng(0).choice(total, MOST, replace=False))
    return [picks[(picks >= end - size) & (picks < end)] - (end - size) for size, end in zip(sizes, ends, strict=True)]
