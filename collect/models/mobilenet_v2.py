"""MobileNetV2 (Sandler et al., CVPR 2018, Table 2) with strides for small images.

2,296,922 parameters on 32×32×3 images with 10 classes, as in kuangliu/pytorch-cifar. Departures
from the paper, as there: the stem and the second stage have stride 1, ReLU stands for ReLU6, the
first block has its 1×1 expansion too, there is no dropout, and where channels change at stride 1
the shortcut is a 1×1 convolution. Of our own: ``width`` scales the last convolution as well, and no
channel number is rounded to a multiple of 8.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import ConvNorm, scaled

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks, and the stride of the first block."""


class Block(nnx.Module):
    """1×1 expansion, 3×3 depthwise convolution, linear 1×1 projection.

    At stride 1 a shortcut leads around them.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, *, rngs: nnx.Rngs):
        inner = expansion * inputs
        self.expand = ConvNorm(inputs, inner, rngs=rngs)
        self.depthwise = ConvNorm(inner, inner, 3, stride, depthwise=True, rngs=rngs)
        self.project = ConvNorm(inner, outputs, rngs=rngs)
        self.residual, self.grow = stride == 1, stride == 1 and inputs != outputs
        if self.grow:
            self.shortcut = ConvNorm(inputs, outputs, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B h w D"]:
        """An image of the same size, or half of it at stride 2."""
        y = jax.nn.relu(self.expand(x))
        y = self.project(jax.nn.relu(self.depthwise(y)))
        if not self.residual:
            return y
        return y + (self.shortcut(x) if self.grow else x)


class MobileNetV2(nnx.Module):
    """conv 32, seven stages of inverted residuals, 1×1 conv 1280, global average, FC."""

    min_size = 16
    stages, stem_stride = STAGES, 1
    block: Any = Block
    activation = staticmethod(jax.nn.relu)

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, rngs: nnx.Rngs
    ):
        inputs, last = scaled(32, width), scaled(1280, width)
        self.stem = ConvNorm(image_shape[-1], inputs, 3, self.stem_stride, rngs=rngs)
        blocks = []
        for expansion, channels, count, stride in self.stages:
            outputs = scaled(channels, width)
            for i in range(count):
                own = 1 if i else stride
                blocks.append(self.block(inputs, outputs, expansion, own, rngs=rngs))
                inputs = outputs
        self.blocks = nnx.List(blocks)
        self.last = ConvNorm(inputs, last, rngs=rngs)
        self.head = nnx.Linear(last, classes, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        x = self.activation(self.stem(x))
        for block in self.blocks:
            x = block(x)  # 32 → 16 → 8 → 4, where the third, fourth and sixth stage begin
        x = self.activation(self.last(x))
        return self.head(jnp.mean(x, axis=(1, 2)))
