"""U-Net that tells the noise in an image, as in Keras's example of DDIM.

The example is keras.io/examples/generative/ddim (Béres, 2022). With the widths 32, 64, 96 and 128
and a depth of 2 it has 1,950,627 parameters on images of three channels, and all of them train:
BatchNorm has neither scale nor offset there. Its 2,880 means and variances are not among them.
First weights are Keras's: Glorot's uniform kernels, biases of zeros, and a last layer of zeros.
"""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import conv, mean_pool

EMBEDDED = 32
"""Numbers that a noise variance becomes."""
FREQUENCIES = (1.0, 1000.0)
"""The lowest and the highest frequency among them."""


class Residual(nnx.Module):
    """BatchNorm, two 3×3 convolutions with swish between them; their input is added.

    Args:
        inputs: Channels that come in; where they differ from ``outputs``, a 1×1 convolution
            projects what is added.
        outputs: Channels that go out.
        rngs: Draws the initial weights.
    """

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        self.project = inputs != outputs
        if self.project:
            self.shortcut = _conv(inputs, outputs, 1, rngs)
        self.bn = nnx.BatchNorm(
            inputs, momentum=0.99, epsilon=1e-3, use_bias=False, use_scale=False, rngs=rngs
        )
        self.conv1 = _conv(inputs, outputs, 3, rngs)
        self.conv2 = _conv(outputs, outputs, 3, rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B height width D"]:
        """An image of the same size."""
        y = self.conv2(jax.nn.swish(self.conv1(self.bn(x))))
        return y + (self.shortcut(x) if self.project else x)


class UNet(nnx.Module):
    """Residual blocks while an image is halved and then doubled again, with skip connections.

    Args:
        channels: Channels of the images.
        widths: Channels of the blocks of each size, the largest size first.
        depth: Residual blocks of each size, each way.
        rngs: Draws the initial weights.

    Examples:
        >>> net = UNet(1, (4, 8), 1, rngs=nnx.Rngs(0))
        >>> images, variances = jnp.ones((2, 8, 8, 1)), jnp.ones((2, 1, 1, 1))
        >>> print(net(images, variances).shape)
        (2, 8, 8, 1)
    """

    def __init__(self, channels: int, widths: Sequence[int], depth: int, *, rngs: nnx.Rngs):
        *outer, inner = widths
        self.first = _conv(channels, widths[0], 1, rngs)
        inputs, skips = widths[0] + EMBEDDED, []
        down, up = [], []
        for width in outer:
            for _ in range(depth):
                down.append(Residual(inputs, width, rngs=rngs))
                skips.append(width)
                inputs = width
        self.middle = nnx.List(
            [Residual(inputs if not i else inner, inner, rngs=rngs) for i in range(depth)]
        )
        inputs = inner
        for width in reversed(outer):
            for _ in range(depth):
                up.append(Residual(inputs + skips.pop(), width, rngs=rngs))
                inputs = width
        self.down, self.up = nnx.List(down), nnx.List(up)
        self.last = conv(inputs, channels, (1, 1), kernel_init=nnx.initializers.zeros, rngs=rngs)
        self.depth, self.sizes = depth, len(widths)

    def __call__(
        self, x: Float[Array, "B height width C"], variances: Float[Array, "B 1 1 1"]
    ) -> Float[Array, "B height width C"]:
        """The noise in images, from the variance of the noise in each."""
        embedded = jnp.broadcast_to(embedding(variances), (*x.shape[:3], EMBEDDED))
        x = jnp.concatenate([self.first(x), embedded], axis=-1)
        skips = []
        for number, block in enumerate(self.down):
            x = block(x)
            skips.append(x)
            if (number + 1) % self.depth == 0:
                x = mean_pool(x)
        for block in self.middle:
            x = block(x)
        for number, block in enumerate(self.up):
            if number % self.depth == 0:
                x = doubled(x)
            x = block(jnp.concatenate([x, skips.pop()], axis=-1))
        return self.last(x)


def embedding(variances: Float[Array, "B 1 1 1"]) -> Float[Array, "B 1 1 32"]:
    """Sines and cosines of each variance, at 16 frequencies from 1 to 1,000.

    Examples:
        >>> print(embedding(jnp.zeros((1, 1, 1, 1)))[0, 0, 0, 15:17])
        [0. 1.]
    """
    speeds = 2 * math.pi * np.geomspace(*FREQUENCIES, EMBEDDED // 2)
    angles = variances * jnp.asarray(speeds, variances.dtype).reshape(1, 1, 1, -1)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def doubled(x: Float[Array, "B height width C"]) -> Float[Array, "B tall wide C"]:
    """An image of twice the size, bilinear.

    It is ``jax.image.resize``, from slices: their gradient is faster on a CPU.
    """
    return _doubled(_doubled(x, 1), 2)


def _doubled(x: Array, axis: int) -> Array:
    part = partial(jax.lax.slice_in_dim, x, axis=axis)
    size = x.shape[axis]
    before = jnp.concatenate([part(0, 1), part(0, size - 1)], axis=axis)
    after = jnp.concatenate([part(1, size), part(size - 1, size)], axis=axis)
    both = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis + 1)
    return both.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])


def _conv(inputs: int, outputs: int, kernel: int, rngs: nnx.Rngs) -> nnx.Conv:
    return conv(
        inputs,
        outputs,
        (kernel, kernel),
        padding=kernel // 2,
        kernel_init=nnx.initializers.glorot_uniform(),
        rngs=rngs,
    )
