"""Null arms: jumps as long as another forecaster's, that know nothing. Whoever beats them only
shakes the weights no better.

Both are determined by the window: called again, they give the same forecast.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from nowcast.forecasters.base import Forecaster, Horizon, check_forecaster
from nowcast.forecasters.linear import Linear


@dataclass(frozen=True, kw_only=True)
class Null(Forecaster):
    """What they share: the forecaster ``of`` whose jumps they take the size, and its window and
    horizon.
    """

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

    def serves(self, operation: str) -> bool:
        """Those that the other serves."""
        return self.of.serves(operation)

    def check_horizon(self, horizon: int | None) -> int:
        """Those of the other."""
        return self.of.check_horizon(horizon)

    def check_schedule(self) -> None:
        """That of the other."""
        self.of.check_schedule()

    def leaf(
        self, history: Float[Array, "W *shape"], operation: str, horizon: Horizon
    ) -> Float[Array, "*shape"]:
        """The last snapshot, and a jump that is no forecast."""
        each = jax.lax.bitcast_convert_type(history.astype(jnp.float32), jnp.uint32)
        bits = jnp.sum(
            each, dtype=jnp.uint32
        )  # of whole numbers: the same in whatever order, on however many devices
        key = jax.random.fold_in(jax.random.key(self.seed), bits)
        return history[-1] + self.instead(
            self.of.leaf(history, operation, horizon) - history[-1], key
        )

    def instead(self, jump: Float[Array, "*shape"], key: PRNGKeyArray) -> Float[Array, "*shape"]:
        """A jump of the same size."""
        raise NotImplementedError
