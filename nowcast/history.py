"""The window of snapshots that a run carries: one array ``(W, *shape)`` per leaf, filled from the front."""

import jax
import jax.numpy as jnp

from nowcast.types import PyTree


def empty(params: PyTree, window: int) -> PyTree:
    """Room for ``window`` snapshots of ``params``, in the parameters' own dtypes."""
    return jax.tree.map(lambda p: jnp.broadcast_to(jnp.zeros_like(p)[None], (window, *p.shape)), params)


def record(history: PyTree, slot: jax.Array, params: PyTree) -> PyTree:
    """``history`` with ``params`` written at ``slot`` (0 is the oldest)."""
    return jax.tree.map(lambda h, p: jax.lax.dynamic_update_index_in_dim(h, p, slot, 0), history, params)
