"""Pieces that several architectures share."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float


def convolve(x: Array, kernel: Array, strides: Any, padding: Any, **options: Any) -> Array:
    """``lax.conv_general_dilated`` over NHWC images, with other code where XLA's is slow on CPUs.

    How much faster, forward and backward, ``scripts/bench/convolution.py`` measures. Three cases:

    - Depthwise: XLA's code is made for few groups. We add shifted slices, each times its row of the kernel.
    - 2×2 images, given or made (the gradient has the size of the result): XLA's code for exactly that size is far
      slower than for 3×3. We multiply patches with the kernel, as a matrix.
    - 1×1 kernels that make the image smaller, by fewer channels or a stride: the same, with the image itself as patches.
    """

    def plain(x: Array, kernel: Array) -> Array:
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)

    result = jax.eval_shape(plain, x, kernel)
    size, (rows, columns) = x.shape[1:3], result.shape[1:3]
    (height, width), groups = kernel.shape[:2], options.get("feature_group_count", 1)
    depthwise = 1 < groups == x.shape[-1] == kernel.shape[-1]
    pointwise = (height, width) == (1, 1) and result.size < x.size
    as_matrix = groups == 1 and ((2, 2) in (size, (rows, columns)) or pointwise)
    if jax.default_backend() != "cpu" or not (depthwise or as_matrix):
        return plain(x, kernel)
    down, right = strides
    pads = lax.padtype_to_pads(size, (height, width), strides, padding) if isinstance(padding, str) else padding
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    patches = [
        x[:, i : i + down * rows : down, j : j + right * columns : right] for i in range(height) for j in range(width)
    ]
    if depthwise:
        return sum(patch * row for patch, row in zip(patches, kernel.reshape(-1, 1, 1, 1, groups), strict=True))
    return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


conv = partial(nnx.Conv, conv_general_dilated=convolve)
"""``nnx.Conv`` with :func:`convolve`."""


class ConvNorm(nnx.Module):
    """A square convolution that keeps the image's size (or divides it by the stride), then BatchNorm.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out; for a depthwise convolution as many.
        kernel: Its height and width.
        stride: Of the convolution.
        depthwise: Every channel on its own.
        use_bias: No use before BatchNorm, which subtracts it again: only where the reference has one.
        rngs: For the initial weights.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        depthwise: bool = False,
        use_bias: bool = False,
        rngs: nnx.Rngs,
    ):
        self.conv = conv(
            inputs, outputs, (kernel, kernel), strides=stride, padding=kernel // 2,
            feature_group_count=inputs if depthwise else 1, use_bias=use_bias, rngs=rngs,
        )  # fmt: skip
        self.bn = nnx.BatchNorm(outputs, momentum=0.9, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B h w D"]:
        """No nonlinearity: the caller adds it."""
        return self.bn(self.conv(x))


def max_pool(x: Float[Array, "B height width C"]) -> Float[Array, "B half_height half_width C"]:
    """2×2 max-pooling with stride 2, as maxima of strided slices; an odd last row or column is dropped.

    On CPUs the gradient of ``lax.reduce_window`` is more than ten times slower than that of these four slices.
    """
    x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
    rows = jnp.maximum(x[:, ::2], x[:, 1::2])
    return jnp.maximum(rows[:, :, ::2], rows[:, :, 1::2])


def mean_pool(x: Float[Array, "B height width C"]) -> Float[Array, "B half_height half_width C"]:
    """2×2 average-pooling with stride 2; an odd last row or column is dropped."""
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return jnp.mean(x.reshape(batch, height // 2, 2, width // 2, 2, channels), axis=(2, 4))


def scaled(channels: int, width: float) -> int:
    """A layer's size under a width multiplier, at least 1."""
    return max(1, round(channels * width))
