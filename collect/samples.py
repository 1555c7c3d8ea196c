"""Some weights of a run at every snapshot: enough to tell how well forecasters would have forecast it."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nowcast.forecasters import Forecaster
from nowcast.types import OPERATIONS, PyTree

MOST = 20_000
"""Weights of an operation that are kept, drawn once and for all; all of them where there are fewer."""


class Samples:
    """Gathers them from snapshot to snapshot.

    Args:
        labels: The operation of every leaf.
    """

    def __init__(self, labels: PyTree):
        self._labels = jax.tree.leaves(labels)
        self._rows: dict[str, list[np.ndarray]] = {}

    def add(self, params: PyTree) -> None:
        """One snapshot."""
        leaves = [np.asarray(leaf, np.float32).ravel() for leaf in jax.tree.leaves(jax.device_get(params))]
        for operation in OPERATIONS:
            own = [leaf for leaf, label in zip(leaves, self._labels, strict=True) if label == operation]
            if own:
                self._rows.setdefault(operation, []).append(_drawn(np.concatenate(own)))

    def write(self, file: Path) -> None:
        """As an npz file, an array ``(snapshots, weights)`` for each operation."""
        fresh = file.with_suffix(".part.npz")
        np.savez_compressed(fresh, **{name: np.stack(rows) for name, rows in self._rows.items()})  # type: ignore[arg-type]
        fresh.replace(file)


def read(file: Path) -> dict[str, Float[np.ndarray, "S N"]] | None:
    """What :meth:`Samples.write` wrote; None where there is none, or a damaged one."""
    try:
        with file.open("rb") as opened, np.load(opened) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception:  # whatever NumPy, zipfile and zlib say of a damaged archive
        return None


def errors(
    samples: Mapping[str, Float[np.ndarray, "S N"]],
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
    for operation, values in samples.items():
        values = values[start::every]
        ends = [
            end for end in range(forecaster.window, len(values), forecaster.window) if end + horizon < len(values)
        ]  # fmt: skip
        if not ends or not forecaster.serves(operation):
            continue
        forecast = _compiled(forecaster, operation, horizon)
        missed = stayed = 0.0
        for end in ends:
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


def _drawn(values: Float[np.ndarray, "N"]) -> Float[np.ndarray, "n"]:
    if len(values) <= MOST:
        return values
    return values[np.sort(np.random.default_rng(0).choice(len(values), MOST, replace=False))]
