"""The window of snapshots that a run carries: W − 1 times its parameters, because a jump follows the last snapshot at once.

The first snapshot is kept as it is, those after it as what they moved from there: in half precision that is as good as new,
while the snapshots themselves, which differ in their last digits, would be lost.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from nowcast.types import PyTree


class History(NamedTuple):
    """Filled from the front; ``optax.MaskedNode()`` in place of leaves that never jump."""

    first: PyTree
    """Leaves ``(*shape)``: the oldest snapshot."""
    moved: PyTree
    """Leaves ``(max(W − 2, 0), *shape)``: the next ones, from the first."""


def empty(params: PyTree, jumping: list[bool], window: int, dtype: Any = None) -> History:
    """Room for a window of those leaves of ``params`` that are ``jumping``; ``dtype`` of what moved, or None: the parameters' own."""
    leaves, treedef = jax.tree.flatten(params)

    def room(leaf: Array) -> Array:
        zeros = jnp.zeros_like(leaf, dtype)
        return jnp.broadcast_to(zeros[None], (max(window - 2, 0), *zeros.shape))

    def every(make: Any) -> PyTree:
        kept = [make(leaf) if jumps else optax.MaskedNode() for leaf, jumps in zip(leaves, jumping, strict=True)]
        return jax.tree.unflatten(treedef, kept)

    return History(every(jnp.zeros_like), every(room))


def record(history: History, filled: Array, params: PyTree) -> History:
    """``history`` with ``params`` as its next snapshot; ``filled``, below W − 1, it has already."""

    def first(new: Array, old: Any) -> Any:
        return old if absent(old) else jnp.where(filled == 0, new, old)

    def moved(new: Array, old: Any, begun: Any) -> Any:
        if absent(old) or not len(old):
            return old
        # The very first snapshot lands at 0 as well, and the second one replaces it.
        return jax.lax.dynamic_update_index_in_dim(old, (new - begun).astype(old.dtype), filled - 1, 0)

    begun = jax.tree.map(
        first, params, history.first
    )  # the old one is needed no more: or it would be copied at every step
    return History(begun, jax.tree.map(moved, params, history.moved, begun))


def window(
    size: int, newest: Float[Array, "*shape"], first: Float[Array, "*shape"], moved: Float[Array, "K *shape"]
) -> Float[Array, "W *shape"]:
    """The window of one leaf, in single precision or better."""
    dtype = jnp.promote_types(newest.dtype, jnp.float32)
    newest, first, moved = (part.astype(dtype) for part in (newest, first, moved))
    return jnp.concatenate([first[None], first[None] + moved, newest[None]])[1 if size == 1 else 0 :]


def absent(node: Any) -> bool:
    """Whether this stands for a leaf that never jumps."""
    return isinstance(node, optax.MaskedNode)
