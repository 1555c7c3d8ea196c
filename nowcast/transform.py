"""``nowcast.periodic``: an optax optimizer that also jumps.

As a gradient transformation there is no epoch, only steps, and the new weights are seen before they
are applied: with ``p`` the parameters and ``u`` the inner optimizer's updates, the snapshot is ``q
= p + u``, and a jump to ``q̂`` returns the updates ``q̂ − p``. When it jumps, and what then is
checked: :mod:`nowcast.jumps`.
"""

from functools import partial
from typing import Any, Unpack

import jax
import optax

from nowcast.arrays import own_buffers
from nowcast.checks import (
    check_known,
    check_optimizer,
    check_weights,
)
from nowcast.forecasters.base import Forecaster
from nowcast.jumps import JumpOptions, Jumps
from nowcast.moments import MOMENTS, check_resettable, renewed
from nowcast.rate_state import forgets
from nowcast.state import NowcastState
from nowcast.state_checks import check_gradients, check_unchanged
from nowcast.types import PyTree, UserError


def periodic(
    inner: optax.GradientTransformation,
    forecaster: Forecaster,
    *,
    every: int | None = None,
    moments: str = "keep",
    **options: Unpack[JumpOptions],
) -> optax.GradientTransformationExtraArgs:
    """Wrap an optimizer so that the run jumps to its forecast weights after every full window.

    Args:
        inner: Any optax optimizer.
        forecaster: What to forecast with, from :func:`nowcast.load`.
        every: Optimizer steps between two snapshots. None: ``at`` names the steps of jumps.
        moments: Whether a jump keeps the optimizer's moments (``"keep"``) or resets them with their
            count (``"reset"``; schedules go on). ``optax.contrib.schedule_free`` needs ``"reset"``:
            it keeps weights of its own, which would pull the run back.
        options: Those of :class:`nowcast.Jumps`, which says what each does and its default:
            ``at``, ``aim``, ``labels``, ``operations``, ``skip``, ``horizon``, ``damping``,
            ``start_after``, ``stop_after``, ``history_dtype``, ``min_drift``, ``guard``,
            ``axis_name``. With a guard ``update`` needs ``value_fn=``.

    Returns:
        A ``GradientTransformationExtraArgs``. It must be the outermost one (only ``MultiSteps`` or
        ``masked`` may sit outside it), because it needs the updates that are really applied.
        ``update`` needs ``params``. Its state (:class:`nowcast.NowcastState`) counts the jumps
        accepted and refused; a forecast that is not finite is always refused.

    Raises:
        UserError: An option is out of range, or there is none of that name; a state that was made
            with another ``start_after``, or that has a snapshot past ``stop_after`` (outside
            ``jit``: :meth:`nowcast.Jumps.check_resumed` says so before it); labels that do not
            match the parameters; leaves that are not floating point; an operation that the
            forecaster does not serve; ``update`` called without ``params``, without the guard's
            ``value_fn``, or with parameters of another structure than ``init``.

    Through ``optax.apply_updates`` a jump is exact to rounding, since ``p + (q − p)`` is not ``q``
    in floating point; :func:`nowcast.forecast` returns the forecast itself, and
    :class:`nowcast.Jumps` sets it. Weights that did not move within the window do not jump. Under
    ``jax.vmap`` use :data:`nowcast.POPULATION`, or every step pays for a jump.

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

        Jumps after steps 10 and 20, each to where the run would be at twice the step:

        >>> tx = nowcast.periodic(optax.sgd(0.1), nowcast.load("introspection"), at=[10, 20])
    """
    if moments not in MOMENTS:
        raise UserError(f"moments={moments!r} must be one of {', '.join(MOMENTS)}")
    check_optimizer(inner)
    inner = optax.with_extra_args_support(inner)
    check_known(options, JumpOptions.__annotations__, "nowcast.periodic")
    jumps = Jumps(forecaster=forecaster, every=every, **options)

    def init(params: PyTree) -> NowcastState:
        check_weights(params)
        state = jumps.start(params, own_buffers(inner.init(params), params))
        if moments != "keep" and jax.tree.leaves(params):
            check_resettable(inner, state.inner)
        return state

    def update(
        updates: PyTree, state: NowcastState, params: PyTree | None = None, **extra_args: Any
    ) -> tuple[PyTree, NowcastState]:
        if params is None:
            raise UserError(
                "nowcast.periodic needs the parameters: call update(grads, state, params)"
            )
        check_unchanged(params, state)
        check_gradients(inner, updates, state, params, **extra_args)
        updates, carry = inner.update(updates, state.inner, params, **extra_args)
        updates, after = jumps.advance(
            updates,
            carry,
            state,
            extra_args.get("value_fn"),
            base=params,
            renew=None if moments == "keep" else partial(renewed, inner),
        )
        return updates, after._replace(
            inner=forgets(after.inner, after.clock.windows != state.clock.windows)
        )

    return optax.GradientTransformationExtraArgs(init, update)
