"""Draw the training examples of a forecaster of whole leaves, as inner products.

An example is a leaf at a place in a run: W snapshots with a stride of 1, 2 or 4 (so one corpus
shows many distances between two snapshots), and the snapshots that come after at the same stride.
It holds no weights, only what a squared error needs: with ``dᵢ`` the W−1 increments of the window
and ``y_h`` the displacement from its last snapshot to the one ``h`` later, a row is ::

    ⟨dᵢ, dⱼ⟩, (W−1)²  |  ⟨dᵢ, y_h⟩, horizons × (W−1)  |  ⟨y_h, y_h⟩, horizons

all divided by the mean of ``⟨dᵢ, dᵢ⟩``. Targets past a run's end, or not finite, are NaN. All tasks
are equally likely, then all runs of a task, all leaves of the network, all strides and all places
in the run. A run is read once, and the S × S inner products of its S snapshots are kept for each
leaf: memory grows with runs, not with weights.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from collect.corpus import Run
from collect.corpus.gram import displacements
from collect.corpus.layout import CHUNK
from collect.corpus.places import Place
from meta_train.source import FIRST, Rule, Source
from nowcast.types import UserError

STRIDES = (1, 2, 4)
"""Snapshots of the run from one snapshot of the window to the next."""
LEAST = 1e-24
"""The smallest mean square of a leaf's increments, per weight, that counts as movement.

Smaller ones are rounding.
"""
CANCELLED = 1e-12
"""The same, relative to the leaf's displacement in the run so far.

Increments' products are differences of displacements' products: smaller ones are rounding, as in a
network that died and does not move.
"""


class Leaves(Source):
    """Draws examples of some runs, leaf by leaf; targets are at 1, 2, …, ``rule.horizon``."""

    what = "leaves"

    def __init__(self, runs: Sequence[Run], networks: Mapping[str, str | None], rule: Rule):
        super().__init__(runs, networks, rule)
        self._networks = networks
        self._products: dict[Place, dict[str, Float[np.ndarray, "L S S"]]] = {}

    def _check(self, run: Run) -> None:
        if any(leaf.columns < leaf.size for leaf in run.leaves):
            raise UserError(
                f"corpus: run {run.id} holds a sample of each leaf"
                f" (sample={max(leaf.columns for leaf in run.leaves)}), and this forecaster takes"
                " leaves as a whole: give forecaster=wnn, or collect with record=gram in the place"
                " of sample"
            )
        if (band := reach(run)) < self.rule.window:
            raise UserError(
                f"corpus: run {run.id} holds inner products of snapshots up to {band} apart, and"
                f" window={self.rule.window} needs {self.rule.window}; give a smaller window, or"
                f" collect with band={self.rule.window} or more"
            )

    @property
    def columns(self) -> int:
        """How many numbers a row has."""
        moved, horizons = self.rule.window - 1, self.rule.horizon
        return moved * moved + horizons * moved + horizons

    def _draw(
        self,
        run: Run,
        network: str,
        size: int,
        place: np.random.Generator,
        rng: np.random.Generator,
    ) -> Float[np.ndarray, "some columns"]:
        products = self._of(run, network)
        window, horizon = self.rule.window, self.rule.horizon
        snapshots = products.shape[1]
        known = reach(run)
        fit = [stride for stride in STRIDES if stride * window <= min(snapshots - 1, known)]
        stride = rng.choice(fit, size=size)
        first = (rng.random(size) * (snapshots - stride * window)).astype(int)
        leaf = rng.integers(len(products), size=size)[:, None]
        inside = first[:, None] + stride[:, None] * np.arange(window)
        after = inside[:, -1:] + stride[:, None] * np.arange(1, horizon + 1)
        there, last = (after < snapshots) & (after - inside[:, :1] <= known), inside[:, -1:]
        after = np.where(there, after, last)

        def between(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
            return products[leaf[..., None], rows[:, :, None], columns[:, None, :]]

        with np.errstate(invalid="ignore", divide="ignore"):
            gram = np.diff(np.diff(between(inside, inside), axis=1), axis=2)
            itself = np.arange(window - 1)
            # Rounding may make the square of a tiny increment negative.
            gram[:, itself, itself] = np.maximum(gram[:, itself, itself], 0)
            along = np.diff(between(inside, after) - between(inside, last), axis=1)
            square = (
                products[leaf, after, after]
                - 2 * products[leaf, after, last]
                + products[leaf, last, last]
            )
            unit = np.trace(gram, axis1=1, axis2=2)[:, None] / (window - 1)
            targets = np.swapaxes(along, 1, 2), square[..., None]
            parts = (np.where(there[..., None], part, np.nan).reshape(size, -1) for part in targets)
            rows = np.concatenate([gram.reshape(size, -1), *parts], axis=1) / unit
        sound = (
            (unit[:, 0] > np.maximum(LEAST, CANCELLED * products[leaf, last, last][:, 0]))
            & np.isfinite(rows[:, : (window - 1) ** 2]).all(axis=1)
            & np.isfinite(rows[:, -horizon])
        )
        return rows[sound].astype(np.float32)

    def _of(self, run: Run, network: str) -> Float[np.ndarray, "L S S"]:
        if run.path not in self._products:
            found: dict[str, list[np.ndarray]] = {}
            for leaf, products in zip(run.leaves, inner_products(run), strict=True):
                found.setdefault(str(self._networks.get(leaf.op)), []).append(products)
            self._products[run.path] = {name: np.stack(some) for name, some in found.items()}
        return self._products[run.path][network]


def split(rows: Any, window: int) -> tuple[Any, Any, Any]:
    """Split rows into the products of increments, with displacements, and of displacements.

    Their shapes are ``(N, D, D)``, ``(N, H, D)`` and ``(N, H)``, with D = W − 1.
    """
    moved = window - 1
    horizons = (rows.shape[1] - moved * moved) // (moved + 1)
    ends = moved * moved, moved * (moved + horizons)
    along = rows[:, ends[0] : ends[1]].reshape(-1, horizons, moved)
    return rows[:, : ends[0]].reshape(-1, moved, moved), along, rows[:, ends[1] :]


def reach(run: Run) -> int:
    """How many snapshots apart two may be for their inner product to be known."""
    return run.snapshots if run.band is None else run.band


def inner_products(run: Run) -> list[Float[np.ndarray, "S S"]]:
    """The inner products of each leaf's displacements from snapshot ``FIRST``, per weight.

    Values that are not finite give NaN. For a run recorded with ``record=gram`` only differences
    within its band have a meaning (:func:`collect.corpus.gram.displacements`).
    """
    if run.band is not None:
        found = displacements(run.gram[FIRST:], run.band)
        return [products / leaf.size for leaf, products in zip(run.leaves, found, strict=True)]
    snapshots, end = run.weights.shape
    totals = [np.zeros((snapshots - FIRST, snapshots - FIRST)) for _ in run.leaves]
    for first in range(0, end, CHUNK):
        block = np.asarray(run.weights[FIRST:snapshots, first : first + CHUNK], np.float64)
        for leaf, total in zip(run.leaves, totals, strict=True):
            inside = block[:, max(leaf.start - first, 0) : max(leaf.start + leaf.size - first, 0)]
            with np.errstate(invalid="ignore", over="ignore"):
                moved = inside - inside[:1]
                total += moved @ moved.T
    return [total / leaf.size for leaf, total in zip(run.leaves, totals, strict=True)]
