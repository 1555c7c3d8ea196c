"""The members of a population: what differs between its runs."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from collect.config import CollectConfig, OptimizerConfig

GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Member:
    """One run of a population."""

    seed: int
    optimizer: OptimizerConfig
    batch_size: int


def members(config: CollectConfig) -> Iterator[Member]:
    """Every run of a population.

    Rates spread over ``vary.learning_rate`` on a logarithmic scale by a golden-ratio sequence:
    evenly for any number of runs, and the first runs of a larger population are those of a smaller
    one. Schedules take turns; batch sizes take turns each time all schedules have had theirs.
    """
    vary = config.vary
    schedules = vary.schedule or [config.optimizer.schedule]
    sizes = vary.batch_size or [config.batch_size]
    for seed in range(config.seed, config.seed + config.runs):
        rate = config.optimizer.learning_rate
        if vary.learning_rate:
            low, high = np.log(vary.learning_rate)
            rate = float(f"{np.exp(low + (high - low) * ((0.5 + seed * GOLDEN) % 1)):.3g}")
        schedule, size = (
            schedules[seed % len(schedules)],
            sizes[seed // len(schedules) % len(sizes)],
        )
        yield Member(seed, replace(config.optimizer, learning_rate=rate, schedule=schedule), size)
