"""Damped linear fit: a line through the window whose slope fades with every snapshot ahead.

The damped trend of Gardner and McKenzie (Management Science, 1985), with the slope of the
least-squares line: far ahead it comes to rest, where the plain line goes on for ever.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nowcast.forecasters.base import Forecaster, Horizon, as_float
from nowcast.types import UserError, real


@dataclass(frozen=True, kw_only=True)
class DampedLinear(Forecaster):
    """``x̂(t + h) = x(t) + slope · (φ + φ² + … + φʰ)``: slope by least squares, φ is ``fade``."""

    name: ClassVar[str] = "damped_linear"
    fade: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 2:
            raise UserError(
                f"{self.name}: window={self.window} is too short: it needs 2 snapshots or more"
            )
        rule = "must be above 0 and below 1; linear is the one without"
        if not 0 < real(f"{self.name}: fade", self.fade, rule) < 1:
            raise UserError(f"{self.name}: fade={self.fade} {rule}")

    def leaf(
        self, history: Float[Array, "W *shape"], operation: str, horizon: Horizon
    ) -> Float[Array, "*shape"]:
        """The last snapshot plus the faded slope."""
        times = np.arange(self.window) - (self.window - 1) / 2
        slope = jnp.tensordot(
            jnp.asarray(times / np.sum(times**2), history.dtype), history - history[-1:], axes=1
        )
        return history[-1] + slope * (
            self.fade * (1 - self.fade ** as_float(horizon, history)) / (1 - self.fade)
        )
