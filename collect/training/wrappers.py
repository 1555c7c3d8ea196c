"""Wrap an optimizer: an outer step after several inner ones, and an average of the weights."""

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

    def init(params: PyTree) -> AverageState:
        return AverageState(
            inner.init(params), jax.tree.map(jnp.zeros_like, params), jnp.zeros([], jnp.int32)
        )

    def update(
        updates: PyTree, state: AverageState, params: PyTree, **extra: Any
    ) -> tuple[PyTree, AverageState]:
        updates, inside = inner.update(updates, state.inner, params, **extra)
        mean = jax.tree.map(
            lambda m, p, u: decay * m + (1 - decay) * (p + u).astype(p.dtype),
            state.mean,
            params,
            updates,
        )
        return updates, AverageState(inside, mean, state.steps + 1)

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
