"""Average: the mean of the window, which is a step back instead of ahead.

Latest weight averaging (LAWA: Kaddour, 2022) of the run's own snapshots: what a jump that only
removes noise would do.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from nowcast.forecasters.base import Forecaster, Horizon


@dataclass(frozen=True, kw_only=True)
class Average(Forecaster):
    """``x̂(t + h) = mean(x)``, whatever the horizon."""

    name: ClassVar[str] = "average"

    def leaf(
        self, history: Float[Array, "W *shape"], operation: str, horizon: Horizon
    ) -> Float[Array, "*shape"]:
        """The mean of the snapshots."""
        return history[-1] + jnp.mean(history - history[-1:], axis=0)
