"""Lay the leaves of a pytree out as one vector for each network of a learned optimizer."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from collect.training.learned.kinds import Kind
from nowcast.ops import label_ops
from nowcast.types import PyTree, UserError


class Layout(NamedTuple):
    """Which network each leaf goes to, and the shape and dtype that it comes back with."""

    networks: tuple[str, ...]
    like: PyTree

    def apart(self, tree: PyTree) -> dict[str, Float[Array, "n"]]:
        """The leaves of each network, flattened and joined, in float32."""
        leaves = jax.tree.leaves(tree)
        return {
            name: jnp.concatenate(
                [
                    jnp.ravel(leaf).astype(jnp.float32)
                    for leaf, own in zip(leaves, self.networks, strict=True)
                    if own == name
                ]
            )
            for name in sorted(set(self.networks))
        }

    def whole(self, parts: dict[str, Float[Array, "n"]]) -> PyTree:
        """The pytree that :meth:`apart` took apart."""
        taken, leaves = dict.fromkeys(parts, 0), []
        for like, name in zip(jax.tree.leaves(self.like), self.networks, strict=True):
            first = taken[name]
            taken[name] = first + like.size
            leaves.append(parts[name][first : first + like.size].reshape(like.shape))
        typed = [
            leaf.astype(like.dtype)
            for leaf, like in zip(leaves, jax.tree.leaves(self.like), strict=True)
        ]
        return jax.tree.unflatten(jax.tree.structure(self.like), typed)


def layout(kind: Kind, there: list[str], tree: PyTree) -> Layout:
    """The layout of a pytree of weights or gradients for the networks that are there."""
    leaves = jax.tree.leaves(tree)
    if not leaves:
        raise UserError(f"{kind.title}: there are no weights; give a pytree with leaves")
    operations = jax.tree.leaves(label_ops(tree))
    networks = tuple(kind.network(operation, there) for operation in operations)
    return Layout(networks, jax.eval_shape(lambda: tree))
