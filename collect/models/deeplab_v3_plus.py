"""DeepLabV3+ (Chen et al., ECCV 2018, arXiv:1802.02611) on MobileNetV2 (Sandler et al., CVPR 2018).

The backbone is MobileNetV2 of its paper, Table 2, up to the last inverted residual: 1,811,712
parameters at full width. Where the image is as small as the output stride says, strides become
atrous rates (§3.1 of the first paper). Atrous spatial pyramid pooling has a 1×1 convolution, three
atrous ones and the image's mean, 256 channels each; the decoder joins them with 48 channels made of
the features at a quarter of the size, and has two 3×3 convolutions of 256 channels (§3.1, Fig. 2).
3×3 convolutions outside the backbone are atrous separable, as in §3.2. Departures: ``width``
scales every layer and no number is rounded to a multiple of 8; there is no dropout; results are
resized as ``jax.image.resize`` does (half-pixel centres), not with aligned corners.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.convolution import convolve
from collect.models.layers import ConvNorm, scaled
from collect.models.mobilenet_v2_imagenet import STAGES, Block

LOW = 3
"""The blocks whose features the decoder gets: those of 24 channels, at a quarter of the size."""
POOLED, LOW_CHANNELS = 256, 48
STRIDES = (8, 16)
"""The output strides of the paper."""


class Backbone(nnx.Module):
    """MobileNetV2 without its last convolution and its classifier."""

    def __init__(self, channels: int, *, width: float, output_stride: int, rngs: nnx.Rngs):
        inputs = scaled(32, width)
        self.stem = ConvNorm(channels, inputs, 3, 2, rngs=rngs)
        blocks, at, rate = [], 2, 1
        for expansion, outputs, count, stride in STAGES:
            outputs = scaled(outputs, width)
            for number in range(count):
                own = stride if number == 0 else 1
                before = rate  # the block that would shrink sees neighbours as they were
                if own == 2 and at == output_stride:
                    own, rate = 1, 2 * rate
                at *= own
                blocks.append(
                    Block(
                        inputs,
                        outputs,
                        expansion,
                        own,
                        rate=rate if number else before,
                        rngs=rngs,
                    )
                )
                inputs = outputs
        self.blocks, self.channels = nnx.List(blocks), inputs

    def __call__(
        self, x: Float[Array, "B height width C"]
    ) -> tuple[Float[Array, "B h4 w4 D"], Float[Array, "B h w E"]]:
        """``(low, high)``: the features at a quarter of the size, and the last ones."""
        x = jax.nn.relu6(self.stem(x))
        for block in self.blocks[:LOW]:
            x = block(x)
        low = x
        for block in self.blocks[LOW:]:
            x = block(x)
        return low, x


class Separable(nnx.Module):
    """A 3×3 depthwise convolution with an atrous rate and a 1×1 one, each with BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, rate: int = 1, *, rngs: nnx.Rngs):
        self.depthwise = ConvNorm(inputs, inputs, 3, rate=rate, depthwise=True, rngs=rngs)
        self.pointwise = ConvNorm(inputs, outputs, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B height width D"]:
        """Features of the same size."""
        return jax.nn.relu(self.pointwise(jax.nn.relu(self.depthwise(x))))


class Pyramid(nnx.Module):
    """Atrous spatial pyramid pooling with the image's mean (DeepLabV3, arXiv:1706.05587, §3.3)."""

    def __init__(self, inputs: int, outputs: int, rates: Sequence[int], *, rngs: nnx.Rngs):
        self.one = ConvNorm(inputs, outputs, rngs=rngs)
        self.atrous = nnx.List([Separable(inputs, outputs, rate, rngs=rngs) for rate in rates])
        self.image = ConvNorm(inputs, outputs, rngs=rngs)
        self.project = ConvNorm((2 + len(rates)) * outputs, outputs, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B height width D"]:
        """Features of the same size."""
        one = jax.nn.relu(self.one(x))
        image = jax.nn.relu(self.image(jnp.mean(x, axis=(1, 2), keepdims=True)))
        parts = [one, *(layer(x) for layer in self.atrous), jnp.broadcast_to(image, one.shape)]
        return jax.nn.relu(self.project(jnp.concatenate(parts, axis=-1)))


class DeepLabV3Plus(nnx.Module):
    """Backbone, pyramid, and a decoder at a quarter of the image's size.

    Args:
        channels: Channels of the images.
        classes: Classes of a pixel.
        width: 0.5 makes every layer narrower; 1: the published width.
        output_stride: How many times smaller than the image the last features of the backbone are:
            8 or 16.
        rates: The atrous rates of the pyramid: 6, 12 and 18 at output stride 16 in the paper, and
            twice these at 8.
        rngs: Draws the initial weights.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        width: float,
        output_stride: int,
        rates: Sequence[int],
        rngs: nnx.Rngs,
    ):
        pooled, low = scaled(POOLED, width), scaled(LOW_CHANNELS, width)
        self.backbone = Backbone(channels, width=width, output_stride=output_stride, rngs=rngs)
        self.pyramid = Pyramid(self.backbone.channels, pooled, rates, rngs=rngs)
        self.low = ConvNorm(scaled(STAGES[1][1], width), low, rngs=rngs)
        self.first = Separable(pooled + low, pooled, rngs=rngs)
        self.second = Separable(pooled, pooled, rngs=rngs)
        self.head = nnx.Conv(pooled, classes, (1, 1), conv_general_dilated=convolve, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B height width K"]:
        """The logits of each pixel."""
        size = x.shape[1:3]
        low, high = self.backbone(x)
        low = jax.nn.relu(self.low(low))
        y = jnp.concatenate([_resized(self.pyramid(high), low.shape[1:3]), low], axis=-1)
        return _resized(self.head(self.second(self.first(y))), size)


def _resized(x: Array, size: Sequence[int]) -> Array:
    return jax.image.resize(x, (len(x), *size, x.shape[-1]), "bilinear", antialias=False)
