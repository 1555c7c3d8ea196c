"""Continuous methods: wrap an optimizer so that every step, or every few, moves the weights a bit.

In all formulas ``u`` is what the inner optimizer adds to the weights in a step. Steps count from 0,
and a run has ``steps`` of them. What counts steps lies in a tuple of its own, so that a jump that
resets moments (:func:`nowcast.periodic`) does not reset the count.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from nowcast.types import PyTree


class Push(NamedTuple):
    """Where a run of :func:`ema_nesterov` is, and how far its weights are pushed."""

    steps: Int[Array, ""]
    """Steps taken."""
    peak: Float[Array, ""]
    """The highest learning rate so far."""
    beta: Float[Array, ""]
    """The factor of the momentum by which the weights are ahead now."""


class EmaNesterovState(NamedTuple):
    """State of :func:`ema_nesterov`."""

    inner: optax.OptState
    momentum: PyTree
    push: Push


def ema_nesterov(
    inner: optax.GradientTransformation,
    *,
    steps: int,
    gamma: float = 0.99,
    beta: float = 0.6,
    start: float = 0.16,
    stop: float = 0.76,
) -> optax.GradientTransformationExtraArgs:
    """Take each gradient a little ahead, along an average of the past steps: EMA-Nesterov.

    With momentum ``m`` (zero at first) a step is ``y = x + β m``; ``x' = y + u``, with the gradient
    at ``y``; ``m' = γ m + (1 − γ)(x' − x)``. The parameters that the loop holds are ``y``, and
    :func:`behind` gives ``x``, by which a run is judged. The momentum is as large as the weights.

    Args:
        inner: Any optimizer whose ``update`` takes ``learning_rate=``, or ignores it.
        steps: Length of the run.
        gamma: γ, the share of the old momentum that a step keeps.
        beta: β at the highest learning rate. It is multiplied by the rate over the highest rate.
        start: Share of the run before which β is 0.
        stop: Share of the run from which on β is 0.

    Returns:
        A transformation whose ``update`` needs ``params`` and ``learning_rate=``.

    Source: arXiv 2605.25395; the numbers are those of modded-nanogpt, track 3, pull request 308,
    with Muon: steps 500 to 2,400 of 3,150. Three things differ. β of a step comes from the rate of
    the step before, because the push is applied one step ahead. The highest rate is the highest so
    far. While the rate still climbs β is 0: the record has no warm-up beyond its ``start``.

    Examples:
        >>> import jax.numpy as jnp, optax
        >>> from collect.training.continuous import behind, ema_nesterov
        >>> tx = ema_nesterov(optax.sgd(1.0), steps=4, gamma=0.5, beta=1.0, start=0, stop=1)
        >>> y = jnp.zeros(1)
        >>> state = tx.init(y)
        >>> updates, state = tx.update(-jnp.ones(1), state, y, learning_rate=1.0)
        >>> y = optax.apply_updates(y, updates)  # a step of 1, and half of it ahead
        >>> y.item(), behind(state, y).item()
        (1.5, 1.0)
    """
    inner = optax.with_extra_args_support(inner)
    first, last = round(start * steps), round(stop * steps)

    def init(params: PyTree) -> EmaNesterovState:
        zero = jnp.zeros([], jnp.float32)
        push = Push(jnp.zeros([], jnp.int32), zero, zero)
        return EmaNesterovState(inner.init(params), jax.tree.map(jnp.zeros_like, params), push)

    def update(
        updates: PyTree,
        state: EmaNesterovState,
        params: PyTree,
        *,
        learning_rate: Any,
        **extra: Any,
    ) -> tuple[PyTree, EmaNesterovState]:
        updates, inside = inner.update(
            updates, state.inner, params, learning_rate=learning_rate, **extra
        )
        # x' − x = u + β m: the step from the pushed weights, and the push that led there
        momentum = jax.tree.map(
            lambda m, u: gamma * m + (1 - gamma) * (u.astype(m.dtype) + _times(state.push.beta, m)),
            state.momentum,
            updates,
        )
        rate = jnp.asarray(learning_rate, jnp.float32)
        then, peak = state.push.steps + 1, jnp.maximum(rate, state.push.peak)
        climbs = (state.push.steps > 0) & (rate > state.push.peak)
        pushes = (then >= first) & (then < last) & ~climbs
        ahead = jnp.where(pushes, beta * rate / peak, jnp.zeros([], jnp.float32))
        updates = jax.tree.map(
            lambda u, m: jnp.where(pushes, u + _times(ahead, m).astype(u.dtype), u),
            updates,
            momentum,
        )
        return updates, EmaNesterovState(inside, momentum, Push(then, peak, ahead))

    return optax.GradientTransformationExtraArgs(init, update)


def behind(state: EmaNesterovState, params: PyTree) -> PyTree:
    """The weights ``x`` of :func:`ema_nesterov`, from the pushed weights that the loop holds."""
    beta = state.push.beta
    return jax.tree.map(
        lambda p, m: jnp.where(beta > 0, p - _times(beta, m), p), params, state.momentum
    )


class GpaState(NamedTuple):
    """State of :func:`gpa`."""

    inner: optax.OptState
    offset: PyTree
    """``z − x``."""


def gpa(
    inner: optax.GradientTransformation, *, mu_y: float = 0.7, mu_x: float = 0.9967
) -> optax.GradientTransformationExtraArgs:
    """Generalized primal averaging: gradients between the fast weights and their average.

    A step is ``y = μ_y x + (1 − μ_y) z``; ``z' = z + u``, with the gradient at ``y``;
    ``x' = μ_x x + (1 − μ_x) z'``. The parameters that the loop holds are ``y``, and
    :func:`averaged_primal` gives ``x``, by which a run is judged.

    The state holds ``d = z − x``, as large as the weights, and no weights of its own. Then
    ``x' − x = (1 − μ_x)(d + u)``, ``d' = μ_x (d + u)``, and ``y = x + (1 − μ_y) d``. A jump moves
    ``x``, ``y`` and ``z`` together. ``μ_x = 0`` is the inner optimizer; with SGD ``μ_y = 1`` is
    heavy-ball momentum μ_x, and ``μ_y = μ_x`` is Nesterov's, at ``1 − μ_x`` times the rate.

    Args:
        inner: Any optimizer. It gets ``z`` as its parameters, so that weight decay acts on ``z``.
        mu_y: μ_y, above 0, at most 1: the share of the average where gradients are taken.
        mu_x: μ_x, 0 or more, below 1: the share of the old average that a step keeps.

    Returns:
        A transformation whose ``update`` needs ``params``.

    Source: Defazio et al., arXiv 2512.17131, and facebookresearch/optimizers, ``gpa/README.md``,
    whose defaults these are (μ_x is that of 32 local steps of DiLoCo).

    Examples:
        >>> import jax.numpy as jnp, optax
        >>> from collect.training.continuous import averaged_primal, gpa
        >>> tx = gpa(optax.sgd(1.0), mu_y=0.5, mu_x=0.5)
        >>> y = jnp.zeros(1)
        >>> state = tx.init(y)
        >>> updates, state = tx.update(-jnp.ones(1), state, y)  # z = 1, x = 1/2, y = 3/4
        >>> y = optax.apply_updates(y, updates)
        >>> y.item(), averaged_primal(state, y, mu_y=0.5).item()
        (0.75, 0.5)
    """
    inner = optax.with_extra_args_support(inner)

    def init(params: PyTree) -> GpaState:
        return GpaState(inner.init(params), jax.tree.map(jnp.zeros_like, params))

    def update(
        updates: PyTree, state: GpaState, params: PyTree, **extra: Any
    ) -> tuple[PyTree, GpaState]:
        fast = jax.tree.map(lambda y, d: y + mu_y * d, params, state.offset)
        updates, inside = inner.update(updates, state.inner, fast, **extra)
        reached = jax.tree.map(lambda d, u: d + u.astype(d.dtype), state.offset, updates)
        offset = jax.tree.map(lambda r: mu_x * r, reached)
        # y' − y = (x' − x) + (1 − μ_y)(d' − d)
        updates = jax.tree.map(
            lambda u, r, new, old: ((1 - mu_x) * r + (1 - mu_y) * (new - old)).astype(u.dtype),
            updates,
            reached,
            offset,
            state.offset,
        )
        return updates, GpaState(inside, offset)

    return optax.GradientTransformationExtraArgs(init, update)


def averaged_primal(state: GpaState, params: PyTree, mu_y: float) -> PyTree:
    """The average ``x`` of :func:`gpa`, from the weights ``y`` that the loop holds."""
    return jax.tree.map(lambda y, d: y - (1 - mu_y) * d, params, state.offset)


class Count(NamedTuple):
    """How far a run of :func:`airbench_lookahead` is."""

    steps: Int[Array, ""]
    """Steps taken."""


class LookaheadState(NamedTuple):
    """State of :func:`airbench_lookahead`.

    ``slow`` are the weights to judge a run by: those after its last synchronisation.
    """

    inner: optax.OptState
    slow: PyTree
    clock: Count


def airbench_lookahead(
    inner: optax.GradientTransformation,
    *,
    steps: int,
    every: int = 5,
    decay: float = 0.95,
    power: float = 3.0,
) -> optax.GradientTransformationExtraArgs:
    """Lookahead whose slow weights keep more of themselves as the run goes on.

    After every ``every`` steps, ``t`` in all, slow weights ``s`` and fast weights ``w`` become
    ``ρ s + (1 − ρ) w`` with ``ρ = decay^every · (t / steps)^power``. ``decay = 0`` is the inner
    optimizer. The slow weights take as much memory as the weights.

    Args:
        inner: Any optimizer.
        steps: Length of the run.
        every: Steps between two synchronisations.
        decay: The decay of the slow weights a step, at the run's end.
        power: Power of the share of the run that has passed.

    Returns:
        A transformation whose ``update`` needs ``params``.

    Source: KellerJordan/cifar10-zoo, ``airbench/airbench94.py``, with its numbers. Some versions
    there begin after three of ten epochs, where ρ is 0.02; this one begins at once. The source
    averages BatchNorm's statistics too, at a momentum of 0.6. Here they are left alone: training
    does not read them, and a comparison estimates them anew for the weights that it measures
    (:meth:`collect.tasks.classification.Classification.evaluate`).

    Examples:
        >>> import jax.numpy as jnp, optax
        >>> from collect.training.continuous import airbench_lookahead
        >>> tx = airbench_lookahead(optax.sgd(1.0), steps=2, every=1, decay=1.0, power=1.0)
        >>> w = jnp.zeros(1)
        >>> state = tx.init(w)
        >>> updates, state = tx.update(-jnp.ones(1), state, w)  # half of the way back
        >>> optax.apply_updates(w, updates).item()
        0.5
    """
    inner = optax.with_extra_args_support(inner)

    def init(params: PyTree) -> LookaheadState:
        count = Count(jnp.zeros([], jnp.int32))
        return LookaheadState(inner.init(params), jax.tree.map(jnp.copy, params), count)

    def update(
        updates: PyTree, state: LookaheadState, params: PyTree, **extra: Any
    ) -> tuple[PyTree, LookaheadState]:
        updates, inside = inner.update(updates, state.inner, params, **extra)
        done = state.clock.steps + 1
        kept = decay**every * (done.astype(jnp.float32) / steps) ** power

        def synchronise(updates: PyTree, slow: PyTree) -> tuple[PyTree, PyTree]:
            updates = jax.tree.map(
                lambda u, s, p: u + _times(kept, s - (p + u).astype(p.dtype)).astype(u.dtype),
                updates,
                slow,
                params,
            )
            return updates, optax.apply_updates(params, updates)

        updates, slow = jax.lax.cond(
            done % every == 0, synchronise, lambda *same: same, updates, state.slow
        )
        return updates, LookaheadState(inside, slow, Count(done))

    return optax.GradientTransformationExtraArgs(init, update)


def _times(factor: Float[Array, ""], leaf: Array) -> Array:
    """The product, in the leaf's own dtype."""
    return factor.astype(leaf.dtype) * leaf
