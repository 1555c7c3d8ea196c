"""A population that the benchmarks train, timed."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from collect.training import pace
from collect.training.loop import Loop, Snapshot, State
from collect.training.workers import side_by_side

RATE = 1e-3


class Population:
    """Runs that train together or apart, as `collect.population` has them; only their steps are
    timed.
    """

    def __init__(self, loop: Loop, runs: int, way: str):
        self.loop, self.seeds = loop, range(runs)
        if way == "measure":
            way = pace.measure(loop, self.seeds, 10**9).best
        self.way, self.starts = way, [jax.device_get(loop.start(seed)) for seed in self.seeds]

    def seconds(
        self, steps: int, every: int | None = None, record: Callable[..., None] | None = None
    ) -> float:
        """Of training all runs by so many steps; ``record(snapshots, lanes)`` gets what ``every``
        so many steps yield.
        """
        rates = np.full((len(self.seeds), steps), RATE, np.float32)
        states = [State(*jax.tree.map(jnp.array, start)) for start in self.starts]
        parts: list[tuple[Iterator[Any], list[int]]]
        if self.way == "together":
            parts = [
                (
                    self.loop.run_together(
                        self.seeds, rates, states=states, record_every=every or steps
                    ),
                    [*self.seeds],
                )
            ]
        else:
            parts = [
                (one(self.loop.run(s, rates[s], state=states[s], record_every=every or steps)), [s])
                for s in self.seeds
            ]
        for snapshots, _ in parts:
            next(snapshots)  # everything is in place: it comes before the first step

        def work(part: tuple[Iterator[Any], list[int]]) -> None:
            for snapshots in part[0]:
                if record:
                    record(snapshots, part[1])

        begun = time.perf_counter()
        side_by_side(work, parts)
        return time.perf_counter() - begun


def one(snapshots: Iterable[Snapshot]) -> Iterator[list[Snapshot]]:
    return ([snapshot] for snapshot in snapshots)


def spread(values: Sequence[float], form: str = ".2f") -> str:
    return f"{median(values):{form}} [{min(values):{form}}, {max(values):{form}}]"


def eager_seconds(optimizer: Any, loss: Callable[[int], Any], steps: int) -> float:
    """Of so many steps of an ordinary eager PyTorch loop: ``loss(step)`` runs the network on the
    step's batch.
    """
    begun, total = time.perf_counter(), 0.0
    for step in range(steps):
        value = loss(step)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        total += value.detach()
    float(total)  # waits for the device
    return time.perf_counter() - begun
