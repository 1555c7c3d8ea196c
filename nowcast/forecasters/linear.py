"""Linear fit: a straight line through the window, read off ``horizon`` snapshots later.

The baseline of Introspection (Sinha et al., ICLR 2017) and WNN (Jang et al., ICML 2023, Tables 4
and 5).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nowcast.forecasters.base import AIM, PLACES, Forecaster, Horizon
from nowcast.types import UserError


@dataclass(frozen=True, kw_only=True)
class Linear(Forecaster):
    """``x̂(t + h) = mean(x) + slope·(t + h − mean(t))``, slope by least squares.

    Least squares is linear in the window, so the forecast is one weighted sum of the snapshots:
    with the powers of ``t = 0 … W−1`` as rows of ``V`` and those of ``W−1+h`` as ``v``, the weights
    are ``v·V⁺``; they add up to one. Two snapshots or more are needed.
    """

    name: ClassVar[str] = "linear"
    degree: ClassVar[int] = 1
    """The degree of the polynomial."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window <= self.degree:
            raise UserError(
                f"{self.name}: window={self.window} is too short: it needs {self.degree + 1}"
                " snapshots or more"
            )

    def leaf(
        self, history: Float[Array, "W *shape"], operation: str, horizon: Horizon
    ) -> Float[Array, "*shape"]:
        """The fitted polynomial at ``t = W − 1 + horizon``."""
        times = np.arange(self.window) / self.window
        return extrapolated(history, times, times[-1] + horizon / self.window, self.degree)

    def at_named_steps(self, aim: float | None) -> "FromStart":
        """The polynomial through the run at :data:`PLACES` of a jump's step."""
        aim = AIM if aim is None else aim
        if aim <= 1:
            raise UserError(f"aim={aim:g} must be above 1: 2 leads to twice the step")
        return FromStart(of=self.name, degree=self.degree, aim=aim, window=len(PLACES))


@dataclass(frozen=True, kw_only=True)
class FromStart(Forecaster):
    """``x̂(aim · t)`` of the polynomial through the weights at :data:`PLACES` of step t.

    Least squares over four values, as the baselines of Introspection.
    """

    name: ClassVar[str] = "from_start"
    of: str
    """The name of the fit."""
    degree: int
    aim: float

    def leaf(
        self, history: Float[Array, "W *shape"], operation: str, horizon: Horizon
    ) -> Float[Array, "*shape"]:
        """The fitted polynomial at ``aim``, in units of the jump's step."""
        return extrapolated(history, np.array(PLACES), self.aim, self.degree)


def extrapolated(
    history: Float[Array, "W *shape"], times: Float[np.ndarray, "W"], ahead: Any, degree: int
) -> Float[Array, "*shape"]:
    """The polynomial that fits snapshots at ``times`` best, by least squares, at time ``ahead``."""
    powers = [ahead**k for k in range(degree, -1, -1)]
    rows = np.linalg.pinv(np.vander(times, degree + 1))
    weights = sum(p * row for p, row in zip(powers, rows, strict=True))
    # Relative to the last snapshot, so that weights that do not move keep their exact values.
    moved = history - history[-1:]
    return history[-1] + jnp.tensordot(jnp.asarray(weights, history.dtype), moved, axes=1)
