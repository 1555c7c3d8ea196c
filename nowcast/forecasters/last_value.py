"""Last value: the weights stay where they are, which every forecaster must beat."""

from dataclasses import dataclass, replace
from typing import ClassVar

from jaxtyping import Array, Float

from nowcast.forecasters.base import PLACES, Forecaster, Horizon


@dataclass(frozen=True, kw_only=True)
class LastValue(Forecaster):
    """``x̂(t + h) = x(t)``."""

    name: ClassVar[str] = "last_value"

    def leaf(
        self, history: Float[Array, "W *shape"], operation: str, horizon: Horizon
    ) -> Float[Array, "*shape"]:
        """The last snapshot."""
        return history[-1]

    def at_named_steps(self, aim: float | None) -> "LastValue":
        """The same, whatever the aim."""
        return replace(self, window=len(PLACES))
