"""``nowcast.auto_rate``: an optimizer whose rate follows how straight its run goes.

The drift of a run, the mean cosine between what it moved at different times, tells how far its
learning rate is from its best: far below, the run goes straight on for long; at its best it goes to
and fro. Every ``every`` steps the wrapper looks at the last five looks:

    log multiplier += clip(drift − target, log ½, log 2)      log 4 where the drift is above 0.8
    update         ← multiplier × the optimizer's update

With a forecaster (:class:`nowcast.rate_forecaster.Rate`) a small network takes the place of the
drift; the same safeguards stay.
"""

import warnings
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import optax

from nowcast.arrays import own_buffers
from nowcast.branch import branch
from nowcast.checks import check_optimizer, check_weights
from nowcast.forecasters.base import Forecaster
from nowcast.memory import USUAL, memory
from nowcast.rate_forecaster import Rate
from nowcast.rate_look import gradient_size, look, sampled_gradients
from nowcast.rate_rules import START, by_drift, by_forecast, check_rule
from nowcast.rate_state import RateState, begin
from nowcast.split import axis_names, split_over
from nowcast.state import NowcastState
from nowcast.types import PyTree, UserError, whole


def auto_rate(
    inner: optax.GradientTransformation,
    *,
    every: int | None = None,
    target: float = 0.02,
    start: float = START,
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
        start: The multiplier that a run begins with, above 0 and at most 1. An eighth is a longer
            warm-up for a rate that is right, and keeps one that is too high from doing harm before
            the first look, which comes after ``5 · every`` steps.
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

    The multiplier steps back to a quarter where the loss loses a good part of what it had gained,
    or (where no loss is given) where a run suddenly moves many times as far. After that it may rise
    to half of that place, and by 7 % more at each look. It grows by less and less where the loss is
    below 0.15 of the first one, and not where gradients have gone to zero: a run that fits its
    examples drifts too, and no rate makes it better. Inside :func:`nowcast.periodic` the window
    begins anew at a jump.

    A forecaster's mean says how far the rate is from its best, and the multiplier goes this way, by
    a factor of 4 at most; half of it where the deviation is a factor of 2, and less where it is
    larger. The increments of a window are divided by the multipliers that they were made with, so
    that they are like those of a run at a constant multiplier, which the forecaster was fitted to.

    Raises:
        UserError: An option is out of range; a forecaster of weights, or one without ``steps``;
            ``update`` called without ``params``; ``inner`` is a :func:`nowcast.periodic`.

    Examples:
        >>> import jax.numpy as jnp, nowcast, optax
        >>> tx = nowcast.auto_rate(optax.sgd(1e-3), every=1)
        >>> params = {"kernel": jnp.zeros((2, 2))}
        >>> state = tx.init(params)
        >>> for _ in range(9):  # always the same way: times 4 from the fifth look on
        ...     updates, state = tx.update({"kernel": jnp.ones((2, 2))}, state, params)
        ...     params = optax.apply_updates(params, updates)
        >>> round(state.multiplier.item())  # an eighth at first
        32
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
    check_rule(target, start, stop_after, scalars)
    rule = by_drift(target) if forecaster is None else by_forecast(forecaster, steps, every)
    if forecaster is None and steps is not None:
        raise UserError(
            f"steps={steps} is for a forecaster; give forecaster=… too, or leave it out"
        )
    names, inner = axis_names(axis_name), optax.with_extra_args_support(inner)

    def init(params: PyTree) -> RateState:
        check_weights(params)
        inside = inner.init(params)
        _refuse_jumps(inside)
        return begin(params, own_buffers(inside, params), scalars, start)

    def update(
        grads: PyTree, state: RateState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, RateState]:
        if params is None:
            raise UserError(
                "nowcast.auto_rate needs the parameters: call update(grads, state, params)"
            )
        inside, loss = state.inner, _loss_of(extra)

        def due(state: RateState, params: PyTree, sampled: PyTree | None) -> RateState:
            size, value = gradient_size(sampled, params), loss(params) if loss else None
            return look(state, params, size, value, rule=rule, stop_after=stop_after)

        # At the weights before the step, which are in memory. Of the gradients the branch gets a
        # sample: whole, they would have to be in memory for it, and many never are.
        with split_over(names):
            state = branch(
                state.step >= every,
                due,
                lambda state, *_: state,
                state._replace(inner=()),
                params,
                sampled_gradients(state, grads, params),
            )
        updates, inside = inner.update(grads, inside, params, **extra)
        multiplier = state.multiplier
        updates = jax.tree.map(
            lambda u: (multiplier * u.astype(jnp.float32)).astype(u.dtype), updates
        )
        return updates, state._replace(inner=inside, step=state.step + 1, total=state.total + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def _refuse_jumps(inside: optax.OptState) -> None:
    def jumps(node: Any) -> bool:
        return isinstance(node, NowcastState)

    if any(map(jumps, jax.tree.leaves(inside, is_leaf=jumps))):
        raise UserError(
            "inner jumps: nowcast.auto_rate would multiply its jumps too; put it inside, as in"
            " nowcast.periodic(nowcast.auto_rate(optax.adam(1e-3)), forecaster, every=…)"
        )


def _loss_of(extra: dict[str, Any]) -> Callable[[PyTree], Any] | None:
    """The loss as a function of the parameters, if one was given."""
    value = extra.get("value")
    return extra.get("value_fn") if value is None else lambda params: value
