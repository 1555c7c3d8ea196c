"""Linear fit: a straight line through the window by least squares, read off ``horizon`` snapshots later.

The baseline of Introspection (Sinha et al., ICLR 2017) and WNN (Jang et al., ICML 2023, Tables 4 and 5).
"""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nowcast.forecasters.base import Forecaster
from nowcast.types import UserError


@dataclass(frozen=True, kw_only=True)
class Linear(Forecaster):
    """``x̂(t + h) = mean(x) + slope·(t + h − mean(t))``, slope by least squares.

    Least squares is linear in the window, so the forecast is one weighted sum of the snapshots. With
    ``t = 0 … W−1`` and ``t̄ = (W−1)/2`` the weight of snapshot ``i`` is
    ``1/W + (W−1+h − t̄)·(i − t̄)/Σ(t − t̄)²``; the weights add up to one. Two snapshots or more are needed.
    """

    name: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 2:
            raise UserError(f"linear: window={self.window} is too short: a line needs 2 snapshots or more")

    def leaf(self, history: Float[Array, "W *shape"], operation: str, horizon: int) -> Float[Array, "*shape"]:
        """The fitted line at ``t = W − 1 + horizon``."""
        centred = np.arange(self.window) - (self.window - 1) / 2
        weights = 1 / self.window + (centred[-1] + horizon) * centred / np.sum(centred**2)
        # Relative to the last snapshot, so that weights that stand still stay exactly where they are.
        moved = history - history[-1:]
        return history[-1] + jnp.tensordot(jnp.asarray(weights, history.dtype), moved, axes=1)
