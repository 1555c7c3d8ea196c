"""A fixed sample of a model's scalars, spread over its leaves.

A few megabytes represent the whole model.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from nowcast.types import PyTree

LEAST = 64
"""Scalars of each leaf in the sample, or all of a smaller leaf."""


def sizes(params: PyTree, count: int) -> list[int]:
    """How many scalars of each leaf are in a sample of about ``count``.

    Each leaf gives an equal share, and :data:`LEAST` scalars at least.

    >>> import jax.numpy as jnp
    >>> from nowcast.sample import sizes
    >>> sizes({"bias": jnp.zeros(10), "kernel": jnp.zeros((1000, 1000))}, 5000)
    [10, 5000]
    """
    leaves = jax.tree.leaves(params)
    whole = sum(leaf.size for leaf in leaves)
    return [min(leaf.size, max(LEAST, round(count * leaf.size / whole))) for leaf in leaves]


def take(leaf: Float[Array, "*shape"], count: int) -> Float[Array, " N"]:
    """``count`` scalars of a leaf, evenly spread, in float32.

    Each is multiplied by the root of how many scalars it stands for: sums of products of samples
    are then those of whole leaves, in expectation. A leaf that is split over devices is not
    gathered.
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
