"""Record inner products in the place of weights: kilobytes for a leaf of any size.

A forecaster of whole leaves learns from nothing else. With dₛ the increment from snapshot s − 1 to
s of one leaf, row s of the array holds, leaf by leaf ::

    ⟨dₛ, dₛ⟩, ⟨dₛ, dₛ₋₁⟩, …, ⟨dₛ, dₛ₋band₊₁⟩        float64; NaN where there is no such increment

From them follow the inner products of all displacements between snapshots that are at most ``band``
apart. The last ``band`` increments stay in memory while the run is recorded, and the snapshots in
``runs/ID/recent``, so that a run that was killed goes on.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from collect.corpus.leaf import Leaf

if TYPE_CHECKING:
    from collect.corpus.run import Run

BLOCK = 1 << 13
"""Scalars that are multiplied in float32 at once; their sums are added in float64."""


class Products:
    """Gives the rows of one run.

    Args:
        leaves: The leaves of the run.
        band: How many increments each is multiplied with, itself included.
    """

    def __init__(self, leaves: Sequence[Leaf], band: int):
        self.leaves, self.band = leaves, band
        self._moved: Float[np.ndarray, "band N"] = np.zeros((0, 0), np.float32)
        self._last: np.ndarray | None = None
        self._count = 0
        """Increments so far; number ``i`` lies in row ``i % band``."""

    def begin(self, rows: Iterable[Float[np.ndarray, "N"]]) -> None:
        """Forget earlier snapshots, and go on from these, oldest first."""
        self._last, self._count = None, 0
        for row in rows:
            self._push(row)

    def add(self, row: Float[np.ndarray, "N"]) -> Float[np.ndarray, "columns"]:
        """The inner products of the increment that ends with this snapshot."""
        self._push(row)
        found = np.full((len(self.leaves), self.band), np.nan)
        for back in range(min(self._count, self.band)):
            now, then = (self._moved[(self._count - 1 - i) % self.band] for i in (0, back))
            with np.errstate(invalid="ignore", over="ignore"):
                found[:, back] = [
                    _product(now[leaf.scalars], then[leaf.scalars]) for leaf in self.leaves
                ]
        return found.ravel()

    def _push(self, row: Float[np.ndarray, "N"]) -> None:
        if self._last is not None:
            if self._moved.shape[1] != len(row):
                self._moved = np.zeros((self.band, len(row)), np.float32)
            with np.errstate(invalid="ignore", over="ignore"):
                np.subtract(row, self._last, out=self._moved[self._count % self.band])
            self._count += 1
        self._last = row


def increments(run: "Run", band: int) -> Float[np.ndarray, "D L band"]:
    """The inner products of a run's increments, leaf by leaf, whatever it was recorded as.

    Args:
        run: With weights, or with inner products of ``band`` increments or more.
        band: How many increments each is multiplied with, itself included.
    """
    if run.band is None:
        return multiplied((run.weights[i] for i in range(run.weights.shape[0])), run.leaves, band)
    rows = run.gram[:]
    return rows.reshape(len(rows), len(run.leaves), run.band)[1:, :, :band]


def multiplied(
    rows: Iterable[Float[np.ndarray, "N"]], leaves: Sequence[Leaf], band: int
) -> Float[np.ndarray, "D L band"]:
    """The inner products of :func:`increments`, computed from snapshots, oldest first."""
    products = Products(leaves, band)
    return np.stack([products.add(row).reshape(len(leaves), band) for row in rows])[1:]


def _product(one: Float[np.ndarray, "n"], other: Float[np.ndarray, "n"]) -> float:
    """The product in float32, summed over blocks in float64."""
    return sum(
        (float(one[i : i + BLOCK] @ other[i : i + BLOCK]) for i in range(0, len(one), BLOCK)),
        start=0.0,
    )


def displacements(rows: Float[np.ndarray, "S columns"], band: int) -> Float[np.ndarray, "L S S"]:
    """The inner products of each leaf's displacements from the first snapshot.

    They are sums over the products of increments.

    Products of increments that are ``band`` apart or more count as 0, so that only differences
    within the band mean something: ``⟨x_b − x_a, x_d − x_c⟩`` is right where no two of the four
    snapshots are more than ``band`` apart.
    """
    snapshots = len(rows)
    each = rows.reshape(snapshots, -1, band)
    found = np.zeros((each.shape[1], snapshots, snapshots))
    for back in range(min(band, snapshots - 1)):
        later = np.arange(back + 1, snapshots)
        found[:, later, later - back] = found[:, later - back, later] = each[later, :, back].T
    with np.errstate(invalid="ignore", over="ignore"):
        return np.cumsum(np.cumsum(found, axis=1), axis=2)
