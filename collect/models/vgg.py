"""VGG (Simonyan & Zisserman, ICLR 2015) for small images.

The layout is that of kuangliu/pytorch-cifar. Parameters on 32×32×3 images with 10 classes:
9,231,114 (VGG-11), 9,416,010 (13), 14,728,266 (16), 20,040,522 (19). Convolutions have a bias, as
there, though BatchNorm follows: its true gradient is zero. Departures from the paper: BatchNorm
after each convolution, and one FC layer in place of three with dropout.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import ConvNorm, max_pool, scaled
from nowcast.types import UserError

STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions of each stage, by depth."""


class VGG(nnx.Module):
    """Five stages of 3×3 convolutions with 64 to 512 channels, each max-pooled; FC classes."""

    min_size = 32

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        width: float = 1.0,
        depth: int = 16,
        rngs: nnx.Rngs,
    ):
        if depth not in STAGES:
            raise UserError(f"model.depth={depth}: a vgg has depth {', '.join(map(str, STAGES))}")
        inputs, stages = image_shape[-1], []
        for convs, channels in zip(STAGES[depth], (64, 128, 256, 512, 512), strict=True):
            stage = []
            for _ in range(convs):
                stage.append(ConvNorm(inputs, scaled(channels, width), 3, use_bias=True, rngs=rngs))
                inputs = scaled(channels, width)
            stages.append(nnx.List(stage))
        self.stages = nnx.List(stages)
        self.head = nnx.Linear(inputs, classes, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        for stage in self.stages:
            for layer in stage:
                x = jax.nn.relu(layer(x))
            x = max_pool(x)  # 32 → 16 → 8 → 4 → 2 → 1
        return self.head(jnp.mean(x, axis=(1, 2)))  # of one pixel, unless images are larger
