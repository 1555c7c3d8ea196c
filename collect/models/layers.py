"""Pieces that several architectures share."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float


def convolve(x: Array, kernel: Array, strides: Any, padding: Any, **options: Any) -> Array:
    """``lax.conv_general_dilated`` over NHWC images, fast on 2×2 images too.

    XLA's CPU code for exactly that size of input is up to 70 times slower than for 3×3 (``scripts/bench/convolution.py``),
    and the gradient has the size of the result. Where either is 2×2 we multiply patches with the kernel, as a matrix.
    """

    def plain(x: Array, kernel: Array) -> Array:
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)

    size, (rows, columns) = x.shape[1:3], jax.eval_shape(plain, x, kernel).shape[1:3]
    grouped = options.get("feature_group_count", 1) > 1
    if (2, 2) not in (size, (rows, columns)) or grouped or jax.default_backend() != "cpu":
        return plain(x, kernel)
    height, width = kernel.shape[:2]
    down, right = strides
    pads = lax.padtype_to_pads(size, (height, width), strides, padding) if isinstance(padding, str) else padding
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    patches = [
        x[:, i : i + down * rows : down, j : j + right * columns : right] for i in range(height) for j in range(width)
    ]
    return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


conv = partial(nnx.Conv, conv_general_dilated=convolve)
"""``nnx.Conv`` with :func:`convolve`."""


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
