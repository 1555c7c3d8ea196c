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
from collect.models.resnet import check_depth, shortcut


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
        check_depth(depth)
        sizes = [scaled(n, width) for n in (16, 32, 64)]
        self.stem = conv(image_shape[-1], sizes[0], (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.bn = nnx.BatchNorm(sizes[0], momentum=0.9, rngs=rngs)
        outputs = [size for size in sizes for _ in range((depth - 2) // 6)]
        inputs = [sizes[0], *outputs[:-1]]
        pairs = [pair for i, o in zip(inputs, outputs, strict=True) for pair in ((i, o), (o, o))]
        self.kernels = Hypernetwork(pairs, unit=sizes[0], size=scaled(64, width), rngs=rngs)
        self.norms = nnx.List([nnx.BatchNorm(o, momentum=0.9, rngs=rngs) for _, o in pairs])
        blocks = (depth - 2) // 6
        strides = [2 if i in (blocks, 2 * blocks) else 1 for i in range(3 * blocks)]
        self.convs = nnx.List(
            [
                Generated(size, stride)
                for size, first in zip(outputs, strides, strict=True)
                for stride in (first, 1)
            ]
        )
        self.head = nnx.Linear(sizes[-1], classes, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        x = jax.nn.relu(self.bn(self.stem(x)))
        layers = list(zip(self.convs, self.kernels(), self.norms, strict=True))
        for one, two in zip(layers[::2], layers[1::2], strict=True):
            (conv1, kernel1, bn1), (conv2, kernel2, bn2) = one, two
            y = jax.nn.relu(bn1(conv1(kernel1, x)))
            y = bn2(conv2(kernel2, y))
            x = jax.nn.relu(shortcut(x, conv1.stride, y.shape[-1]) + y)
        return self.head(jnp.mean(x, axis=(1, 2)))
