"""``nowcast.periodic``: an optax optimizer that also jumps.

As a gradient transformation there is no epoch, only steps, and the new weights are seen before they are
applied: with ``p`` the parameters and ``u`` the inner optimizer's updates, the snapshot is ``q = p + u``, and a
jump to ``q̂`` returns the updates ``q̂ − p``. When it jumps, and what then is checked: :mod:`nowcast.jumps`.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import jax
import optax

from nowcast.arrays import own_buffers
from nowcast.auto_rate import forgets
from nowcast.checks import check_gradients, check_unchanged, check_weights
from nowcast.forecasters.base import Forecaster
from nowcast.guard import Guard
from nowcast.jumps import Jumps
from nowcast.moments import MOMENTS, check_moments, renewed
from nowcast.state import NowcastState
from nowcast.types import PyTree, UserError


def periodic(
    inner: optax.GradientTransformation,
    forecaster: Forecaster,
    *,
    every: int,
    labels: PyTree | None = None,
    operations: Collection[str] | None = None,
    horizon: int | Callable[[Any], Any] | None = None,
    damping: float = 1.0,
    start_after: int = 0,
    stop_after: int | None = None,
    history_dtype: Any = None,
    moments: str = "keep",
    max_relative_jump: float | None = None,
    min_drift: float | None = 0.2,
    guard: Guard | None = None,
    axis_name: str | Collection[str] | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Wrap an optimizer so that the run jumps to its forecast weights after every full window.

    Args:
        inner: Any optax optimizer.
        forecaster: What to forecast with, from :func:`nowcast.load`.
        every: Optimizer steps between two snapshots; the steps of an epoch, to do as the paper does.
            With a window of 5 a jump follows every ``5 * every`` steps.
        labels: The operation of every leaf, from :func:`nowcast.label_ops`. Guessed from names and ranks
            when left out.
        operations: Which operations jump, such as ``("conv", "fc")``; the others train on as they would, and need no history.
            All that the forecaster serves when left out.
        horizon: Snapshots past the last one that a jump aims at: a number, or a function from the number of the jump (0, 1, …) to
            one, such as :func:`nowcast.decaying_horizon`. The forecaster's own when left out.
        damping: Fraction of each jump that is taken: 0.5 goes half the way, which costs gain where jumps help and harm where
            they hurt.
        start_after: Steps before the first window begins: the time in which weights move as no forecaster expects. Counts from ``init``,
            and is kept in the state.
        stop_after: No jump after this step of those since ``init``, such as where a learning rate has decayed.
        history_dtype: Of what weights moved within the window: ``"bfloat16"`` makes it nearly half as large. The parameters'
            own when left out.
        moments: What becomes of the optimizer's moments at a jump: ``"keep"``, ``"reset"`` (with their count; schedules
            go on), or ``"reset_first"`` (the first moments only). ``optax.contrib.schedule_free`` needs ``"reset"``: it keeps weights of
            its own, which would pull the run back.
        max_relative_jump: A leaf's jump is scaled down to this share of the leaf's norm, where it is longer. A leaf of zeros then
            never jumps.
        min_drift: No jump where the run goes to and fro: where the increments of the window that are two or more snapshots apart
            have a mean cosine below this, over all weights that jump (:func:`nowcast.drift.drift`). At a tuned learning rate
            most of a run is so, and a jump carries noise on; 0.2 has kept still there, and jumped where rates are low.
            Needs no loss. Counts as refused, but not towards the guard's ``give_up``. None: jump always, as the paper does.
        guard: Judge each jump by its loss, see :class:`nowcast.Guard`: ``update`` then needs ``value_fn=``.
        axis_name: Inside ``jax.shard_map`` alone: the axis of the mesh, or the axes, over which leaves are split, so that sums are over
            whole leaves; ``()``: each device holds whole ones. Under plain ``jit`` there is nothing to say.

    Returns:
        A ``GradientTransformationExtraArgs``. It must be the outermost one (only ``MultiSteps`` or ``masked``
        may sit outside it), because it needs the updates that are really applied. ``update`` needs ``params``. Its state
        (:class:`nowcast.NowcastState`) counts the jumps accepted and refused; a forecast that is not finite is always refused.

    Raises:
        UserError: An option is out of range; a state that was made with another ``start_after``, or that has a snapshot past ``stop_after``
            (outside ``jit``: :meth:`nowcast.Jumps.check_resumed` says so before it); labels that do not match the parameters; leaves that are not floating point;
            an operation that the forecaster does not serve; ``update`` called without ``params``, without the guard's
            ``value_fn``, or with parameters of another structure than ``init``.

    Through ``optax.apply_updates`` a jump is exact to rounding, since ``p + (q − p)`` is not ``q`` in floating point;
    :func:`nowcast.forecast` returns the forecast itself, and :class:`nowcast.Jumps` sets it. Weights that did not move within the window do not
    jump. Under ``jax.vmap`` use :data:`nowcast.POPULATION`, or every step pays for a jump.

    Examples:
        >>> import jax.numpy as jnp, nowcast, optax
        >>> tx = nowcast.periodic(optax.sgd(0.1), nowcast.load("linear"), every=1)
        >>> params = {"kernel": jnp.zeros((2, 2))}
        >>> state = tx.init(params)
        >>> for _ in range(5):  # four steps of −0.1, then the fifth and the jump 5 steps ahead
        ...     updates, state = tx.update({"kernel": jnp.ones((2, 2))}, state, params)
        ...     params = optax.apply_updates(params, updates)
        >>> round(params["kernel"][0, 0].item(), 4)
        -1.0
    """
    if moments not in MOMENTS:
        raise UserError(f"moments={moments!r} must be one of {', '.join(MOMENTS)}")
    if not all(callable(getattr(inner, name, None)) for name in ("init", "update")):
        raise UserError(f"inner={inner!r} is no optimizer: pass an optax transformation, such as optax.adam(1e-3)")
    inner = optax.with_extra_args_support(inner)
    jumps = Jumps(
        forecaster=forecaster, every=every, labels=labels, operations=operations, horizon=horizon, damping=damping,
        start_after=start_after, stop_after=stop_after, history_dtype=history_dtype,
        max_relative_jump=max_relative_jump, min_drift=min_drift, guard=guard, axis_name=axis_name,
    )  # fmt: skip

    def init(params: PyTree) -> NowcastState:
        check_weights(params)
        state = jumps.start(params, own_buffers(inner.init(params), params))
        if moments != "keep" and jax.tree.leaves(params):
            check_moments(inner, moments, state.inner)
        return state

    def update(
        updates: PyTree, state: NowcastState, params: PyTree | None = None, **extra_args: Any
    ) -> tuple[PyTree, NowcastState]:
        if params is None:
            raise UserError("nowcast.periodic needs the parameters: call update(grads, state, params)")
        check_unchanged(params, state)
        check_gradients(inner, updates, state, params, **extra_args)
        updates, carry = inner.update(updates, state.inner, params, **extra_args)
        updates, after = jumps.advance(
            updates,
            carry,
            state,
            extra_args.get("value_fn"),
            base=params,
            renew=None if moments == "keep" else partial(renewed, inner, moments),
        )
        return updates, after._replace(inner=forgets(after.inner, after.clock.windows != state.clock.windows))

    return optax.GradientTransformationExtraArgs(init, update)
