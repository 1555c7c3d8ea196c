"""Pieces that several architectures share."""

from functools import partial

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.convolution import convolve

conv = partial(nnx.Conv, conv_general_dilated=convolve)
"""``nnx.Conv`` with :func:`collect.models.convolution.convolve`."""


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
