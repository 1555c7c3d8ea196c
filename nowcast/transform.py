"""``nowcast.periodic``: an optax optimizer that also jumps.

The loop of WNN (Jang et al., ICML 2023, §3) with W = 5 and one snapshot per epoch:

    for epoch in 1, 2, 3, …:
        train one epoch                                  # `every` optimizer steps
        append the weights to the window                 # the snapshot
        if the window holds W snapshots:
            weights ← forecast(window), `horizon` snapshots past its last one
            empty the window                             # no window straddles a jump

As a gradient transformation there is no epoch, only steps, and the new weights are seen before they are
applied: with ``p`` the parameters and ``u`` the inner optimizer's updates, the snapshot is ``q = p + u``, and a
jump to ``q̂`` returns the updates ``q̂ − p``. The inner optimizer's state stays as it is.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from nowcast import history as window_of
from nowcast.forecasters.base import Forecaster, forecast
from nowcast.ops import flat_labels
from nowcast.types import PyTree, UserError, whole


class Clock(NamedTuple):
    """Where a run stands between two jumps; int32 scalars."""

    step: Int[Array, ""]
    """Optimizer steps since the last snapshot, below ``every``."""
    filled: Int[Array, ""]
    """Snapshots in the window, below W: a full window is used and emptied at once."""
    windows: Int[Array, ""]
    """Windows completed so far: jumps taken and refused."""


class NowcastState(NamedTuple):
    """State of :func:`periodic`; its tree, shapes and dtypes are final from ``init``."""

    inner: optax.OptState
    clock: Clock
    history: PyTree
    """Leaves ``(W, *shape)``: the memory cost of nowcasting, W times the parameters."""
    refused: Int[Array, ""]
    """Jumps not taken because the forecast was not finite."""


def periodic(
    inner: optax.GradientTransformation,
    forecaster: Forecaster,
    *,
    every: int,
    labels: PyTree | None = None,
    horizon: int | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Wrap an optimizer so that the run jumps to its forecast weights after every full window.

    Args:
        inner: Any optax optimizer. Its state is left as it is at a jump.
        forecaster: What to forecast with, from :func:`nowcast.load`.
        every: Optimizer steps between two snapshots; the steps of an epoch, to do as the paper does.
            With a window of 5 a jump follows every ``5 * every`` steps.
        labels: The operation of every leaf, from :func:`nowcast.label_ops`. Guessed from names and ranks
            when left out.
        horizon: Snapshots past the last one that a jump aims at. The forecaster's own when left out.

    Returns:
        A ``GradientTransformationExtraArgs``. It must be the outermost one (only ``MultiSteps`` or ``masked``
        may sit outside it), because it needs the updates that are really applied. ``update`` needs ``params``.

    Raises:
        UserError: ``every`` below 1; labels that do not match the parameters; leaves that are not floating point;
            ``update`` called without ``params``.

    Through ``optax.apply_updates`` a jump is exact to rounding, since ``p + (q − p)`` is not ``q`` in floating point;
    :func:`nowcast.forecast` returns the forecast itself. Under ``jax.vmap`` both sides of a ``cond`` are computed, so every
    step then pays for a jump.

    Example:
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
    every = whole("every", every, "optimizer steps")
    inner = optax.with_extra_args_support(inner)
    steps_ahead = forecaster.check_horizon(horizon)

    def init(params: PyTree) -> NowcastState:
        flat_labels(params, labels)
        for path, leaf in jax.tree.flatten_with_path(params)[0]:
            if not jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating):
                raise UserError(
                    f"parameter {jax.tree_util.keystr(path)} is {jnp.asarray(leaf).dtype}: only floating-point "
                    f"weights can be nowcast; wrap with optax.masked to leave it out"
                )
        zero = jnp.zeros([], jnp.int32)
        # Counters are separate arrays: donating one buffer twice is an error.
        clock = Clock(step=zero, filled=jnp.copy(zero), windows=jnp.copy(zero))
        return NowcastState(inner.init(params), clock, window_of.empty(params, forecaster.window), jnp.copy(zero))

    def update(
        updates: PyTree, state: NowcastState, params: PyTree | None = None, **extra_args: Any
    ) -> tuple[PyTree, NowcastState]:
        if params is None:
            raise UserError("nowcast.periodic needs the parameters: call update(grads, state, params)")
        updates, inner_state = inner.update(updates, state.inner, params, **extra_args)
        step = state.clock.step + 1

        def snapshot() -> tuple[PyTree, Clock, PyTree, jax.Array]:
            new = optax.apply_updates(params, updates)
            history = window_of.record(state.history, state.clock.filled, new)
            filled = state.clock.filled + 1

            def jump() -> tuple[PyTree, jax.Array]:
                target = forecast(forecaster, history, labels=labels, horizon=steps_ahead)
                finite = jnp.array(True)
                for leaf in jax.tree.leaves(target):
                    finite &= jnp.all(jnp.isfinite(leaf))
                taken = jax.tree.map(
                    lambda q, p, u: jnp.where(finite, (q - p).astype(u.dtype), u), target, params, updates
                )
                return taken, state.refused + jnp.where(finite, 0, 1)

            full = filled == forecaster.window
            taken, refused = jax.lax.cond(full, jump, lambda: (updates, state.refused))
            clock = Clock(jnp.zeros_like(step), jnp.where(full, 0, filled), state.clock.windows + jnp.where(full, 1, 0))
            return taken, clock, history, refused

        def no_snapshot() -> tuple[PyTree, Clock, PyTree, jax.Array]:
            return updates, state.clock._replace(step=step), state.history, state.refused

        taken, clock, history, refused = jax.lax.cond(step == every, snapshot, no_snapshot)
        return taken, NowcastState(inner_state, clock, history, refused)

    return optax.GradientTransformationExtraArgs(init, update)
