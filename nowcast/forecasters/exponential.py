"""Exponential fit: each weight comes to rest, ``x(t) = a + b·rᵗ``, fitted by least squares.

A baseline of WNN (Jang et al., ICML 2023, Table 4), where a general curve fitter takes seconds for
24,000 weights. For a given r the fit is linear, and so is its squared error in the window: the best
r of a grid takes a handful of weighted sums per weight, for all weights at once.

Departure: r is one of ``RATES``, below 1. Above 1 a weight would run away, and five snapshots
distinguish such a curve from a line only in their last digits. Toward 1 the fit becomes the line,
which is the last on the grid.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nowcast.forecasters.base import Forecaster, Horizon, as_float
from nowcast.types import UserError

RATES = tuple(float(rate) for rate in 1 - np.geomspace(0.9, 0.01, 40))
"""The share of the way to rest that is left after each snapshot: from a tenth to nearly all."""


@dataclass(frozen=True, kw_only=True)
class Exponential(Forecaster):
    """``x̂(t + h) = a + b·r^(t + h)``, with the r of :data:`RATES` that fits the window best.

    The line counts as one of them.
    """

    name: ClassVar[str] = "exponential"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 4:
            raise UserError(
                f"{self.name}: window={self.window} is too short: it needs 4 snapshots or more"
            )

    def leaf(
        self, history: Float[Array, "W *shape"], operation: str, horizon: Horizon
    ) -> Float[Array, "*shape"]:
        """The best curve at ``t = W − 1 + horizon``."""
        times = np.arange(self.window) - (self.window - 1.0)  # the last snapshot is 0, and r⁰ is 1
        moved = history - history[-1:]
        steps = as_float(horizon, history)
        best = error = None
        for rate in (*RATES, None):
            curve = times if rate is None else rate**times
            basis = np.stack([np.ones(self.window), curve], axis=1)
            level, slope = np.linalg.pinv(basis)
            ahead = steps if rate is None else rate**steps
            forecast = _sum(level, moved) + _sum(slope, moved) * ahead
            # The residual: the window without its part in the plane of (1, curve).
            rest = np.linalg.svd(basis)[0][:, 2:].T
            squared = sum((_sum(row, moved) ** 2 for row in rest), start=jnp.zeros_like(moved[0]))
            if best is None or error is None:
                best, error = forecast, squared
            else:
                best, error = (
                    jnp.where(squared < error, forecast, best),
                    jnp.minimum(squared, error),
                )
        assert best is not None
        return history[-1] + best


def _sum(weights: np.ndarray, snapshots: Float[Array, "W *shape"]) -> Float[Array, "*shape"]:
    return jnp.tensordot(jnp.asarray(weights, snapshots.dtype), snapshots, axes=1)
