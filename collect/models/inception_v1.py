"""Inception v1, or GoogLeNet (Szegedy et al., CVPR 2015), which Introspection trains on ImageNet.

It has 6,624,904 parameters on 3 channels and 1,000 classes, as torchvision's ``googlenet`` without
its auxiliary heads. Departures from the paper, all of them torchvision's: BatchNorm after each
convolution in place of local response normalisation, and 3×3 in place of 5×5 convolutions, as in
the programs of TensorFlow. Dropout is 0.2, as there.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import ConvNorm, dropped, max_pool_3, scaled

BLOCKS = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
"""The channels of each block, by stage.

1×1; 1×1 and 3×3; 1×1 and the second 3×3; 1×1 after pooling (Table 1 of the paper).
"""
DROPPED = 0.2


class Block(nnx.Module):
    """Four branches on the same input, whose channels are joined."""

    def __init__(self, inputs: int, channels: tuple[int, ...], rngs: nnx.Rngs):
        one, few, three, fewer, five, pooled = channels
        self.one = ConvNorm(inputs, one, rngs=rngs)
        self.three_in = ConvNorm(inputs, few, rngs=rngs)
        self.three = ConvNorm(few, three, 3, rngs=rngs)
        self.five_in = ConvNorm(inputs, fewer, rngs=rngs)
        self.five = ConvNorm(fewer, five, 3, rngs=rngs)
        self.pooled = ConvNorm(inputs, pooled, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B height width D"]:
        """Features of the same size."""
        branches = (
            self.one(x),
            self.three(jax.nn.relu(self.three_in(x))),
            self.five(jax.nn.relu(self.five_in(x))),
            self.pooled(max_pool_3(x, stride=1, pads=(1, 1))),
        )
        return jax.nn.relu(jnp.concatenate(branches, axis=-1))


class InceptionV1(nnx.Module):
    """Convolutions 64, 64 and 192, then nine blocks in three stages; FC classes."""

    min_size = 32

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, rngs: nnx.Rngs
    ):
        narrow, wide = scaled(64, width), scaled(192, width)
        self.first = ConvNorm(image_shape[-1], narrow, 7, 2, rngs=rngs)
        self.second = ConvNorm(narrow, narrow, rngs=rngs)
        self.third = ConvNorm(narrow, wide, 3, rngs=rngs)
        inputs, stages = wide, []
        for blocks in BLOCKS:
            stage = []
            for channels in blocks:
                own = tuple(scaled(each, width) for each in channels)
                stage.append(Block(inputs, own, rngs))
                inputs = own[0] + own[2] + own[4] + own[5]
            stages.append(nnx.List(stage))
        self.stages = nnx.List(stages)
        self.head = nnx.Linear(inputs, classes, rngs=rngs)

    def __call__(
        self, x: Float[Array, "B height width C"], key: Array | None = None
    ) -> Float[Array, "B classes"]:
        """Logits of a batch of images. Without a ``key`` for dropout nothing is dropped."""
        x = max_pool_3(jax.nn.relu(self.first(x)))  # 224 → 112 → 56
        x = jax.nn.relu(self.third(jax.nn.relu(self.second(x))))
        for stage in self.stages:
            x = max_pool_3(x)  # 56 → 28 → 14 → 7
            for block in stage:
                x = block(x)
        return self.head(dropped(jnp.mean(x, axis=(1, 2)), DROPPED, key))
