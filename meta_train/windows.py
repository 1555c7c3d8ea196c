"""Windows: a forecaster's training examples, drawn from trajectories of any total size in bounded memory.

A window is W snapshots of one scalar weight with what comes after them as targets. It comes from one run and one leaf;
which network it trains follows from the leaf's operation. Windows are drawn by the *handful*: one run, two moments of it,
one stored chunk of its scalars, and some of the weights in there. A task (architecture on a data set) is as likely as any
other, then a run of it as any other of its runs, then a scalar and a moment as any other.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from collect.corpus import CHUNK, Run
from nowcast.types import UserError

FIRST = 1
"""The first snapshot that windows use: a nowcast run's window never holds the untrained weights (snapshot 0)."""
MOMENTS = 2
"""Moments that a handful's windows are taken at; neighbours, as their windows share most of what must be read."""
TRIES = 100
"""How often a handful is drawn anew when its run had diverged there."""
SAMPLING = ("uniform", "movement")


class Rule(NamedTuple):
    """What a window is."""

    window: int
    horizon: int
    many: bool = False
    """Targets at 1, 2, …, ``horizon`` snapshots past the last one; those past a run's end are NaN."""
    from_start: bool = False
    """Windows begin with snapshot 0, and take every snapshot, or every second, every third, …"""

    @property
    def span(self) -> int:
        """Snapshots that the shortest one needs past its first, targets included."""
        return self.window - 1 + (1 if self.many else self.horizon)

    @property
    def shortest(self) -> int:
        """Snapshots that a run must have."""
        return self.span + 1 + (0 if self.from_start else FIRST)

    @property
    def offsets(self) -> Int[np.ndarray, "columns"]:
        """The places of its values, counted from its first."""
        targets = range(1, self.horizon + 1) if self.many else [self.horizon]
        return np.array([*range(self.window), *(self.window - 1 + target for target in targets)])

    def check(self, run: Run) -> None:
        """Refuse a run that is too short."""
        if (snapshots := run.weights.shape[0]) < self.shortest:
            raise UserError(
                f"corpus: run {run.id} has {snapshots} snapshots, and a window of {self.window} with horizon "
                f"{self.horizon} needs {self.shortest}; collect with more epochs"
            )

    def moments(self, snapshots: int) -> int:
        """How many windows of one weight a run of so many snapshots has."""
        return (snapshots - 1) // self.span if self.from_start else snapshots - self.shortest + 1

    def places(self, moments: Int[np.ndarray, "M"]) -> Int[np.ndarray, "M columns"]:
        """The snapshots of the windows at these moments; some targets may lie past the run's end."""
        if self.from_start:
            return self.offsets[None] * (moments[:, None] + 1)
        return self.offsets[None] + FIRST + moments[:, None]


class Part(NamedTuple):
    """The weights of one network in one stored chunk of a run."""

    chunk: int
    ranges: list[tuple[int, int]]
    """Of scalars, counted from the chunk's first."""
    share: float
    """Of the network's weights in the run, this part's and those of the parts before it."""


class Windows:
    """Draws windows of some runs.

    Args:
        runs: Where from.
        served_by: Which network serves which operation; leaves of other operations are left out.
        rule: What a window is.
        sampling: ``uniform`` over the scalars, or by ``movement``: half from the half of the weights that moved most, a
            quarter from the next quartile, a quarter from the last (Introspection, §3); moved between the snapshots that are read for
            the handful.

    Raises:
        UserError: A run that is too short.
    """

    def __init__(
        self, runs: Sequence[Run], served_by: Mapping[str, str | None], rule: Rule, sampling: str | None = SAMPLING[0]
    ):
        self.rule, self.sampling = rule, sampling
        self._parts = {run.path: _parts(run, served_by) for run in runs}
        self._last: tuple[Any, np.ndarray] = (None, np.empty(0))
        """What was read last: handfuls of several networks by one key are mostly from one place."""
        self.runs: dict[str, dict[str, list[Run]]] = {}
        """By network and task."""
        for run in runs:
            rule.check(run)
            for network in self._parts[run.path]:
                self.runs.setdefault(network, {}).setdefault(run.config["task"], []).append(run)

    @property
    def columns(self) -> int:
        """Numbers in a row: the window's, and its targets."""
        return len(self.rule.offsets)

    def handful(
        self, network: str, size: int, key: Sequence[int], run: Run | None = None
    ) -> Float[np.ndarray, "size columns"]:
        """Some windows of one network.

        Args:
            network: Which.
            size: How many.
            key: Determines the draw.
            run: One of the runs to take them from; left out, it is drawn too.

        Raises:
            UserError: What is drawn is never finite, or a chunk is damaged.
        """
        place, weights = np.random.default_rng(key), np.random.default_rng((*key, sum(network.encode())))
        by_task = list(self.runs[network].values())
        for _ in range(TRIES):
            task, which, part, moment = place.random(4)
            same = by_task[int(task * len(by_task))]
            chosen = run or same[int(which * len(same))]
            parts = self._parts[chosen.path][network]
            drawn = self._draw(chosen, next(p for p in parts if part < p.share), moment, size, weights)
            sound = drawn[np.isfinite(drawn[:, : self.rule.window + 1]).all(axis=1)]
            if len(sound):
                return sound[np.arange(size) % len(sound)]
        raise UserError(f"corpus: no finite windows for {network} in {TRIES} draws; collect with lower learning rates")

    def _draw(
        self, run: Run, part: Part, moment: float, size: int, rng: np.random.Generator
    ) -> Float[np.ndarray, "size columns"]:
        snapshots = run.weights.shape[0]
        count = self.rule.moments(snapshots)
        moments = (int(moment * count) + np.arange(min(MOMENTS, count))) % count
        rows, places = np.unique(self.rule.places(moments), return_inverse=True)
        block = self._read(run, rows[rows < snapshots], part.chunk)
        columns = np.concatenate([np.arange(start, end) for start, end in part.ranges])
        if self.sampling == "movement":
            columns = columns[np.argsort(-np.abs(block[-1] - block[0])[columns], kind="stable")]
        picked = columns[_picks(len(columns), size, self.sampling, rng)]
        values = np.full((len(rows), size), np.nan, np.float32)
        values[: len(block)] = block[:, picked]
        return values[places.reshape(len(moments), -1)[rng.integers(len(moments), size=size)], np.arange(size)[:, None]]

    def _read(self, run: Run, rows: Int[np.ndarray, "R"], chunk: int) -> Float[np.ndarray, "R C"]:
        key = (run.path, rows.tobytes(), chunk)
        if self._last[0] != key:
            self._last = (key, run.weights[rows, chunk * CHUNK : (chunk + 1) * CHUNK])
        return self._last[1]


def _picks(count: int, size: int, sampling: str | None, rng: np.random.Generator) -> Int[np.ndarray, "size"]:
    """Places among so many weights, which ``movement`` takes to be in the order of how far they moved."""
    if sampling == "uniform":
        return rng.integers(count, size=size)
    edges = np.array([0, 0.5, 0.75, 1]) * count
    part = rng.choice(3, size=size, p=[0.5, 0.25, 0.25])
    return rng.uniform(edges[part], edges[part + 1]).astype(int).clip(max=count - 1)


def _parts(run: Run, served_by: Mapping[str, str | None]) -> dict[str, list[Part]]:
    """For each network, where its weights are."""
    found: dict[str, dict[int, list[tuple[int, int]]]] = {}
    for leaf in run.leaves:
        network, end = served_by.get(leaf.op), leaf.start + leaf.size
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
