"""What :func:`nowcast.auto_rate` remembers of a run: its clock, its window, its multiplier."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from nowcast import sample
from nowcast.arrays import as_array
from nowcast.population import axes
from nowcast.rate_forecaster import MOVED, WINDOW
from nowcast.types import PyTree


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
    """What the multiplier's logarithm may not pass: half of where a run ran away, and from there on
    more at each look.
    """
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


RATE_POPULATION = axes(RateState, shared=("step", "total", "filled"))
"""``in_axes`` and ``out_axes`` of the state under ``jax.vmap``: members share the clock, and so no
step but a look pays for one.
"""


def begin(params: PyTree, inner: optax.OptState, scalars: int, multiplier: float) -> RateState:
    """The state of a run before its first look.

    Args:
        params: The parameters.
        inner: The state of the optimizer inside.
        scalars: How many weights the sample holds.
        multiplier: What updates are multiplied with until the window is full.
    """
    params, first = jax.tree.map(as_array, params), jnp.log(jnp.float32(multiplier))
    rows = [jnp.zeros((WINDOW, count), jnp.float32) for count in sample.sizes(params, scalars)]
    return RateState(
        inner=inner,
        step=jnp.zeros([], jnp.int32),
        total=jnp.zeros([], jnp.int32),
        filled=jnp.zeros([], jnp.int32),
        window=jax.tree.unflatten(jax.tree.structure(params), rows),
        log_multiplier=first,
        past=jnp.full(MOVED, first),
        ceiling=jnp.full([], jnp.inf, jnp.float32),
        drift=jnp.full([], jnp.nan, jnp.float32),
        gradient=jnp.zeros(2, jnp.float32),
        loss=jnp.full(4, jnp.nan, jnp.float32),
    )


def forgets(state: Any, jumped: Any) -> Any:
    """Empty the window of a :class:`RateState` after a jump; return any other state unchanged."""
    if not isinstance(state, RateState):
        return state
    return state._replace(
        filled=jnp.where(jumped, 0, state.filled), step=jnp.where(jumped, 0, state.step)
    )
