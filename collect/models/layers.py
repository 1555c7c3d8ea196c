"""Pieces that several architectures share."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.convolution import atrous, convolve

conv = partial(nnx.Conv, conv_general_dilated=convolve)
"""``nnx.Conv`` with :func:`collect.models.convolution.convolve`."""


class ConvNorm(nnx.Module):
    """A square convolution, then BatchNorm.

    The image keeps its size, or is divided by the stride.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out; for a depthwise convolution as many.
        kernel: The height and width of the kernel.
        stride: The stride of the convolution.
        rate: The atrous rate. A rate above 1 needs a 3×3 depthwise convolution of stride 1.
        depthwise: Every channel on its own.
        use_bias: Useless before BatchNorm, which subtracts it again: only where the reference has
            one.
        rngs: Draws the initial weights.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        rate: int = 1,
        depthwise: bool = False,
        use_bias: bool = False,
        rngs: nnx.Rngs,
    ):
        if rate > 1 and (kernel, stride, depthwise) != (3, 1, True):
            raise ValueError(f"rate={rate}: only of a 3×3 depthwise convolution of stride 1")
        self.conv = nnx.Conv(
            inputs,
            outputs,
            (kernel, kernel),
            strides=stride,
            padding=rate * (kernel // 2),
            kernel_dilation=rate,
            conv_general_dilated=convolve if rate == 1 else atrous,
            feature_group_count=inputs if depthwise else 1,
            use_bias=use_bias,
            rngs=rngs,
        )
        self.bn = nnx.BatchNorm(outputs, momentum=0.9, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B h w D"]:
        """The normalised convolution, without a nonlinearity: the caller adds one."""
        return self.bn(self.conv(x))


def max_pool(x: Float[Array, "B height width C"]) -> Float[Array, "B half_height half_width C"]:
    """2×2 max-pooling with stride 2, as maxima of strided slices.

    An odd last row or column is dropped. On CPUs the gradient goes to the largest of the four, in
    equal parts where several are: that of ``lax.reduce_window`` is more than ten times slower
    there, and that of the slices two to four times. (It has no forward mode, ``jax.jvp``.)
    """
    return _pool_on_cpu(x) if jax.default_backend() == "cpu" else _pool(x)


def _pool(x: Array) -> Array:
    one, two, three, four = _quarters(x)
    return jnp.maximum(jnp.maximum(one, two), jnp.maximum(three, four))


_pool_on_cpu = jax.custom_vjp(_pool)


def _pool_forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    largest = _pool(x)
    return largest, (x, largest)


def _pool_backward(saved: tuple[Array, Array], above: Array) -> tuple[Array]:
    x, largest = saved
    share = above / sum((quarter == largest).astype(above.dtype) for quarter in _quarters(x))
    batch, height, width, channels = above.shape

    def spread(y: Array) -> Array:
        y = jnp.broadcast_to(y[:, :, None, :, None], (batch, height, 2, width, 2, channels))
        y = y.reshape(batch, 2 * height, 2 * width, channels)
        return jnp.pad(y, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))

    return (jnp.where(x == spread(largest), spread(share), 0),)


_pool_on_cpu.defvjp(_pool_forward, _pool_backward)


def _quarters(x: Array) -> list[Array]:
    height, width = (size // 2 * 2 for size in x.shape[1:3])
    return [x[:, i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]


def max_pool_3(
    x: Float[Array, "B height width C"], stride: int = 2, pads: tuple[int, int] = (0, 1)
) -> Float[Array, "B h w C"]:
    """3×3 max-pooling of values of 0 or more, as maxima of strided slices.

    Where several values are the largest, the gradient is split among them.

    Args:
        x: The images.
        stride: The step from window to window.
        pads: Rows and columns of zeros before the image and behind it. As the padding ``SAME`` are
            (0, 1) for even sizes and stride 2, and (1, 1) for stride 1.
    """
    for axis in (1, 2):
        x = jnp.pad(x, [pads if place == axis else (0, 0) for place in range(x.ndim)])
        last = (x.shape[axis] - 3) // stride * stride + 1
        one, two, three = (
            jax.lax.slice_in_dim(x, place, place + last, stride, axis) for place in range(3)
        )
        x = jnp.maximum(jnp.maximum(one, two), three)
    return x


def mean_pool(x: Float[Array, "B height width C"]) -> Float[Array, "B half_height half_width C"]:
    """2×2 average-pooling with stride 2; an odd last row or column is dropped."""
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return jnp.mean(x.reshape(batch, height // 2, 2, width // 2, 2, channels), axis=(2, 4))


def dropped(x: Float[Array, "*shape"], share: float, key: Array | None) -> Float[Array, "*shape"]:
    """``x`` with a ``share`` of it set to 0, and the rest scaled up to the same mean.

    Without a key ``x`` is returned unchanged.
    """
    if key is None or share == 0:
        return x
    kept = jax.random.bernoulli(key, 1 - share, x.shape)
    return jnp.where(kept, x / (1 - share), 0)


def scaled(channels: int, width: float) -> int:
    """A layer's size under a width multiplier, at least 1."""
    return max(1, round(channels * width))
