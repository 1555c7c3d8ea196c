"""Autoregressive: a leaf's movements die out, persist or turn back as its own window says, and one
number tells which.

The increments of all weights of a leaf are taken for draws of one process, ``d(t + 1) = ρ·d(t) +
noise`` (Yule, 1927), whose ρ is the correlation of neighbouring increments within the window. A
lone weight's five snapshots say little of it; thousands together say it well. So the forecast goes
far along a steady path (ρ near 1), keeps still where the path is that of a drunkard (ρ = 0), and
steps back towards the middle where weights only shake (ρ = −½). It needs no learning: what a
learned forecaster must beat.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from nowcast.forecasters.base import Forecaster, Horizon, as_float
from nowcast.split import total
from nowcast.types import UserError

MOST = 0.95
"""The largest ρ: no path is taken to go on for ever."""


@dataclass(frozen=True, kw_only=True)
class AutoRegressive(Forecaster):
    """``x̂(t + h) = x(t) + d(t)·(ρ + ρ² + … + ρʰ)``, with one ρ for each leaf."""

    name: ClassVar[str] = "autoregressive"
    elementwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 3:
            raise UserError(
                f"{self.name}: window={self.window} is too short: it needs 3 snapshots or more"
            )

    def leaf(
        self, history: Float[Array, "W *shape"], operation: str, horizon: Horizon
    ) -> Float[Array, "*shape"]:
        """The last snapshot, and what its last increment comes to in the end."""
        moved = jnp.diff(history, axis=0)
        products = jnp.stack(
            [
                jnp.mean(jnp.sum(moved[1:] * moved[:-1], axis=range(1, moved.ndim))),
                jnp.mean(jnp.sum(jnp.square(moved), axis=range(1, moved.ndim))),
            ]
        )
        neighbours, alone = total(products, history, self.name)
        rho = jnp.clip(neighbours / jnp.where(alone > 0, alone, 1), -MOST, MOST)
        return history[-1] + rho * (1 - rho ** as_float(horizon, history)) / (1 - rho) * moved[-1]
