"""ResNet-18 (He et al., CVPR 2016, Table 1), for small images.

It has projection shortcuts (option B): 11,173,962 parameters on 32×32×3 images with 10 classes, as
in kuangliu/pytorch-cifar. Departure from the paper, as there: the stem is a 3×3 convolution with
stride 1, with no max-pooling after it.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import ConvNorm, scaled


class Block(nnx.Module):
    """Two 3×3 convolutions with BatchNorm, and a shortcut around them.

    The shortcut is a 1×1 convolution where the size changes.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, rngs: nnx.Rngs):
        self.conv1 = ConvNorm(inputs, outputs, 3, stride, rngs=rngs)
        self.conv2 = ConvNorm(outputs, outputs, 3, rngs=rngs)
        self.project = stride > 1 or inputs != outputs
        if self.project:
            self.shortcut = ConvNorm(inputs, outputs, 1, stride, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B h w D"]:
        """An image of the same size, or half of it with more channels."""
        y = self.conv2(jax.nn.relu(self.conv1(x)))
        return jax.nn.relu(y + (self.shortcut(x) if self.project else x))


class ResNet18(nnx.Module):
    """conv 64, four stages of two blocks with 64 to 512 channels, global average, FC."""

    min_size = 16

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, rngs: nnx.Rngs
    ):
        inputs = scaled(64, width)
        self.stem = ConvNorm(image_shape[-1], inputs, 3, rngs=rngs)
        blocks = []
        for stage, channels in enumerate((64, 128, 256, 512)):
            outputs = scaled(channels, width)
            blocks += [
                Block(inputs, outputs, 2 if stage else 1, rngs=rngs),
                Block(outputs, outputs, 1, rngs=rngs),
            ]
            inputs = outputs
        self.blocks = nnx.List(blocks)
        self.head = nnx.Linear(inputs, classes, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        x = jax.nn.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)  # 32 → 32 → 16 → 8 → 4
        return self.head(jnp.mean(x, axis=(1, 2)))
