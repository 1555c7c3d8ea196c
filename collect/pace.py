"""Whether a population trains faster as one program or one run after another: measured, not guessed.

One program (``jax.vmap`` over runs) fills an accelerator with small networks; on a CPU it turns convolutions into grouped
ones, which are slow, while dense networks may gain.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from collect.loop import Loop
from collect.workers import side_by_side, workers

PROBE = 8
"""Steps that are timed."""
WORTH = 60.0
"""Seconds of training below which nothing is tried out: compiling the second program would cost more than it wins."""


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
        seeds: Of the runs that would train together.
        steps: Length of all runs that are to be trained, together: what the choice is worth.
    """
    rates = np.full((len(seeds), PROBE), 1e-6, np.float32)

    def alone(seed: int) -> None:
        for _ in loop.run(seed, rates[0], record_every=PROBE):
            pass

    def together() -> None:
        for _ in loop.run_together(seeds, rates, record_every=PROBE):
            pass

    alone(seeds[0])  # compiles
    some = [seeds[i % len(seeds)] for i in range(workers())]
    begun = time.perf_counter()
    side_by_side(alone, some)
    apart = PROBE * len(some) / (time.perf_counter() - begun)
    if len(seeds) < 2 or steps / apart < WORTH:
        return Pace(apart, float("nan"))
    together()
    begun = time.perf_counter()
    together()
    return Pace(apart, PROBE * len(seeds) / (time.perf_counter() - begun))
