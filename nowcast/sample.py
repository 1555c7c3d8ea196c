"""A fixed sample of a model's scalars, spread over its leaves: a few megabytes that speak for the
whole of it.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from nowcast.types import PyTree

LEAST = 64
"""Scalars of each leaf, or all of a smaller one."""


def sizes(params: PyTree, count: int) -> list[int]:
    """How many scalars of each leaf are in a sample of some ``count``: as large a share of each,
    and :data:`LEAST` of them at least.

    >>> import jax.numpy as jnp
    >>> from nowcast.sample import sizes
    >>> sizes({"bias": jnp.zeros(10), "kernel": jnp.zeros((1000, 1000))}, 5000)
    [10, 5000]
    """
    leaves = jax.tree.leaves(params)
    whole = sum(leaf.size for leaf in leaves)
    return [min(leaf.size, max(LEAST, round(count * leaf.size / whole))) for leaf in leaves]


def take(leaf: Float[Array, "*shape"], count: int) -> Float[Array, " N"]:
    """So many scalars of a leaf, evenly spread, in float32, each times the root of how many it
    stands for.

    Sums of products of samples are then those of whole leaves, in expectation. A leaf that is split
    over devices is not gathered.
    """
    if not leaf.size:
        return jnp.zeros(0, jnp.float32)
    places = ((np.arange(count) + 0.5) * leaf.size / count).astype(np.int64)
    mesh = jax.typeof(leaf).sharding.mesh
    where: dict[str, Any] = (
        {"out_sharding": NamedSharding(mesh, PartitionSpec(None))}
        if AxisType.Explicit in mesh.axis_types
        else {}
    )
    picked = leaf.at[np.unravel_index(places, leaf.shape)].get(**where) if leaf.ndim else leaf[None]
    return picked.astype(jnp.float32) * np.float32(np.sqrt(leaf.size / count))
