"""A ResNet for small images whose 3×3 kernels are generated (Ha, Dai and Le, ICLR 2017, §3.1).

As :mod:`collect.models.resnet`, with units of 16×16 channels from embeddings of 64, the paper's
sizes. Every convolution but the first has a generated kernel. Depth 20 has 85,802 parameters on
32×32×3 images with 10 classes; the plain ResNet has 269,722.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.hypernetwork import Generated, Hypernetwork
from collect.models.layers import conv, scaled
from collect.models.resnet import plan, shortcut


class HyperBlock(nnx.Module):
    """As :class:`collect.models.resnet.Block`, with both kernels given at every call."""

    def __init__(self, outputs: int, stride: int, *, rngs: nnx.Rngs):
        self.conv1 = Generated(outputs, stride)
        self.bn1 = nnx.BatchNorm(outputs, momentum=0.9, rngs=rngs)
        self.conv2 = Generated(outputs)
        self.bn2 = nnx.BatchNorm(outputs, momentum=0.9, rngs=rngs)

    def __call__(
        self,
        kernel1: Float[Array, "3 3 C D"],
        kernel2: Float[Array, "3 3 D D"],
        x: Float[Array, "B height width C"],
    ) -> Float[Array, "B h w D"]:
        """An image of the same size, or half of it with more channels."""
        y = jax.nn.relu(self.bn1(self.conv1(kernel1, x)))
        y = self.bn2(self.conv2(kernel2, y))
        return jax.nn.relu(shortcut(x, self.conv1.stride, y.shape[-1]) + y)


class HyperResNet(nnx.Module):
    """conv 16, three stages with 16, 32 and 64 channels, global average, FC."""

    min_size = 8

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        width: float = 1.0,
        depth: int = 20,
        rngs: nnx.Rngs,
    ):
        blocks = plan(depth, width)
        first, last = blocks[0][0], blocks[-1][1]
        self.stem = conv(image_shape[-1], first, (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.bn = nnx.BatchNorm(first, momentum=0.9, rngs=rngs)
        pairs = [pair for i, o, _ in blocks for pair in ((i, o), (o, o))]
        self.kernels = Hypernetwork(pairs, unit=first, size=scaled(64, width), rngs=rngs)
        self.blocks = nnx.List([HyperBlock(o, stride, rngs=rngs) for _, o, stride in blocks])
        self.head = nnx.Linear(last, classes, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        x = jax.nn.relu(self.bn(self.stem(x)))
        kernels = self.kernels()
        for block, kernel1, kernel2 in zip(self.blocks, kernels[::2], kernels[1::2], strict=True):
            x = block(kernel1, kernel2, x)
        return self.head(jnp.mean(x, axis=(1, 2)))
