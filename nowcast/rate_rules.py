"""By how much the multiplier of :func:`nowcast.auto_rate` changes at a look."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from nowcast.rate_forecaster import Rate
from nowcast.rate_state import RateState
from nowcast.types import UserError, real, whole

MOST = 0.6931472
"""The logarithm of 2: a look changes the multiplier by this factor at most."""
STRAIGHT = 0.8
"""Above this drift a rate is so far below its best that a look raises it by a factor of 4."""
START = 0.125
"""The multiplier that a run begins with. A rate that is up to some eight times too high then does
no harm before the first look, and one that is right gets a longer warm-up.
"""
GAIN = 1.0
"""The share of a forecast's distance that the multiplier goes at a look where the forecast is sure.
Where its deviation is a factor of 2 the multiplier goes half of that.
"""
FARTHEST = 2 * MOST
"""By a forecast a look changes the multiplier by a factor of 4 at most."""

Rule = Callable[[Float[Array, "D D"], RateState], Float[Array, ""]]
"""By how much the multiplier's logarithm changes at a look, from the inner products of the window's
increments and the state before the look; its ``past`` and ``drift`` are the window's.
"""


def check_rule(target: float, start: float, stop_after: int | None, scalars: int) -> None:
    """Refuse options that are out of range."""
    rule = "must be a drift, above -1 and below 1, such as 0.02"
    if not -1 < real("target", target, rule) < 1:
        raise UserError(f"target={target} {rule}")
    rule = "must be a multiplier of the rate, above 0 and at most 1, such as 0.125"
    if not 0 < real("start", start, rule) <= 1:
        raise UserError(f"start={start} {rule}")
    if stop_after is not None:
        whole("stop_after", stop_after, "optimizer steps")
    whole("scalars", scalars, "weights")


def by_drift(target: float) -> Rule:
    """The rule of one line: the drift, beside a target, at most :data:`MOST`; twice this where a
    run goes :data:`STRAIGHT`.
    """

    def change(products: Float[Array, "D D"], state: RateState) -> Float[Array, ""]:
        usual = jnp.clip(state.drift - target, -MOST, MOST)
        return jnp.where(state.drift > STRAIGHT, 2 * MOST, usual)

    return change


def by_forecast(forecaster: Any, steps: int | None, every: int) -> Rule:
    """A part of the way to where a forecaster sees the best rate.

    The forecast is of the window, whose mean logarithm of the multiplier may be another one than
    that now: what the multiplier has gone since counts as gone.

    Raises:
        UserError: It forecasts no rates, or the run's length is missing.
    """
    if not isinstance(forecaster, Rate):
        is_path = isinstance(forecaster, str)
        cure = (
            f"pass nowcast.load({forecaster!r})" if is_path else "pass a bundle of forecaster=rate"
        )
        kind = getattr(forecaster, "name", type(forecaster).__name__)
        raise UserError(f"forecaster={kind!r} forecasts no rates; {cure}")
    if steps is None:
        raise UserError(
            "steps=None: a forecaster reads what share of the run has passed; give the run's length"
            " in optimizer steps, such as steps=1000"
        )
    length = whole("steps", steps, "optimizer steps")
    each = jnp.float32(every / length)

    def change(products: Float[Array, "D D"], state: RateState) -> Float[Array, ""]:
        made = jnp.exp(state.past)
        share = jnp.minimum(state.total / length, 1.0).astype(jnp.float32)
        found = forecaster((products / jnp.outer(made, made))[None], share[None], each[None])
        trust = 1 / (1 + (found.deviation[0] / MOST) ** 2)
        way = jnp.mean(state.past) + found.mean[0] - state.log_multiplier
        return jnp.clip(GAIN * trust * way, -FARTHEST, FARTHEST)

    return change
