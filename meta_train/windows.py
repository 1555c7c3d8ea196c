"""Draw a forecaster's training windows from trajectories of any size, in bounded memory.

A window is W snapshots of one scalar weight, followed by its targets. It comes from one run and one
leaf, whose operation decides which network it trains. Windows are drawn by the *handful*: one run,
two places in it, one stored chunk of its scalars, and some of the weights in there. All tasks (an
architecture on a data set) are equally likely; so are all runs of a task, all scalars and all
places.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from collect.corpus import Run
from collect.corpus.layout import CHUNK
from meta_train.source import Rule, Source
from nowcast.types import UserError

STARTS = 2
"""Places in a run at which a handful's windows begin.

They are neighbours, because their windows share most of what must be read.
"""
SAMPLING = ("uniform", "movement")


class Part(NamedTuple):
    """The weights of one network in one stored chunk of a run."""

    chunk: int
    ranges: list[tuple[int, int]]
    """Ranges of scalars, counted from the chunk's first."""
    share: float
    """The share of the network's weights in the run that this part and earlier parts hold."""


class Windows(Source):
    """Draws windows of some runs.

    Args:
        runs: The runs that windows come from.
        networks: The network of each operation; leaves of other operations are left out.
        rule: What a window is.
        sampling: ``uniform`` over the scalars, or by ``movement``: half from the half of the
            weights that moved most, a quarter from the next quartile, a quarter from the last
            (Introspection, §3); moved between the snapshots that are read for the handful.

    Raises:
        UserError: A run that is too short.
    """

    what = "windows"
    context = 0
    """Columns behind the targets, about the leaf that a window's weight belongs to."""

    def __init__(
        self,
        runs: Sequence[Run],
        networks: Mapping[str, str | None],
        rule: Rule,
        sampling: str | None = SAMPLING[0],
    ):
        super().__init__(runs, networks, rule)
        self.sampling = sampling
        self._parts = {run.path: _parts(run, networks) for run in runs}
        self._last: tuple[Any, np.ndarray] = (None, np.empty(0))
        """What was read last: handfuls of several networks with one key mostly share a place."""

    @property
    def columns(self) -> int:
        """How many numbers a row has: the window's, its targets, and its context."""
        return len(self.rule.offsets) + self.context

    def _check(self, run: Run) -> None:
        if run.band is not None:
            raise UserError(
                f"corpus: run {run.id} holds inner products and no weights (record=gram): give"
                " forecaster=gram, or collect without record=gram"
            )

    def _draw(
        self,
        run: Run,
        network: str,
        size: int,
        place: np.random.Generator,
        rng: np.random.Generator,
    ) -> Float[np.ndarray, "some columns"]:
        share, where = place.random(2)
        part = next(part for part in self._parts[run.path][network] if share < part.share)
        snapshots = run.snapshots
        count = self.rule.starts(snapshots)
        starts = (int(where * count) + np.arange(min(STARTS, count))) % count
        rows, places = np.unique(self.rule.places(starts), return_inverse=True)
        block = self._read(run, rows[rows < snapshots], part.chunk)
        columns = np.concatenate([np.arange(start, end) for start, end in part.ranges])
        if self.sampling == "movement":
            columns = columns[np.argsort(-np.abs(block[-1] - block[0])[columns], kind="stable")]
        picked = columns[_picks(len(columns), size, self.sampling, rng)]
        values = np.full((len(rows), size), np.nan, np.float32)
        values[: len(block)] = block[:, picked]
        which = rng.integers(len(starts), size=size)
        drawn = values[places.reshape(len(starts), -1)[which], np.arange(size)[:, None]]
        first = self.rule.places(starts)[which, 0]
        context = self._context(run, part.chunk * CHUNK + picked, first)
        sound = np.isfinite(drawn[:, : self.rule.window + 1]).all(axis=1)
        sound &= np.isfinite(context).all(axis=1)
        return np.concatenate([drawn, context], axis=1)[sound]

    def _context(
        self, run: Run, columns: Int[np.ndarray, "N"], first: Int[np.ndarray, "N"]
    ) -> Float[np.ndarray, "N context"]:
        """What to say of the leaves of these columns, in windows that begin at these snapshots."""
        return np.empty((len(columns), 0), np.float32)

    def _read(self, run: Run, rows: Int[np.ndarray, "R"], chunk: int) -> Float[np.ndarray, "R C"]:
        key = (run.path, rows.tobytes(), chunk)
        if self._last[0] != key:
            self._last = (key, run.weights[rows, chunk * CHUNK : (chunk + 1) * CHUNK])
        return self._last[1]


def _picks(
    count: int, size: int, sampling: str | None, rng: np.random.Generator
) -> Int[np.ndarray, "size"]:
    """Draw indices among ``count`` weights.

    For ``movement`` the weights must be in the order of how far they moved.
    """
    if sampling == "uniform":
        return rng.integers(count, size=size)
    edges = np.array([0, 0.5, 0.75, 1]) * count
    part = rng.choice(3, size=size, p=[0.5, 0.25, 0.25])
    return rng.uniform(edges[part], edges[part + 1]).astype(int).clip(max=count - 1)


def _parts(run: Run, networks: Mapping[str, str | None]) -> dict[str, list[Part]]:
    """The places of each network's weights."""
    found: dict[str, dict[int, list[tuple[int, int]]]] = {}
    for leaf in run.leaves:
        network, end = networks.get(leaf.op), leaf.scalars.stop
        if network:
            for chunk in range(leaf.start // CHUNK, -(-end // CHUNK)):
                first = chunk * CHUNK
                inside = max(leaf.start, first) - first, min(end, first + CHUNK) - first
                found.setdefault(network, {}).setdefault(chunk, []).append(inside)
    return {network: list(_shared(chunks)) for network, chunks in found.items()}


def _shared(chunks: Mapping[int, list[tuple[int, int]]]) -> Iterator[Part]:
    sizes = [sum(end - start for start, end in ranges) for ranges in chunks.values()]
    for (chunk, ranges), until in zip(chunks.items(), np.cumsum(sizes) / sum(sizes), strict=True):
        yield Part(chunk, ranges, float(until))
