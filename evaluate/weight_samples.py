"""Some weights of a run at every snapshot: enough to tell how well forecasters would have forecast
it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from nowcast.forecasters import Forecaster
from nowcast.types import OPERATIONS, PyTree

MOST = 20_000
"""Weights of an operation that are kept, drawn once and for all of all its leaves; all of them
where there are fewer.
"""

Kept = Mapping[str, Sequence[Float[np.ndarray, "S _"]]]
"""By operation the snapshots of its leaves, of each the weights that are kept."""


class Samples:
    """Gathers them from snapshot to snapshot.

    Args:
        labels: The operation of every leaf.
    """

    def __init__(self, labels: PyTree):
        flat = jax.tree.leaves(labels)
        self._names = [f"{label}/{flat[:at].count(label)}" for at, label in enumerate(flat)]
        """Of the leaves: ``conv/0``, the first one of its operation."""
        self._picks: dict[str, np.ndarray] = {}
        """Which weights of a leaf are kept."""
        in_order = sorted(self._names, key=lambda name: OPERATIONS.index(_operation(name)))
        self._rows: dict[str, list[np.ndarray]] = {name: [] for name in in_order}

    def add(self, params: PyTree) -> None:
        """One snapshot."""
        flat = (
            np.asarray(leaf, np.float32).ravel() for leaf in jax.tree.leaves(jax.device_get(params))
        )
        leaves = dict(zip(self._names, flat, strict=True))
        if not self._picks:
            for _, names in groupby(self._rows, _operation):
                own = list(names)
                self._picks |= dict(
                    zip(own, _drawn([leaves[name].size for name in own]), strict=True)
                )
        for name, rows in self._rows.items():
            rows.append(leaves[name][self._picks[name]])

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
                found.setdefault(_operation(name), []).append(arrays[name])
    except Exception:  # whatever NumPy, zipfile and zlib say of a damaged archive
        return None
    return found


def _operation(name: str) -> str:
    return name.partition("/")[0]


def errors(
    samples: Kept,
    forecaster: Forecaster,
    horizon: Any,
    every: int = 1,
    start: int = 0,
) -> dict[str, float]:
    """By operation the error of the forecasts that a run's jumps would be made of, over that of
    staying: 1 is no better.

    Windows are those of :func:`nowcast.periodic`: W snapshots from the first one after ``start``
    on, one window after another. The error is the sum of the absolute ones, over all windows whose
    truth the run still has.
    """
    found = {}
    for operation, leaves in samples.items():
        if not forecaster.can_forecast(operation):
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
    return [
        picks[(picks >= end - size) & (picks < end)] - (end - size)
        for size, end in zip(sizes, ends, strict=True)
    ]
