"""MobileNetV2 (Sandler et al., CVPR 2018, Table 2) as published, for images of ImageNet.

3,504,872 parameters with 1,000 classes, as in torchvision. The image is halved five times, and the
activation is ReLU6; :mod:`collect.models.mobilenet_v2` is the same net for small images. Departures
from the paper: there is no dropout. ``width`` scales the last convolution as well, and no channel
number is rounded to a multiple of 8.
"""

import jax
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import ConvNorm
from collect.models.mobilenet_v2 import STAGES as SMALL
from collect.models.mobilenet_v2 import MobileNetV2

STAGES = (SMALL[0], (6, 24, 2, 2), *SMALL[2:])
"""Expansion, channels, blocks, and the stride of the first block."""


class Block(nnx.Module):
    """1×1 expansion, 3×3 depthwise convolution, linear 1×1 projection.

    The expansion is left out where it is by 1. A shortcut leads around the three where the image
    keeps its size and its channels. The depthwise convolution has an atrous ``rate``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        expansion: int,
        stride: int,
        *,
        rate: int = 1,
        rngs: nnx.Rngs,
    ):
        inner = expansion * inputs
        self.expands, self.residual = expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self.expand = ConvNorm(inputs, inner, rngs=rngs)
        self.depthwise = ConvNorm(inner, inner, 3, stride, rate=rate, depthwise=True, rngs=rngs)
        self.project = ConvNorm(inner, outputs, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B h w D"]:
        """An image of the same size, or half of it at stride 2."""
        y = jax.nn.relu6(self.expand(x)) if self.expands else x
        y = self.project(jax.nn.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class MobileNetV2ImageNet(MobileNetV2):
    """conv 32 of stride 2, seven stages of inverted residuals, 1×1 conv 1280, average, FC.

    The image shrinks 224 → 112 in the stem → 56 → 28 → 14 → 7.
    """

    min_size = 32
    stages, stem_stride = STAGES, 2
    block = Block
    activation = staticmethod(jax.nn.relu6)
