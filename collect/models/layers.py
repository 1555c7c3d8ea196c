"""Pieces that several architectures share."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def max_pool(x: Float[Array, "B height width C"]) -> Float[Array, "B half_height half_width C"]:
    """2×2 max-pooling with stride 2, as maxima of strided slices; an odd last row or column is dropped.

    On CPUs the gradient of ``lax.reduce_window`` is more than ten times slower than that of these four slices.
    """
    x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
    rows = jnp.maximum(x[:, ::2], x[:, 1::2])
    return jnp.maximum(rows[:, :, ::2], rows[:, :, 1::2])


def scaled(channels: int, width: float) -> int:
    """A layer's size under a width multiplier, at least 1."""
    return max(1, round(channels * width))
