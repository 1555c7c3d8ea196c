"""Autoregressive: go on, stop or turn back as a leaf's increments are correlated in its window.

The increments of all weights of a leaf count as draws of one process, ``d(t + 1) = ρ·d(t) + noise``
(Yule, 1927), whose ρ is the correlation of neighbouring increments within the window. Five
snapshots of one weight say little of ρ; those of thousands of weights say it well. So the forecast
goes far along a steady path (ρ near 1), stays where the path is a random walk (ρ = 0), and steps
back towards the middle where weights only oscillate (ρ = −½). It needs no learning: a learned
forecaster must beat it.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from nowcast.forecasters.base import Forecaster, Horizon, as_float
from nowcast.split import total
from nowcast.types import UserError

MOST = 0.95
"""The largest ρ: no path goes on for ever."""


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
        """The last snapshot plus the sum of its last increment's future decay."""
        moved = jnp.diff(history, axis=0)
        products = jnp.stack(
            [
                jnp.mean(jnp.sum(moved[1:] * moved[:-1], axis=range(1, moved.ndim))),
                jnp.mean(jnp.sum(jnp.square(moved), axis=range(1, moved.ndim))),
            ]
        )
        neighbours, squares = total(products, history, self.name)
        rho = jnp.clip(neighbours / jnp.where(squares > 0, squares, 1), -MOST, MOST)
        return history[-1] + rho * (1 - rho ** as_float(horizon, history)) / (1 - rho) * moved[-1]
