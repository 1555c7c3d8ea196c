"""Wrap an optimizer: an outer step after several inner ones, and an average of the weights."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from nowcast.types import PyTree


class OuterState(NamedTuple):
    """State of :func:`outer`.

    ``slow`` are the weights to judge a run by: those after its last outer step.
    """

    inner: optax.OptState
    slow: PyTree
    momentum: optax.OptState
    since: Int[Array, ""]
    """Inner steps since the last outer step."""


def outer(
    inner: optax.GradientTransformationExtraArgs,
    *,
    every: int,
    learning_rate: float,
    momentum: float,
) -> optax.GradientTransformationExtraArgs:
    """Nesterov's momentum along what ``every`` inner steps moved the weights: SNOO.

    SNOO is Algorithm 1 of Kallusky et al. (2025). Without momentum it is Lookahead (Zhang et al.,
    NeurIPS 2019): slow weights that go a share of the way.
    """
    step = optax.sgd(learning_rate, momentum=momentum or None, nesterov=True)

    def init(params: PyTree) -> OuterState:
        slow = jax.tree.map(jnp.copy, params)
        return OuterState(inner.init(params), slow, step.init(params), jnp.zeros([], jnp.int32))

    def update(
        updates: PyTree, state: OuterState, params: PyTree, **extra: Any
    ) -> tuple[PyTree, OuterState]:
        updates, inside = inner.update(updates, state.inner, params, **extra)

        def synchronise(
            updates: PyTree, slow: PyTree, momentum: PyTree
        ) -> tuple[PyTree, PyTree, PyTree]:
            moved = jax.tree.map(lambda s, p, u: s - (p + u), slow, params, updates)
            along, momentum = step.update(moved, momentum, slow)
            slow = optax.apply_updates(slow, along)
            return jax.tree.map(jnp.subtract, slow, params), slow, momentum

        since = state.since + 1
        due = since >= every
        updates, slow, kept = jax.lax.cond(
            due, synchronise, lambda *same: same, updates, state.slow, state.momentum
        )
        return updates, OuterState(inside, slow, kept, jnp.where(due, 0, since))

    return optax.GradientTransformationExtraArgs(init, update)


class AverageState(NamedTuple):
    """State of :func:`averaged`."""

    inner: optax.OptState
    mean: PyTree
    steps: Int[Array, ""]


def averaged(
    inner: optax.GradientTransformationExtraArgs, decay: float
) -> optax.GradientTransformationExtraArgs:
    """An exponential moving average of the weights (Polyak and Juditsky, 1992).

    It does not change the run.
    """

    return _averaging(
        inner, jnp.zeros_like, lambda _: lambda mean, leaf: decay * mean + (1 - decay) * leaf
    )


def _averaging(
    inner: optax.GradientTransformationExtraArgs,
    begin: Callable[[Array], Array],
    rule: Callable[[Int[Array, ""]], Callable[[Array, Array], Array]],
) -> optax.GradientTransformationExtraArgs:
    """An average of the weights beside a run, which it does not change.

    Args:
        inner: The optimizer.
        begin: The average of a leaf before the first step.
        rule: From the steps taken, the average's next value from its last one and the leaf.
    """

    def init(params: PyTree) -> AverageState:
        return AverageState(
            inner.init(params), jax.tree.map(begin, params), jnp.zeros([], jnp.int32)
        )

    def update(
        updates: PyTree, state: AverageState, params: PyTree, **extra: Any
    ) -> tuple[PyTree, AverageState]:
        updates, inside = inner.update(updates, state.inner, params, **extra)
        done = state.steps + 1
        mean = jax.tree.map(rule(done), state.mean, optax.apply_updates(params, updates))
        return updates, AverageState(inside, mean, done)

    return optax.GradientTransformationExtraArgs(init, update)


def mean_of(state: AverageState, params: PyTree, decay: float) -> PyTree:
    """The average without the weights that it began from (Kingma and Ba, ICLR 2015, §3).

    Before the first step it is the weights.
    """
    seen = 1 - decay ** jnp.asarray(state.steps, jnp.float32)
    return jax.tree.map(
        lambda m, p: jnp.where(state.steps > 0, m / jnp.where(seen > 0, seen, 1), p),
        state.mean,
        params,
    )


UNBLENDED = ("embedding",)
"""Operations whose leaves :func:`blend_of` returns as they are."""


def tail_averaged(
    inner: optax.GradientTransformationExtraArgs, *, steps: int, power: float, start: float = 0.83
) -> optax.GradientTransformationExtraArgs:
    """An average of the weights over the last part of a decay, for :func:`blend_of`.

    From step ``start · steps`` on a step moves the average by ``1 / τ`` of the way to the weights,
    with ``τ = (steps left) / power``, at least 1. Before that the average is the weights. It does
    not change the run. The average takes as much memory as the weights.

    Args:
        inner: Any optimizer.
        steps: Length of the run.
        power: Power of the schedule's decay (:data:`collect.training.optimizers.POWERS`): near the
            end the rate falls as (steps left)^power.
        start: Share of the run from which on weights are averaged.

    Returns:
        A transformation whose ``update`` needs ``params``, with an :class:`AverageState`.

    Source: "Tail-EMA", modded-nanogpt, track 3, pull request 325: from step 2,400 of a schedule of
    2,900, read out at step 2,730. There τ is 150 throughout, where 170 steps are left and the power
    is 1.2. Here τ falls with the steps that are left, so that the read-out is right at every step.
    At the very end nothing is left, and the average is the weights.
    """
    first = max(1, round(start * steps))

    def rule(done: Int[Array, ""]) -> Callable[[Array, Array], Array]:
        left = jnp.maximum(steps - done, 0).astype(jnp.float32)
        share = power / jnp.maximum(left, power)
        keeps = (done > first) & (share < 1)
        return lambda mean, leaf: jnp.where(
            keeps, mean + share.astype(mean.dtype) * (leaf - mean), leaf
        )

    return _averaging(inner, jnp.copy, rule)


def blend_of(state: AverageState, params: PyTree, weight: float, labels: PyTree) -> PyTree:
    """``(1 − weight) · weights + weight · average``: the read-out of :func:`tail_averaged`.

    Args:
        state: Of :func:`tail_averaged`.
        params: The weights.
        weight: λ; 0: the weights, 1: the average.
        labels: The operation of each leaf. Leaves of :data:`UNBLENDED` stay, as in the source.

    Examples:
        >>> import jax.numpy as jnp, optax
        >>> from collect.training.wrappers import blend_of, tail_averaged
        >>> tx = tail_averaged(optax.sgd(1.0), steps=4, power=1, start=0)
        >>> params = {"kernel": jnp.zeros(1)}
        >>> state = tx.init(params)
        >>> for _ in range(2):  # to 1, where the average begins, then to 2 with 2 steps left
        ...     updates, state = tx.update({"kernel": -jnp.ones(1)}, state, params)
        ...     params = optax.apply_updates(params, updates)
        >>> state.mean["kernel"].item(), blend_of(state, params, 0.5, {"kernel": "fc"})
        (1.5, {'kernel': Array([1.75], dtype=float32)})
    """
    return jax.tree.map(
        lambda p, m, operation: p if operation in UNBLENDED else p + weight * (m - p),
        params,
        state.mean,
        labels,
    )
