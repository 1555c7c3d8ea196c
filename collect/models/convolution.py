"""Convolutions, with other code where XLA's is slow on CPUs.

``scripts/bench/convolution.py`` measures how much faster that is, forward and backward.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

CHUNK = 4
"""Images whose products stay in a core's cache."""

FEW = 36
"""Channels times outputs, at one place of a kernel, that leave a vector register almost empty."""

TOGETHER = 4
"""Columns of an image that are joined into one with this many times the channels."""

LARGE, PART = 128, 32
"""Above the first number of images, a kernel's gradient takes parts of the second.

Images are the channels of that convolution.
"""

LAYOUT = ("NHWC", "HWIO", "NHWC")
UNUSUAL = (
    "lhs_dilation",
    "rhs_dilation",
    "batch_group_count",
    "precision",
    "preferred_element_type",
)
Pads = Sequence[tuple[int, int]]
fence = lax.optimization_barrier
plain = partial(lax.conv_general_dilated, dimension_numbers=LAYOUT)


def compiler_options() -> dict[str, str]:
    """Options for ``jax.jit`` that keep fences on CPUs to the end.

    XLA would remove them before it fuses.
    """
    return (
        {"xla_disable_hlo_passes": "cse_barrier_expander"} if jax.default_backend() == "cpu" else {}
    )


def convolve(x: Array, kernel: Array, strides: Any, padding: Any, **options: Any) -> Array:
    """``lax.conv_general_dilated`` over NHWC images and HWIO kernels, with other code on CPUs.

    The results are equal but for rounding. Six things differ on CPUs:

    - Fences around every convolution: what comes in and goes out lies in memory once. Without them
      XLA computes it anew from whatever it was made of, in the transposed order that a kernel's
      gradient reads.
    - 1×1 kernels: a product of matrices.
    - Depthwise: XLA's code is made for few groups. We add shifted slices, each times its row of the
        kernel.
    - 2×2 images, given or made (the gradient has the size of the result): XLA's code for exactly
      that size is far slower than for 3×3. We multiply patches with the kernel, as a matrix.
    - Few channels in and out: four neighbouring columns become one with four times the channels.
    - The kernel's gradient of a large batch: a part of the batch at a time, so that it stays in the
        cache.
    """
    asked = partial(plain, window_strides=strides, padding=padding, **options)
    unusual = any(options.get(name) not in (None, 1, (1, 1)) for name in UNUSUAL)
    layout, usual = (
        lax.conv_dimension_numbers(x.shape, kernel.shape, numbers)
        for numbers in (options.get("dimension_numbers", LAYOUT), LAYOUT)
    )
    if jax.default_backend() != "cpu" or unusual or layout != usual:
        return asked(x, kernel)
    shape = jax.eval_shape(asked, x, kernel).shape
    size, groups = kernel.shape[:2], options.get("feature_group_count", 1)
    pads = (
        lax.padtype_to_pads(x.shape[1:3], size, strides, padding)
        if isinstance(padding, str)
        else padding
    )
    if 1 < groups == x.shape[-1] == kernel.shape[-1]:
        return fence(_depthwise(x, kernel, tuple(strides), tuple(map(tuple, pads))))
    if groups > 1:
        return fence(asked(fence(x), kernel))
    if size == (1, 1) or (2, 2) in (x.shape[1:3], shape[1:3]):
        patches = jnp.concatenate([*_parts(_pad(x, pads), size, strides)], axis=-1)
        product = fence(patches.reshape(-1, patches.shape[-1])) @ kernel.reshape(
            -1, kernel.shape[-1]
        )
        return fence(product).reshape(shape)
    return fence(_dense(fence(x), kernel, tuple(strides), tuple(map(tuple, pads))))


def atrous(
    x: Array, kernel: Array, strides: Any, padding: Any, *, rhs_dilation: Any, **options: Any
) -> Array:
    """A 3×3 depthwise atrous convolution of stride 1, as shifted slices on CPUs.

    XLA's code for it is slow on CPUs. Slices that lie wholly outside the image are left out.

    Examples:
        >>> import jax.numpy as jnp
        >>> x, kernel = jnp.ones((1, 5, 5, 2)), jnp.ones((3, 3, 1, 2))
        >>> pads = [(2, 2), (2, 2)]
        >>> y = atrous(x, kernel, (1, 1), pads, rhs_dilation=(2, 2), feature_group_count=2)
        >>> print(y[0, :, 2, 0])
        [6. 6. 9. 6. 6.]
    """
    if jax.default_backend() != "cpu":
        groups = options["feature_group_count"]
        return plain(
            x, kernel, strides, padding, rhs_dilation=rhs_dilation, feature_group_count=groups
        )
    rate, _ = rhs_dilation
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (rate, rate), (rate, rate), (0, 0)))
    total = jnp.zeros_like(x)
    for row in range(3):
        for column in range(3):
            down, right = row * rate, column * rate
            if abs(down - rate) < height and abs(right - rate) < width:
                part = padded[:, down : down + height, right : right + width]
                total += part * kernel[row, column][None, None]
    return total


def _pad(x: Array, pads: Pads) -> Array:
    return jnp.pad(x, ((0, 0), *pads, (0, 0)))


def _parts(x: Array, kernel: Sequence[int], strides: Sequence[int]) -> Iterator[Array]:
    """The part of a padded image that each place of a kernel sees, in turn."""
    (down, right), (height, width) = strides, kernel
    rows, columns = (x.shape[1] - height) // down + 1, (x.shape[2] - width) // right + 1
    for i, j in np.ndindex(height, width):
        yield x[:, i : i + down * rows : down, j : j + right * columns : right]


def _sum(x: Array, kernel: Array, strides: Sequence[int]) -> Array:
    """A depthwise convolution of a padded image."""
    rows = kernel.reshape(-1, 1, 1, 1, kernel.shape[-1])
    return sum(
        part * row for part, row in zip(_parts(x, kernel.shape[:2], strides), rows, strict=True)
    )


def _by_size(x: Array, kernel: Array, strides: tuple[int, ...], pads: Pads) -> Array:
    if strides == (1, 1) and math.prod(kernel.shape[2:]) <= FEW and min(map(min, pads)) >= 0:
        return _few(x, kernel, pads)
    return plain(x, kernel, strides, pads)


def _few(x: Array, kernel: Array, pads: Pads) -> Array:
    """A convolution of stride 1 whose images are read, and results written, in groups of columns.

    A group's columns are its channels. The kernel stands once for each column of a group of
    results, a column further each time, and sees as many groups of the images as it then reaches.
    """
    rows, (left, right) = pads
    height, width, channels, outputs = kernel.shape
    columns = left + x.shape[2] + right - width + 1
    groups, reach = -(-columns // TOGETHER), -(-(TOGETHER + width - 1) // TOGETHER)
    last = (groups + reach - 1) * TOGETHER - left - x.shape[2]
    x = jnp.pad(x, ((0, 0), (0, 0), (left, last), (0, 0))).reshape(
        *x.shape[:2], -1, TOGETHER * channels
    )
    shifts = [(shift, reach * TOGETHER - width - shift) for shift in range(TOGETHER)]
    each = jnp.stack(
        [jnp.pad(kernel, ((0, 0), shift, (0, 0), (0, 0))) for shift in shifts], axis=-2
    )
    each = each.reshape(height, reach, TOGETHER * channels, TOGETHER * outputs)
    result = plain(fence(x), fence(each), (1, 1), (rows, (0, 0)))
    return result.reshape(*result.shape[:2], -1, outputs)[:, :, :columns]


def _dense_backward(
    strides: tuple[int, ...], pads: Pads, saved: tuple[Array, Array], above: Array
) -> tuple[Array, Array]:
    """The gradients of a dense convolution.

    The kernel's gradient is a convolution too, where images are channels and channels are images:
    we swap them.
    """
    x, kernel = saved
    wide = [
        (low, size - inside - low + (outside - 1) * stride)
        for size, inside, outside, stride, (low, _) in zip(
            kernel.shape[:2], x.shape[1:3], above.shape[1:3], strides, pads, strict=True
        )
    ]

    def gradient(x: Array, above: Array) -> Array:
        turned = fence(x.transpose(3, 1, 2, 0)), fence(above.transpose(1, 2, 0, 3))
        return plain(*turned, (1, 1), wide, rhs_dilation=strides).transpose(1, 2, 0, 3)

    inputs = jax.vjp(lambda x: _by_size(x, kernel, strides, pads), x)[1](above)[0]
    if len(x) <= LARGE or len(x) % PART:
        return inputs, gradient(x, above)
    # Images of a part lie apart in the batch: where it is on several devices, each has its share of
    # every part.
    parts = [a.reshape(PART, -1, *a.shape[1:]) for a in (x, above)]

    def add(total: Array, number: Array) -> tuple[Array, None]:
        return (
            total
            + gradient(*(lax.dynamic_index_in_dim(a, number, 1, keepdims=False) for a in parts)),
            None,
        )

    return inputs, lax.scan(add, jnp.zeros_like(kernel), jnp.arange(len(x) // PART))[0]


_dense = jax.custom_vjp(_by_size, nondiff_argnums=(2, 3))
_dense.defvjp(
    lambda x, kernel, strides, pads: (_by_size(x, kernel, strides, pads), (x, kernel)),
    _dense_backward,
)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x: Array, kernel: Array, strides: tuple[int, ...], pads: Pads) -> Array:
    return _sum(fence(_pad(x, pads)), kernel, strides)


def _depthwise_backward(
    strides: tuple[int, ...], pads: Pads, saved: tuple[Array, Array], above: Array
) -> tuple[Array, Array]:
    """The gradients of a depthwise convolution, the kernel's a few images at a time.

    Nine products of the whole batch would go through memory nine times.
    """
    x, kernel = saved
    above = fence(above)
    chunk = math.gcd(len(x), CHUNK)
    chunks = [a.reshape(-1, chunk, *a.shape[1:]) for a in (fence(_pad(x, pads)), above)]

    def add(total: Array, few: list[Array]) -> tuple[Array, None]:
        images, gradients = few
        parts = _parts(images, kernel.shape[:2], strides)
        return total + jnp.stack([jnp.sum(part * gradients, (0, 1, 2)) for part in parts]), None

    total = lax.scan(
        add, jnp.zeros((kernel.shape[0] * kernel.shape[1], kernel.shape[-1]), kernel.dtype), chunks
    )[0]
    inputs = jax.vjp(lambda x: _sum(_pad(x, pads), kernel, strides), x)[1](above)[0]
    return inputs, total.reshape(kernel.shape)


_depthwise.defvjp(
    lambda x, kernel, strides, pads: (_depthwise(x, kernel, strides, pads), (x, kernel)),
    _depthwise_backward,
)
