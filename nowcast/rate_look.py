"""A look at a run's weights: its window moves on, and its multiplier follows a rule, with care."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nowcast import sample
from nowcast.drift import mean_cosine
from nowcast.gram_matrix import gram_matrix
from nowcast.rate_forecaster import WINDOW
from nowcast.rate_rules import MOST, Rule
from nowcast.rate_state import RateState
from nowcast.split import total
from nowcast.types import PyTree

ALIVE = 0.03
"""Below this share of their largest size, gradients are those of a run that fits its examples: it
drifts, and no rate makes it better.
"""
LEFT = 0.15
"""Below this share of the first loss, the multiplier grows by as much less as the loss is lower."""
LOST = 0.3
"""A loss that has lost this share of all that it had gained runs away."""
TOO_LOW = 0.5
"""Above this drift a rate is so low that a loss which rises between looks is noise, unless it is
well above the first one.
"""
RELAXES = MOST / 10
"""A ceiling rises by as much at a look, so that one set by mistake is not there for long."""
LONGER = 8.0
"""So does an increment that is so many times as long as those before it."""
SMOOTH = 0.5
"""What a look's loss and gradient weigh in their running means."""


def look(
    state: RateState,
    now: PyTree,
    size: Float[Array, ""],
    value: Any,
    *,
    rule: Rule,
    stop_after: int | None,
) -> RateState:
    """Look at the weights: the window moves on, and the multiplier follows a rule.

    Args:
        state: Before the look.
        now: The weights.
        size: Of the gradients.
        value: The loss, or None.
        rule: :func:`by_drift` or :func:`by_forecast`.
        stop_after: Steps after which the multiplier stays.
    """
    window = jax.tree.map(
        lambda rows, leaf: jnp.concatenate([rows[1:], sample.take(leaf, rows.shape[1])[None]]),
        state.window,
        now,
    )
    past = jnp.concatenate([state.past[1:], state.log_multiplier[None]])
    filled = jnp.minimum(state.filled + 1, WINDOW)
    full = filled == WINDOW
    products = _products(window, now)
    drift = jnp.where(full, mean_cosine(products), jnp.nan)
    mean = jnp.where(state.gradient[1] > 0, SMOOTH * size + (1 - SMOOTH) * state.gradient[0], size)
    gradient = jnp.array([mean, jnp.fmax(mean, state.gradient[1])])
    losses = _losses(state.loss, value)
    runs_away = _leaps(products) if value is None else _runs_away(losses, state.loss[3], drift)
    lost = full & runs_away
    alive = gradient[0] >= ALIVE * gradient[1]
    change = jnp.where(full, rule(products, state._replace(past=past, drift=drift)), 0)
    change = jnp.where(change > 0, change * jnp.where(alive, _left(losses), 0), change)
    change = jnp.where(jnp.isfinite(change), change, 0)
    if stop_after is not None:
        change = jnp.where(state.total <= stop_after, change, 0)
    ceiling = jnp.where(
        lost, jnp.minimum(state.ceiling, state.log_multiplier - MOST), state.ceiling + RELAXES
    )
    log_multiplier = jnp.where(lost, state.log_multiplier - 2 * MOST, state.log_multiplier + change)
    # From here on a run that ran away is judged by where it is.
    losses = jnp.where(lost, losses.at[2].set(losses[1]), losses)
    return state._replace(
        step=jnp.zeros_like(state.step),
        filled=filled,
        window=window,
        log_multiplier=jnp.minimum(log_multiplier, ceiling),
        past=past,
        ceiling=ceiling,
        drift=drift,
        gradient=gradient,
        loss=losses,
    )


def _products(window: PyTree, params: PyTree) -> Float[Array, "D D"]:
    """Inner products of the window's increments, over all leaves."""
    count = WINDOW - 1

    def of(rows: Float[Array, "W N"], leaf: Array) -> Float[Array, "D D"]:
        moved = jnp.diff(rows, axis=0)
        return total(gram_matrix(list(moved)), leaf, "auto_rate")

    return sum(jax.tree.leaves(jax.tree.map(of, window, params)), start=jnp.zeros((count, count)))


def sampled_gradients(state: RateState, grads: PyTree, params: PyTree) -> PyTree | None:
    """A sample of each gradient, or None where they are not like the parameters."""
    if not _alike(grads, params):
        return None
    return jax.tree.map(lambda rows, grad: sample.take(grad, rows.shape[1]), state.window, grads)


def gradient_size(sampled: PyTree | None, params: PyTree) -> Float[Array, ""]:
    """The gradients' size from their sample, or 1 (they count as alive) where there is none."""
    if sampled is None:
        return jnp.ones([], jnp.float32)
    squares = jax.tree.map(
        lambda some, leaf: total(jnp.sum(some**2), leaf, "auto_rate"), sampled, params
    )
    return jnp.sqrt(sum(jax.tree.leaves(squares), start=jnp.zeros([])))


def _alike(grads: PyTree, params: PyTree) -> bool:
    kinds: list[Any] = [jax.tree.structure(tree) for tree in (grads, params)]
    return bool(kinds[0] == kinds[1])


def _losses(before: Float[Array, "4"], value: Any) -> Float[Array, "4"]:
    if value is None:
        return before
    value = jnp.asarray(value, jnp.float32).reshape(())
    first, mean, lowest, noise = before
    begins = jnp.isnan(first)
    change = jnp.abs(value - mean)
    now = jnp.where(begins, value, SMOOTH * value + (1 - SMOOTH) * mean)
    noise = jnp.where(
        begins, 0.0, jnp.where(noise == 0, change, SMOOTH * change + (1 - SMOOTH) * noise)
    )
    return jnp.array(
        [
            jnp.where(begins, value, first),
            now,
            jnp.where(begins, value, jnp.minimum(lowest, now)),
            noise,
        ]
    )


def _left(losses: Float[Array, "4"]) -> Float[Array, ""]:
    """By how much the multiplier may grow, 0 to 1: less in a run that has gained most of its loss.

    A run whose rate is far too low has not. 1 where no loss is given, or where it is not above 0.
    """
    first, mean, *_ = losses
    usual = (first > 0) & (mean > 0)
    return jnp.where(usual, jnp.clip(mean / jnp.where(usual, LEFT * first, 1.0), 0, 1), 1.0)


def _runs_away(
    losses: Float[Array, "4"], noise: Float[Array, ""], drift: Float[Array, ""]
) -> Array:
    """Whether a loss has lost a good part of its gain, and more than it differs between looks.

    A run at a rate that is far too low has gained little: all that it loses is noise.
    """
    first, mean, lowest, _ = losses
    gained = jnp.maximum(first - lowest, 0)
    lost = ~(mean - lowest <= LOST * gained + 2 * noise)
    return lost & ~((drift > TOO_LOW) & (mean - first <= 4 * noise))


def _leaps(products: Float[Array, "D D"]) -> Array:
    """Whether the last increment is many times as long as those before it, or not finite."""
    lengths = jnp.sqrt(jnp.diagonal(products))
    return ~(lengths[-1] <= LONGER * jnp.max(lengths[:-1]))
