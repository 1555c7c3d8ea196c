"""The Gram matrix of a few arrays of one shape: their squared lengths and inner products."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float


def gram_matrix(arrays: Sequence[Float[Array, "*shape"]]) -> Float[Array, "D D"]:
    """The inner products ``⟨aᵢ, aⱼ⟩`` of all pairs.

    The matrix is symmetric and takes D·(D+1)/2 products, not D²: the compiler joins those that are
    written alike.
    """
    order = range(len(arrays))
    return jnp.array(
        [[jnp.sum(arrays[min(i, j)] * arrays[max(i, j)]) for j in order] for i in order]
    )
