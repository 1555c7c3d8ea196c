"""Keep a sample of a run's weights at every snapshot, and score forecasters on it."""

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
"""The most weights of an operation that are kept, drawn from all its leaves."""

Kept = Mapping[str, Sequence[Float[np.ndarray, "S _"]]]
"""For each operation and leaf, the kept weights at each of S snapshots."""


class Samples:
    """Collects a sample of the weights of one run, snapshot by snapshot.

    Args:
        labels: The operation of every leaf, in the tree of the parameters.
    """

    def __init__(self, labels: PyTree):
        flat = jax.tree.leaves(labels)
        self._names = [f"{label}/{flat[:at].count(label)}" for at, label in enumerate(flat)]
        """A name for each leaf: ``conv/0`` is the first leaf of the operation ``conv``."""
        self._picks: dict[str, np.ndarray] = {}
        """The indices of the weights that are kept, by the leaf's name."""
        in_order = sorted(self._names, key=lambda name: OPERATIONS.index(_operation(name)))
        self._rows: dict[str, list[np.ndarray]] = {name: [] for name in in_order}

    def add(self, params: PyTree) -> None:
        """Add the weights of one snapshot."""
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
        """Write an npz file with an array ``(snapshots, weights)`` for each leaf."""
        fresh = file.with_suffix(".part.npz")
        np.savez_compressed(fresh, **{name: np.stack(rows) for name, rows in self._rows.items()})  # type: ignore[arg-type]
        fresh.replace(file)


def read(file: Path) -> dict[str, list[Float[np.ndarray, "S _"]]] | None:
    """Read a file of :meth:`Samples.write`: the leaves' arrays, by operation.

    None: there is no such file, or it is damaged.
    """
    found: dict[str, list[np.ndarray]] = {}
    try:
        with file.open("rb") as opened, np.load(opened) as arrays:
            for name in arrays.files:
                found.setdefault(_operation(name), []).append(arrays[name])
    except Exception:  # NumPy, zipfile and zlib raise many kinds of errors for a damaged archive
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
    """The error of a forecaster on a run, by operation, over the error of the last value.

    Below 1 the forecast is better than staying at the last value. The windows are those of
    :func:`nowcast.periodic`: W snapshots from the first one after ``start`` on, one window after
    another. Errors are sums of absolute errors over all windows whose target lies in the run.

    Args:
        samples: The run's weights, from :func:`read`.
        forecaster: The forecaster to score.
        horizon: Snapshots of a window's spacing from its end to the target.
        every: How many snapshots lie between two neighbours of a window.
        start: The snapshot after which the first window begins.

    Returns:
        The ratio of errors for each operation that the forecaster can forecast. An operation is
        left out if its weights do not move, or its errors are not finite.
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
    """The compiled forecast of one operation, which all seeds share."""
    return jax.jit(lambda window: forecaster.leaf(window, operation, horizon))


def _drawn(sizes: Sequence[int]) -> list[Int[np.ndarray, "n"]]:
    """Draw the indices of the weights to keep from leaves of these sizes.

    Each weight of the leaves is equally likely.
    """
    ends = np.cumsum(sizes, dtype=int)
    total = int(sum(sizes))
    picks = np.arange(total)
    if total > MOST:
        picks = np.sort(np.random.default_rng(0).choice(total, MOST, replace=False))
    return [
        picks[(picks >= end - size) & (picks < end)] - (end - size)
        for size, end in zip(sizes, ends, strict=True)
    ]
