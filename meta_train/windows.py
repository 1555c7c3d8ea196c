"""Windows: a forecaster's training examples, sampled from trajectories.

A window is W consecutive snapshots of one scalar weight with the value ``horizon`` snapshots past the last of them.
It comes from one run and one leaf; which network it trains follows from the leaf's operation.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from collect.corpus import Run
from nowcast.types import UserError

FIRST = 1
"""The first snapshot that windows use: a nowcast run's window never holds the untrained weights (snapshot 0)."""
BLOCK = 1 << 16
"""Scalars read at once, so that memory stays bounded whatever the size of a model."""


def sample(
    runs: Sequence[Run],
    served_by: Mapping[str, str | None],
    *,
    window: int,
    horizon: int,
    per_run: int,
    seed: int,
) -> dict[str, Float[np.ndarray, "M columns"]]:
    """Draw windows uniformly over scalars and starts, equally many from every run, per network.

    Args:
        runs: Where from.
        served_by: Which network serves which operation; leaves of other operations are left out.
        window: W.
        horizon: Snapshots from the window's last one to the target.
        per_run: Windows from each run for each network that it has weights for.
        seed: Of the draw.

    Returns:
        For each network ``(M, W + 1)``: the window, oldest first, then the target.

    Raises:
        UserError: No runs, or one that is too short.
    """
    drawn: dict[str, list[np.ndarray]] = {}
    for i, run in enumerate(runs):
        starts = run.weights.shape[0] - FIRST - (window - 1) - horizon
        if starts < 1:
            raise UserError(
                f"corpus: run {run.id} has {run.weights.shape[0]} snapshots, and a window of {window} with horizon {horizon} "
                f"needs {FIRST + window + horizon} or more; collect with more epochs"
            )
        for network, columns in _columns(run, served_by).items():
            rng = np.random.default_rng((seed, i, sum(network.encode())))
            picked = np.sort(rng.choice(columns, size=per_run))
            begin = FIRST + rng.integers(starts, size=per_run)
            drawn.setdefault(network, []).append(_gather(run, picked, begin, window, horizon))
    return {network: np.concatenate(parts) for network, parts in drawn.items()}


def _columns(run: Run, served_by: Mapping[str, str | None]) -> dict[str, np.ndarray]:
    columns: dict[str, list[np.ndarray]] = {}
    for leaf in run.leaves:
        network = served_by.get(leaf.op)
        if network:
            columns.setdefault(network, []).append(np.arange(leaf.start, leaf.start + leaf.size))
    return {network: np.concatenate(parts) for network, parts in columns.items()}


def _gather(run: Run, picked: np.ndarray, begin: np.ndarray, window: int, horizon: int) -> np.ndarray:
    offsets = np.array([*range(window), window - 1 + horizon])
    out = np.empty((len(picked), window + 1), np.float32)
    for start in range(0, run.weights.shape[1], BLOCK):
        inside = np.flatnonzero((picked >= start) & (picked < start + BLOCK))
        if len(inside):
            block = run.weights[:, start : start + BLOCK]
            out[inside] = block[begin[inside, None] + offsets, picked[inside, None] - start]
    if not np.isfinite(out).all():
        keep = np.isfinite(out).all(axis=1)
        out = out[keep]  # the last snapshots of a diverged run
    return out
