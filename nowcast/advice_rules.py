"""The rules of ``nowcast.advise``: from a run's movement to its rate, an average and a decay."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from nowcast.advice_table import Factor, shipped
from nowcast.movement import Movement

Rate = Literal["far below", "below", "near", "above", "unclear"]
"""Where a learning rate is, relative to its best."""

RECENT = 2
"""How many of the last windows are averaged to say how a run moves now."""
FAR, BELOW = 6.0, 2.0
"""From these likely factors on, a rate is far below its best, or below it."""
FADED = 0.1
"""A run whose increments have shrunk to this share of the longest no longer shows its rate."""
STRAIGHT = 0.25
"""From this drift on, the last snapshot is nearer to where the run goes than an average."""
AVERAGES = (1, 2, 4, 8)
"""Numbers of snapshots in an average. A window shows nothing of longer averages."""
NOISY, DRIFTLESS = 0.9, 0.05
"""A decay pays where noise is at least this share of an increment, and the drift at most this."""


def now(movement: Movement) -> tuple[float, float, float]:
    """Drift, neighbours and noise, averaged over the last windows."""
    drift, neighbours, noise = (float(np.mean(row[-RECENT:])) for row in movement)
    return drift, neighbours, noise


Said = tuple[float, float, Factor]
"""Drift, noise and factor."""


def readings(movement: Movement, shares: Sequence[float | None]) -> Iterator[Said]:
    """Drift, noise and factor as read at the end of each window.

    Args:
        movement: Of the windows.
        shares: The share of the run that had passed then.
    """
    for end, share in enumerate(shares, 1):
        drift, neighbours, noise = now(Movement(*(row[:end] for row in movement)))
        yield drift, noise, shipped().factor(turning(drift, neighbours), share)


def turning(drift: float, neighbours: float) -> float:
    """The drift, or its mean with the neighbours' cosine where increments turn back at once.

    A run that goes to and fro in step with its snapshots repeats every second increment, which
    alone would look like drift.
    """
    return drift if neighbours >= 0 else min(drift, (drift + neighbours) / 2)


def rate_of(factor: Factor, length: float = 1.0) -> Rate:
    """Where a rate is.

    Args:
        factor: What the table says.
        length: Of the last increment, as a share of the longest.
    """
    if length < FADED:
        return "unclear"
    if factor.likely >= FAR:
        return "far below"
    if factor.likely >= BELOW:
        return "below"
    return "near" if factor.high > 1 else "above"


def best_average(drift: float, snapshots: int) -> int:
    """How many of the last snapshots have the mean that is nearest to the centre of a run.

    Let a snapshot be a centre that moves on by μ, and noise of its own with variance s². The
    squared length of an increment is μ² + 2s², of which the drift ρ is the part μ². The mean of K
    snapshots lags by μ(K − 1)/2 and has the noise s²/K. Its squared distance from the centre is, as
    a share of an increment's squared length, ρ(K − 1)²/4 + (1 − ρ)/(2K). It is least for a K above
    1 where ρ < ½; from :data:`STRAIGHT` on the gain is too small to count on.
    """
    if drift >= STRAIGHT:
        return 1
    part = max(drift, 0.0)
    counts = np.array([count for count in AVERAGES if count <= snapshots])
    return int(counts[np.argmin(part * (counts - 1) ** 2 / 4 + (1 - part) / (2 * counts))])
