"""Measure how a run moves: cosines and noise of its increments, window by window."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from nowcast.drift import APART

WINDOW = 5
"""Snapshots in a window."""
BAND = WINDOW - 1
"""Increments in a window: each is multiplied with itself and those before it there."""


class Movement(NamedTuple):
    """What the increments of windows say, one number for each window."""

    drift: Float[np.ndarray, "T"]
    """Mean cosine of increments that are two or more apart."""
    neighbours: Float[np.ndarray, "T"]
    """Mean cosine of increments that follow one another."""
    noise: Float[np.ndarray, "T"]
    """The share of the last increment's squared length outside the common direction."""


def products(leaf: Float[np.ndarray, "S *shape"]) -> Float[np.ndarray, "S-1 4"]:
    """Inner products of each increment of a leaf with itself and with the three before it.

    Args:
        leaf: Snapshots, oldest first, in any floating-point dtype. They are multiplied in float64.

    Returns:
        Entry ``(t, b)`` is ``⟨dₜ, dₜ₋ᵦ⟩``; NaN where there is no increment ``t − b``.
    """
    found = np.full((len(leaf) - 1, BAND), np.nan)
    recent: list[np.ndarray] = []
    last = np.asarray(leaf[0], np.float64).ravel()
    for row in range(len(found)):
        now = np.asarray(leaf[row + 1], np.float64).ravel()
        with np.errstate(invalid="ignore", over="ignore"):
            recent = [now - last, *recent[: BAND - 1]]
            found[row, : len(recent)] = [recent[0] @ before for before in recent]
        last = now
    return found


def windows(banded: Float[np.ndarray, "D 4"]) -> Float[np.ndarray, "T 4 4"]:
    """The Gram matrix of every window's increments, oldest first, from :func:`products`."""
    count = len(banded) - BAND + 1
    found = np.empty((max(count, 0), BAND, BAND))
    for i in range(BAND):
        for j in range(i + 1):
            found[:, i, j] = found[:, j, i] = banded[i : i + count, i - j]
    return found


def measure(grams: Float[np.ndarray, "T 4 4"]) -> Movement:
    """Drift, neighbours and noise of windows, from the Gram matrices of their increments.

    An increment of length 0 counts as at a right angle to all others.
    """
    squares = np.diagonal(grams, axis1=1, axis2=2)
    lengths = np.where(squares > 0, np.sqrt(np.maximum(squares, 0)), 1)
    cosines = grams / (lengths[:, :, None] * lengths[:, None, :])
    apart = [(i, j) for i in range(BAND) for j in range(i) if i - j >= APART]
    common = _mean([grams[:, BAND - 1, j] for j in range(BAND - APART)])
    explained = np.clip(common / np.where(squares[:, -1] > 0, squares[:, -1], 1), 0, 1)
    return Movement(
        _mean([cosines[:, i, j] for i, j in apart]),
        _mean([cosines[:, i, i - 1] for i in range(1, BAND)]),
        1 - explained,
    )


def _mean(each: Sequence[Float[np.ndarray, "T"]]) -> Float[np.ndarray, "T"]:
    return np.mean(np.stack(each), axis=0)
