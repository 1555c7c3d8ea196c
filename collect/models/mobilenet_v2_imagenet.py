"""MobileNetV2 (Sandler et al., CVPR 2018, Table 2) as published, for images of ImageNet.

3,504,872 parameters with 1,000 classes, as in torchvision. The image is halved five times, and the
activation is ReLU6; :mod:`collect.models.mobilenet_v2` is the same net for small images. Departures
from the paper: there is no dropout. ``width`` scales the last convolution as well, and no channel
number is rounded to a multiple of 8.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import ConvNorm, scaled

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks, and the stride of the first block."""


class Block(nnx.Module):
    """1×1 expansion, 3×3 depthwise convolution, linear 1×1 projection.

    The expansion is left out where it is by 1. A shortcut leads around the three where the image
    keeps its size and its channels.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, *, rngs: nnx.Rngs):
        inner = expansion * inputs
        self.expands, self.residual = expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self.expand = ConvNorm(inputs, inner, rngs=rngs)
        self.depthwise = ConvNorm(inner, inner, 3, stride, depthwise=True, rngs=rngs)
        self.project = ConvNorm(inner, outputs, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B h w D"]:
        """An image of the same size, or half of it at stride 2."""
        y = jax.nn.relu6(self.expand(x)) if self.expands else x
        y = self.project(jax.nn.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class MobileNetV2ImageNet(nnx.Module):
    """conv 32 of stride 2, seven stages of inverted residuals, 1×1 conv 1280, average, FC."""

    min_size = 32

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, rngs: nnx.Rngs
    ):
        inputs, last = scaled(32, width), scaled(1280, width)
        self.stem = ConvNorm(image_shape[-1], inputs, 3, 2, rngs=rngs)
        blocks = []
        for expansion, channels, count, stride in STAGES:
            outputs = scaled(channels, width)
            for i in range(count):
                blocks.append(Block(inputs, outputs, expansion, 1 if i else stride, rngs=rngs))
                inputs = outputs
        self.blocks = nnx.List(blocks)
        self.last = ConvNorm(inputs, last, rngs=rngs)
        self.head = nnx.Linear(last, classes, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        x = jax.nn.relu6(self.stem(x))
        for block in self.blocks:
            x = block(x)  # 224 → 112 in the stem → 56 → 28 → 14 → 7
        x = jax.nn.relu6(self.last(x))
        return self.head(jnp.mean(x, axis=(1, 2)))
