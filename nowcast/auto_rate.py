"""``nowcast.auto_rate``: an optimizer whose rate follows how straight its run goes.

The drift of a run, the mean cosine between what it moved at different times, tells how far its
learning rate is from its best: far below, the run goes straight on for long; at its best it goes to
and fro. Every ``every`` steps the wrapper looks at the last five looks:

    log multiplier += clip(drift − target, log ½, log 2)
    update         ← multiplier × the optimizer's update

With a forecaster (:class:`nowcast.rate_forecaster.Rate`) a small network takes the place of the
drift; the same safeguards stay.
"""

import warnings
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from nowcast import sample
from nowcast.arrays import as_array, own_buffers
from nowcast.branch import branch
from nowcast.checks import check_optimizer, check_weights
from nowcast.drift import mean_cosine
from nowcast.forecasters.base import Forecaster
from nowcast.gram_matrix import gram_matrix
from nowcast.memory import USUAL, memory
from nowcast.rate_forecaster import MOVED, WINDOW, Rate
from nowcast.split import axis_names, split_over, total
from nowcast.types import PyTree, UserError, real, whole

MOST = 0.6931472
"""The logarithm of 2: a look changes the multiplier by this factor at most."""
GAIN = 1.0
"""The share of a forecast's distance that the multiplier goes at a look where the forecast is sure.
Where its deviation is a factor of 2 the multiplier goes half of that.
"""
FARTHEST = 2 * MOST
"""By a forecast a look changes the multiplier by a factor of 4 at most."""
ALIVE = 0.03
"""Below this share of their largest size, gradients are those of a run that fits its examples: it
drifts, and no rate makes it better.
"""
LEFT = 0.15
"""Below this share of the first loss, the multiplier grows by as much less as the loss is lower."""
LOST = 0.3
"""A loss that has lost this share of all that it had gained runs away."""
LONGER = 8.0
"""So does an increment that is so many times as long as those before it."""
SMOOTH = 0.5
"""What a look's loss and gradient weigh in their running means."""


class RateState(NamedTuple):
    """State of :func:`auto_rate`; its tree, shapes and dtypes are final from ``init``."""

    inner: optax.OptState
    step: Int[Array, ""]
    """Optimizer steps since the last look."""
    total: Int[Array, ""]
    """Since the state was made."""
    filled: Int[Array, ""]
    """Looks in the window."""
    window: PyTree
    """Of each leaf ``(5, N)``: its sampled scalars at the last looks, the oldest first."""
    log_multiplier: Float[Array, ""]
    past: Float[Array, "4"]
    """The multiplier's logarithm in each of the window's increments, the oldest first."""
    ceiling: Float[Array, ""]
    """What the multiplier's logarithm may not pass: half of where a run ran away."""
    drift: Float[Array, ""]
    """At the last look; NaN before the first full window."""
    gradient: Float[Array, "2"]
    """The gradients' size, a running mean, and its largest value."""
    loss: Float[Array, "4"]
    """The first loss, its running mean, the lowest of that, and how much one differs from the next;
    NaN where none is given.
    """

    @property
    def multiplier(self) -> Float[Array, ""]:
        """What updates are multiplied with."""
        return jnp.exp(self.log_multiplier)


_CLOCK = ("step", "total", "filled")
RATE_POPULATION = RateState(
    *(cast(Any, None if name in _CLOCK else 0) for name in RateState._fields)
)
"""``in_axes`` and ``out_axes`` of the state under ``jax.vmap``: members share the clock, and so no
step but a look pays for one.
"""


def auto_rate(
    inner: optax.GradientTransformation,
    *,
    every: int | None = None,
    target: float = 0.02,
    stop_after: int | None = None,
    scalars: int = 16_384,
    forecaster: Rate | Forecaster | None = None,
    steps: int | None = None,
    axis_name: str | Collection[str] | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Wrap an optimizer so that its rate follows the run's drift.

    The rate rises where the run goes straight on, and falls where it goes to and fro.

    Args:
        inner: Any optax optimizer, with the schedule that it has: the multiplier comes on top.
        every: Optimizer steps between two looks. Left out: the optimizer's memory, ``2 / (1 −
            β₁)``, 20 for Adam. A look takes a sample of the weights and some products of it; other
            steps cost a multiplication.
        target: The drift at which the multiplier stays. A number between −1 and 1.
        stop_after: Steps after which the multiplier stays as it is: half of the run is a good
            choice where a schedule decays. None: never.
        scalars: So many of the weights are looked at, spread over all leaves. The state holds five
            times as many numbers, 0.3 MB; the drift errs by some 0.005.
        forecaster: A learned reader of rates, a bundle of ``forecaster=rate``: ``nowcast.load``
            of its folder. It takes the place of the rule, and ``target`` is not used. None: the
            rule.
        steps: Optimizer steps of the whole run. Needed with a forecaster, and for it alone: it
            reads what share of the run has passed.
        axis_name: Inside ``jax.shard_map`` alone, as for :func:`nowcast.periodic`.

    Returns:
        A ``GradientTransformationExtraArgs``; its ``update`` needs ``params``, and takes the loss
        as ``value=``, or ``value_fn=`` as for :class:`nowcast.Guard`, which is then called at looks
        alone. Its state is a :class:`RateState`.

    The multiplier steps back, to less than half, where the loss loses a good part of what it had
    gained, or (where no loss is given) where a run suddenly moves many times as far; it never
    passes half of that place again. It grows by less and less where the loss is below 0.15 of the
    first one, and not where gradients have gone to zero: a run that fits its examples drifts too,
    and no rate makes it better. Inside :func:`nowcast.periodic` the window begins anew at a jump.

    A forecaster's mean says how far the rate is from its best, and the multiplier goes this way, by
    a factor of 4 at most; half of it where the deviation is a factor of 2, and less where it is
    larger. The increments of a
    window are divided by the multipliers that they were made with, so that they are like those of a
    run at a constant multiplier, which the forecaster was fitted to.

    Raises:
        UserError: An option is out of range; a forecaster of weights, or one without ``steps``;
            ``update`` called without ``params``.

    Examples:
        >>> import jax.numpy as jnp, nowcast, optax
        >>> tx = nowcast.auto_rate(optax.sgd(1e-3), every=1)
        >>> params = {"kernel": jnp.zeros((2, 2))}
        >>> state = tx.init(params)
        >>> for _ in range(8):  # always the same way: from the fifth look on the rate doubles
        ...     updates, state = tx.update({"kernel": jnp.ones((2, 2))}, state, params)
        ...     params = optax.apply_updates(params, updates)
        >>> round(state.multiplier.item())
        16
    """
    check_optimizer(inner)
    remembers = memory(inner)
    every = (remembers or USUAL) if every is None else whole("every", every, "optimizer steps")
    if remembers and every < remembers:
        warnings.warn(
            f"every={every} is below the optimizer's memory of {remembers} steps: momentum alone"
            f" then looks like drift; give every={remembers} or more, or leave it out",
            stacklevel=2,
        )
    check_rule(target, stop_after, scalars)
    rule = by_drift(target) if forecaster is None else by_forecast(forecaster, steps, every)
    if forecaster is None and steps is not None:
        raise UserError(
            f"steps={steps} is for a forecaster; give forecaster=… too, or leave it out"
        )
    names, inner = axis_names(axis_name), optax.with_extra_args_support(inner)

    def init(params: PyTree) -> RateState:
        check_weights(params)
        return start(params, own_buffers(inner.init(params), params), scalars)

    def update(
        grads: PyTree, state: RateState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, RateState]:
        if params is None:
            raise UserError(
                "nowcast.auto_rate needs the parameters: call update(grads, state, params)"
            )
        updates, inside = inner.update(grads, state.inner, params, **extra)
        multiplier = state.multiplier
        updates = jax.tree.map(
            lambda u: (multiplier * u.astype(jnp.float32)).astype(u.dtype), updates
        )
        state = state._replace(inner=(), step=state.step + 1, total=state.total + 1)
        with split_over(names):
            loss = _loss_of(extra)

            def due(state: RateState, params: PyTree, updates: PyTree, grads: PyTree) -> RateState:
                now = optax.apply_updates(params, updates)
                value = loss(now) if loss else None
                return look(
                    state,
                    now,
                    _size(state, grads, now),
                    value,
                    rule=rule,
                    stop_after=stop_after,
                )

            state = branch(
                state.step >= every, due, lambda state, *_: state, state, params, updates, grads
            )
        return updates, state._replace(inner=inside)

    return optax.GradientTransformationExtraArgs(init, update)


def check_rule(target: float, stop_after: int | None, scalars: int) -> None:
    """Refuse options that are out of range."""
    rule = "must be a drift, above -1 and below 1, such as 0.02"
    if not -1 < real("target", target, rule) < 1:
        raise UserError(f"target={target} {rule}")
    if stop_after is not None:
        whole("stop_after", stop_after, "optimizer steps")
    whole("scalars", scalars, "weights")


Rule = Callable[[Float[Array, "D D"], RateState], Float[Array, ""]]
"""By how much the multiplier's logarithm changes at a look, from the inner products of the window's
increments and the state before the look; its ``past`` is the window's.
"""


def by_drift(target: float) -> Rule:
    """The rule of one line: the drift, beside a target, at most :data:`MOST`."""
    return lambda products, state: jnp.clip(mean_cosine(products) - target, -MOST, MOST)


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


def start(params: PyTree, inner: optax.OptState, scalars: int) -> RateState:
    """The state of a run that nobody has looked at, with so many of its weights in the sample."""
    params = jax.tree.map(as_array, params)
    rows = [jnp.zeros((WINDOW, count), jnp.float32) for count in sample.sizes(params, scalars)]
    return RateState(
        inner=inner,
        step=jnp.zeros([], jnp.int32),
        total=jnp.zeros([], jnp.int32),
        filled=jnp.zeros([], jnp.int32),
        window=jax.tree.unflatten(jax.tree.structure(params), rows),
        log_multiplier=jnp.zeros([], jnp.float32),
        past=jnp.zeros(MOVED, jnp.float32),
        ceiling=jnp.full([], jnp.inf, jnp.float32),
        drift=jnp.full([], jnp.nan, jnp.float32),
        gradient=jnp.zeros(2, jnp.float32),
        loss=jnp.full(4, jnp.nan, jnp.float32),
    )


def _loss_of(extra: dict[str, Any]) -> Callable[[PyTree], Any] | None:
    """The loss as a function of the parameters, if one was given."""
    value = extra.get("value")
    return extra.get("value_fn") if value is None else lambda params: value


def forgets(state: Any, jumped: Any) -> Any:
    """Empty the window of a :class:`RateState` after a jump; return any other state unchanged."""
    if not isinstance(state, RateState):
        return state
    return state._replace(
        filled=jnp.where(jumped, 0, state.filled), step=jnp.where(jumped, 0, state.step)
    )


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
    lost = full & (_leaps(products) if value is None else _runs_away(losses, state.loss[3]))
    alive = gradient[0] >= ALIVE * gradient[1]
    change = jnp.where(full, rule(products, state._replace(past=past)), 0)
    change = jnp.where(change > 0, change * jnp.where(alive, _left(losses), 0), change)
    change = jnp.where(jnp.isfinite(change), change, 0)
    if stop_after is not None:
        change = jnp.where(state.total <= stop_after, change, 0)
    ceiling = jnp.where(
        lost, jnp.minimum(state.ceiling, state.log_multiplier - MOST), state.ceiling
    )
    log_multiplier = jnp.where(lost, state.log_multiplier - 2 * MOST, state.log_multiplier + change)
    losses = jnp.where(
        lost, losses.at[2].set(losses[1]), losses
    )  # from here on it is judged by where it is
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


def _size(state: RateState, grads: PyTree, params: PyTree) -> Float[Array, ""]:
    """The gradients' size, or 1 (they count as alive) where they are not like the parameters."""
    if not _alike(grads, params):
        return jnp.ones([], jnp.float32)

    def squares(rows: Float[Array, "W N"], grad: Array, leaf: Array) -> Float[Array, ""]:
        return total(jnp.sum(sample.take(grad, rows.shape[1]) ** 2), leaf, "auto_rate")

    return jnp.sqrt(
        sum(
            jax.tree.leaves(jax.tree.map(squares, state.window, grads, params)), start=jnp.zeros([])
        )
    )


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


def _runs_away(losses: Float[Array, "4"], noise: Float[Array, ""]) -> Array:
    """Whether a loss has lost a good part of its gain, and more than it differed from one
    look to the next.
    """
    first, mean, lowest, _ = losses
    return ~(mean - lowest <= LOST * (first - lowest) + 2 * noise)


def _leaps(products: Float[Array, "D D"]) -> Array:
    """Whether the last increment is many times as long as those before it, or not finite."""
    lengths = jnp.sqrt(jnp.diagonal(products))
    return ~(lengths[-1] <= LONGER * jnp.max(lengths[:-1]))
