"""Draw windows that are scaled by their whole leaf: what WNN+ learns from.

Behind a window and its targets a row holds what the forecaster must know of the weight's leaf: the
mean and the deviation of all the leaf's weights in the window, and the number of its operation. A
run is read once, a chunk at a time, and the sums of its leaves at each snapshot are kept: a few
numbers for each leaf and snapshot, however many weights a leaf has. Of a run with ``sample=N`` they
are those of the sample.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from collect.corpus import Run
from collect.corpus.layout import CHUNK
from collect.corpus.places import Place
from meta_train.windows import Windows
from nowcast.forecasters.wnn_plus import EPSILON, WNNPlus
from nowcast.types import OPERATIONS


class Sums(NamedTuple):
    """What is kept of a run."""

    total: Float[np.ndarray, "S L"]
    """Of the weights of each leaf at each snapshot."""
    square: Float[np.ndarray, "S L"]
    """Of their squares."""
    weights: Float[np.ndarray, "L"]
    """How many of each leaf were recorded."""
    starts: Int[np.ndarray, "L"]
    """The first column of each leaf."""
    operation: Float[np.ndarray, "L"]


class ScaledWindows(Windows):
    """Windows, each with the mean, the deviation and the operation of its leaf."""

    context = len(WNNPlus.context)

    @cached_property
    def _sums(self) -> dict[Place, Sums]:
        """Of the runs that were read."""
        return {}

    def _context(
        self, run: Run, columns: Int[np.ndarray, "N"], first: Int[np.ndarray, "N"]
    ) -> Float[np.ndarray, "N 3"]:
        """Of the leaves of these columns, in windows that begin at these snapshots.

        NaN for a leaf whose weights are all alike, which no window can be scaled by.
        """
        sums = self._of(run)
        leaf = np.searchsorted(sums.starts, columns, side="right") - 1
        inside = first[:, None] + np.arange(self.rule.window)
        count = self.rule.window * sums.weights[leaf]
        with np.errstate(invalid="ignore", over="ignore"):
            mean = sums.total[inside, leaf[:, None]].sum(axis=1) / count
            square = sums.square[inside, leaf[:, None]].sum(axis=1) - count * mean**2
            deviation = np.sqrt(np.maximum(square, 0) / np.maximum(count - 1, 1))
        deviation = np.where(deviation > EPSILON, deviation, np.nan)
        return np.stack([mean, deviation, sums.operation[leaf]], axis=1).astype(np.float32)

    def _of(self, run: Run) -> Sums:
        if run.path not in self._sums:
            self._sums[run.path] = sums_of(run)
        return self._sums[run.path]


def sums_of(run: Run) -> Sums:
    """Read a run once, and add up each leaf at each snapshot."""
    snapshots, end = run.weights.shape
    total, square = np.zeros((2, snapshots, len(run.leaves)))
    for first in range(0, end, CHUNK):
        block = np.asarray(run.weights[0:snapshots, first : first + CHUNK], np.float64)
        for number, leaf in enumerate(run.leaves):
            here = slice(max(leaf.start - first, 0), max(leaf.scalars.stop - first, 0))
            with np.errstate(invalid="ignore", over="ignore"):
                total[:, number] += block[:, here].sum(axis=1)
                square[:, number] += np.square(block[:, here]).sum(axis=1)
    return Sums(
        total,
        square,
        np.array([leaf.columns for leaf in run.leaves], float),
        np.array([leaf.start for leaf in run.leaves]),
        np.array([OPERATIONS.index(leaf.op) for leaf in run.leaves], float),
    )
