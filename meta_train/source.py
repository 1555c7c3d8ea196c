"""Draw a fit's examples from runs, a handful at a time."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from collect.corpus import Run
from collect.corpus.run import trained
from nowcast.types import UserError

FIRST = 1
"""The first snapshot that windows use: a nowcast run's window never holds snapshot 0.

Snapshot 0 is the untrained weights.
"""
MOST_DRAWS = 100
"""How often a handful is drawn anew if its run had diverged there."""


class Rule(NamedTuple):
    """The shape of a window and its targets, in snapshots."""

    window: int
    horizon: int
    many: bool = False
    """Targets at 1, 2, …, ``horizon`` snapshots past the last one; NaN past a run's end."""
    from_start: bool = False
    """Whether windows begin with snapshot 0, and take every snapshot, or every second, third, …"""

    @property
    def span(self) -> int:
        """Snapshots that the shortest window needs after its first one, with its targets."""
        return self.window - 1 + (1 if self.many else self.horizon)

    @property
    def shortest(self) -> int:
        """Snapshots that a run must have."""
        return self.span + 1 + (0 if self.from_start else FIRST)

    @property
    def offsets(self) -> Int[np.ndarray, "columns"]:
        """The snapshots of a window and its targets, counted from its first."""
        targets = range(1, self.horizon + 1) if self.many else [self.horizon]
        return np.array([*range(self.window), *(self.window - 1 + target for target in targets)])

    def check(self, run: Run) -> None:
        """Refuse a run that is too short."""
        if (snapshots := run.snapshots) < self.shortest:
            raise UserError(
                f"corpus: run {run.id} has {snapshots} snapshots, and a window of {self.window}"
                f" with horizon {self.horizon} needs {self.shortest}; collect with more epochs"
            )

    def starts(self, snapshots: int) -> int:
        """How many windows of one weight a run of so many snapshots has."""
        return (snapshots - 1) // self.span if self.from_start else snapshots - self.shortest + 1

    def places(self, starts: Int[np.ndarray, "M"]) -> Int[np.ndarray, "M columns"]:
        """The snapshots of these windows; some targets may lie past the run's end."""
        if self.from_start:
            return self.offsets[None] * (starts[:, None] + 1)
        return self.offsets[None] + FIRST + starts[:, None]


class Source:
    """Draws examples of some runs.

    All tasks (an architecture on a data set) are equally likely, then all runs of a task.

    Args:
        runs: The runs.
        networks: The network of each operation; leaves of other operations are left out.
        rule: What a window is.

    Raises:
        UserError: A run that is too short, or that does not hold what the examples are made of.
    """

    what: ClassVar[str]
    """The name of its examples in messages."""

    def __init__(self, runs: Sequence[Run], networks: Mapping[str, str | None], rule: Rule):
        self.rule = rule
        self.runs: dict[str, dict[str, list[Run]]] = {}
        """The runs, by network and by task."""
        for run in runs:
            rule.check(run)
            self._check(run)
            for network in dict.fromkeys(
                filter(None, (networks.get(leaf.op) for leaf in run.leaves))
            ):
                self.runs.setdefault(network, {}).setdefault(trained(run.config), []).append(run)

    @property
    def columns(self) -> int:
        """How many numbers a row has."""
        raise NotImplementedError

    def _check(self, run: Run) -> None:
        """Refuse a run that does not hold what examples are made of."""
        raise NotImplementedError

    def handful(
        self, network: str, size: int, key: Sequence[int], run: Run | None = None
    ) -> Float[np.ndarray, "size columns"]:
        """Draw some examples of one network.

        Args:
            network: Which network.
            size: How many examples.
            key: Determines the draw.
            run: One of the runs to take them from; left out, it is drawn too.

        Raises:
            UserError: No draw is finite, or a chunk is damaged.
        """
        place, rng = (
            np.random.default_rng(key),
            np.random.default_rng((*key, sum(network.encode()))),
        )
        for _ in range(MOST_DRAWS):
            drawn = self._drawn_run(network, place)
            sound = self._draw(run or drawn, network, size, place, rng)
            if len(sound):
                return sound[np.arange(size) % len(sound)]
        raise UserError(
            f"corpus: no finite {self.what} for {network} in {MOST_DRAWS} draws; collect with lower"
            " learning rates"
        )

    def _drawn_run(self, network: str, place: np.random.Generator) -> Run:
        """Draw a task that has weights for the network, then one of its runs."""
        task, which = place.random(2)
        by_task = list(self.runs[network].values())
        same = by_task[int(task * len(by_task))]
        return same[int(which * len(same))]

    def _draw(
        self,
        run: Run,
        network: str,
        size: int,
        place: np.random.Generator,
        rng: np.random.Generator,
    ) -> Float[np.ndarray, "some columns"]:
        """Draw examples of one run, and return the sound ones.

        Their place is drawn with ``place``, alike for all networks, and the rest with ``rng``.
        """
        raise NotImplementedError
