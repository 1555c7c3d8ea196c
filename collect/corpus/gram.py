"""Inner products in the place of weights: all that a forecaster of whole leaves learns from, kilobytes for a leaf of any size.

With dₛ the increment from snapshot s − 1 to s of one leaf, row s of the array holds, leaf by leaf ::

    ⟨dₛ, dₛ⟩, ⟨dₛ, dₛ₋₁⟩, …, ⟨dₛ, dₛ₋band₊₁⟩                    float64; NaN where there is no such increment

From them follow the inner products of all displacements between snapshots that are at most ``band`` apart. The last ``band``
snapshots themselves stay in memory while the run is recorded, and in ``runs/ID/recent``, so that a run that was killed goes on.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from collect.corpus.leaf import Leaf

BLOCK = 1 << 16
"""Scalars that are multiplied at once, so that their copies in float64 fit the cache."""


class Products:
    """Gives the rows of one run.

    Args:
        leaves: Its leaves.
        band: How many increments each is multiplied with, itself included.
    """

    def __init__(self, leaves: Sequence[Leaf], band: int):
        self.leaves, self.band = leaves, band
        self._rows: list[Float[np.ndarray, N]] = []

    def begin(self, rows: Float[np.ndarray, "some N"]) -> None:
        """Forget what was, and go on from these snapshots, oldest first."""
        self._rows = list(rows[-self.band :]) if len(rows) else []

    def add(self, row: Float[np.ndarray, "N"]) -> Float[np.ndarray, "columns"]:
        """The inner products of the increment that ends with this snapshot."""
        self._rows = [*self._rows[-self.band :], row]
        found = np.full((len(self.leaves), self.band), np.nan)
        moved = len(self._rows) - 1
        if moved:
            for leaf, products in zip(self.leaves, found, strict=True):
                products[:moved] = 0
                for first in range(leaf.start, leaf.scalars.stop, BLOCK):
                    part = slice(first, min(first + BLOCK, leaf.scalars.stop))
                    with np.errstate(invalid="ignore", over="ignore"):
                        block = np.diff(np.stack([each[part] for each in self._rows]).astype(np.float64), axis=0)
                        products[:moved] += (block @ block[-1])[::-1]
        return found.ravel()


def displacements(rows: Float[np.ndarray, "S columns"], band: int) -> Float[np.ndarray, "L S S"]:
    """Of each leaf, the inner products of its displacements from the first snapshot, as sums over the increments.

    Products of increments that are ``band`` apart or more count as 0, so that only differences within the band mean something:
    ``⟨x_b − x_a, x_d − x_c⟩`` is right where no two of the four snapshots are more than ``band`` apart.
    """
    snapshots = len(rows)
    each = rows.reshape(snapshots, -1, band)
    found = np.zeros((each.shape[1], snapshots, snapshots))
    for back in range(min(band, snapshots - 1)):
        later = np.arange(back + 1, snapshots)
        found[:, later, later - back] = found[:, later - back, later] = each[later, :, back].T
    with np.errstate(invalid="ignore", over="ignore"):
        return np.cumsum(np.cumsum(found, axis=1), axis=2)
