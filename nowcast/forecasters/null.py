"""Null arms: jumps as long as another forecaster's, without its knowledge.

A forecaster that does not beat them does no better than shaking the weights. They follow from the
window: called again, they give the same forecast.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from nowcast.forecasters.base import Forecaster, Horizon, check_forecaster
from nowcast.forecasters.linear import Linear


@dataclass(frozen=True, kw_only=True)
class Null(Forecaster):
    """Base of null arms, whose jump sizes, window and horizon are those of a forecaster ``of``."""

    elementwise: ClassVar[bool] = False
    of: Forecaster = field(default_factory=Linear)
    seed: int = 0
    window: int = field(init=False, default=5)
    horizon: int = field(init=False, default=5)

    def __post_init__(self) -> None:
        check_forecaster(self.of)
        object.__setattr__(self, "window", self.of.window)
        object.__setattr__(self, "horizon", self.of.horizon)
        super().__post_init__()

    def can_forecast(self, operation: str) -> bool:
        """Whether the other forecaster forecasts this operation."""
        return self.of.can_forecast(operation)

    def check_horizon(self, horizon: int | None) -> int:
        """The horizon that the other forecaster would use."""
        return self.of.check_horizon(horizon)

    def check_schedule(self) -> None:
        """Refuse a changing horizon where the other forecaster does."""
        self.of.check_schedule()

    def at_named_steps(self, aim: float | None) -> "Null":
        """The null arm of the other forecaster's jumps at named steps."""
        return replace(self, of=self.of.at_named_steps(aim))

    def leaf(
        self, history: Float[Array, "W *shape"], operation: str, horizon: Horizon
    ) -> Float[Array, "*shape"]:
        """The last snapshot plus a jump that does not forecast."""
        each = jax.lax.bitcast_convert_type(history.astype(jnp.float32), jnp.uint32)
        # A sum of whole numbers is the same in any order, on any number of devices.
        bits = jnp.sum(each, dtype=jnp.uint32)
        key = jax.random.fold_in(jax.random.key(self.seed), bits)
        return history[-1] + self.instead(
            self.of.leaf(history, operation, horizon) - history[-1], key
        )

    def instead(self, jump: Float[Array, "*shape"], key: PRNGKeyArray) -> Float[Array, "*shape"]:
        """A jump of the same norm."""
        raise NotImplementedError
