"""Measure whether a population trains faster as one program or one run after another.

One program (``jax.vmap`` over runs) fills an accelerator with small networks; on a CPU it turns
convolutions into grouped ones, which are slow, while dense networks may gain.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from collect.training.loop import Loop
from collect.training.workers import side_by_side, workers

PROBE = 8
"""Steps that are timed."""
WORTH = 60.0
"""Seconds of training below which nothing is measured.

Compiling the second program would cost more than it gains.
"""


class Pace(NamedTuple):
    """Steps per second, over all runs; NaN where it was not measured."""

    apart: float
    together: float

    @property
    def best(self) -> str:
        """``together`` or ``apart``."""
        return "together" if self.together > self.apart else "apart"


def measure(loop: Loop, seeds: Sequence[int], steps: int) -> Pace:
    """Time a few steps both ways, on runs that are thrown away.

    Args:
        loop: What trains.
        seeds: The seeds of the runs that would train together.
        steps: Length of all runs that are to be trained, together: what the choice is worth.
    """
    one_by_one = apart(loop, seeds)
    worth_it = len(seeds) > 1 and steps / one_by_one >= WORTH
    return Pace(one_by_one, together(loop, seeds) if worth_it else float("nan"))


def apart(
    loop: Loop, seeds: Sequence[int], steps: int = PROBE, at_once: int | None = None
) -> float:
    """Steps per second, over all runs, with one run after another on each worker.

    ``at_once`` is how many workers there are; None: one per core.
    """
    at_once = at_once or workers()
    rates = np.full(steps, 1e-6, np.float32)

    def train(seed: int) -> None:
        for _ in loop.run(seed, rates, record_every=steps):
            pass

    train(seeds[0])  # compiles
    some = [seeds[i % len(seeds)] for i in range(at_once)]
    begun = time.perf_counter()
    side_by_side(train, some, at_once)
    return steps * len(some) / (time.perf_counter() - begun)


def together(loop: Loop, seeds: Sequence[int], steps: int = PROBE) -> float:
    """Steps per second, over all runs, as one program."""
    rates = np.full((len(seeds), steps), 1e-6, np.float32)

    def train() -> None:
        for _ in loop.run_together(seeds, rates, record_every=steps):
            pass

    train()  # compiles
    begun = time.perf_counter()
    train()
    return steps * len(seeds) / (time.perf_counter() - begun)
