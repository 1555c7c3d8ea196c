"""Leaves of a pytree as arrays.

They may be Python's and NumPy's numbers, and placeholders that have a shape and no values.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from nowcast.types import PyTree

DTYPES = ("float32", "bfloat16", "float16", "float64")
"""Dtypes of weights that can be nowcast."""


def is_abstract(leaf: Any) -> bool:
    """Whether a leaf has only a shape and a dtype, as :func:`jax.eval_shape` gives."""
    return isinstance(leaf, jax.ShapeDtypeStruct)


def dtype_of_leaf(leaf: Any) -> Any:
    """The dtype that JAX gives a leaf: float32 for Python's 1.0.

    Raises ``TypeError`` for a leaf that is not an array.
    """
    if is_abstract(leaf):
        return leaf.dtype
    if isinstance(leaf, np.ndarray):  # JAX knows dtypes that its devices do not take
        return jax.dtypes.canonicalize_dtype(leaf.dtype)
    return jnp.asarray(leaf).dtype


def as_array(leaf: Any) -> Any:
    """The leaf as a JAX array of a fixed dtype.

    JAX arrays and placeholders are returned unchanged.
    """
    if isinstance(leaf, jax.Array) or is_abstract(leaf):
        return leaf
    # Without it a Python number would get a dtype that adapts to others.
    return jnp.asarray(leaf, jnp.asarray(leaf).dtype)


def copied(leaf: Any) -> Array:
    """A copy in memory of its own; zeros for a placeholder."""
    return jnp.zeros(leaf.shape, leaf.dtype) if is_abstract(leaf) else jnp.copy(leaf)


def own_buffers(state: PyTree, params: PyTree) -> PyTree:
    """Copy each array of ``state`` that is one of ``params`` or stands in ``state`` twice.

    JAX refuses to donate a buffer twice, and some optimizers (``optax.contrib.prodigy``,
    ``dadapt_adamw``) keep the parameters themselves in their state.
    """
    seen = {id(leaf) for leaf in jax.tree.leaves(params)}

    def own(leaf: Any) -> Any:
        twice = id(leaf) in seen
        seen.add(id(leaf))
        return jnp.copy(leaf) if twice and isinstance(leaf, jax.Array) else leaf

    return jax.tree.map(own, state)


def wide(dtype: Any) -> Any:
    """The dtype to compute in: float32 for half precision, otherwise the same."""
    return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else dtype
