"""ResNets for small images (He et al., CVPR 2016, §4.2), with option A's shortcuts.

Those have no parameters. Depth 6n + 2: three stages of n blocks with 16, 32 and 64 channels.
Parameters on 32×32×3 images with 10 classes: 269,722 (ResNet-20), 464,154 (32), 658,586 (44),
853,018 (56). Convolutions have no bias: BatchNorm follows each.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import conv, scaled
from nowcast.types import UserError


class Block(nnx.Module):
    """Two 3×3 convolutions with BatchNorm, and a shortcut around them."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, rngs: nnx.Rngs):
        self.stride, self.outputs = stride, outputs
        self.conv1 = conv(
            inputs, outputs, (3, 3), strides=stride, padding=1, use_bias=False, rngs=rngs
        )
        self.bn1 = nnx.BatchNorm(outputs, momentum=0.9, rngs=rngs)
        self.conv2 = conv(outputs, outputs, (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.bn2 = nnx.BatchNorm(outputs, momentum=0.9, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B h w D"]:
        """An image of the same size, or half of it with more channels."""
        y = jax.nn.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return jax.nn.relu(shortcut(x, self.stride, self.outputs) + y)


def shortcut(
    x: Float[Array, "B height width C"], stride: int, outputs: int
) -> Float[Array, "B h w D"]:
    """The paper's option A: every ``stride``-th pixel, and zeros for the new channels."""
    grow = outputs - x.shape[-1]
    if stride == 1 and not grow:
        return x
    return jnp.pad(
        x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (grow // 2, grow - grow // 2))
    )


def plan(depth: int, width: float) -> list[tuple[int, int, int]]:
    """``(input channels, output channels, stride)`` of each block, first to last.

    Raises:
        UserError: A depth that is not 6n + 2.

    Examples:
        >>> plan(8, 1.0)
        [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
    """
    if depth < 8 or (depth - 2) % 6:
        raise UserError(f"model.depth={depth}: a resnet has depth 6n + 2: 8, 14, 20, 32, 44, 56, …")
    blocks, inputs = [], scaled(16, width)
    for stage, channels in enumerate((16, 32, 64)):
        for i in range((depth - 2) // 6):
            blocks.append((inputs, scaled(channels, width), 2 if stage and not i else 1))
            inputs = scaled(channels, width)
    return blocks


class ResNet(nnx.Module):
    """conv 16, three stages, global average, FC."""

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
        self.blocks = nnx.List([Block(*block, rngs=rngs) for block in blocks])
        self.head = nnx.Linear(last, classes, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        x = jax.nn.relu(self.bn(self.stem(x)))
        for block in self.blocks:
            x = block(x)  # 32 → 32 → 16 → 8
        return self.head(jnp.mean(x, axis=(1, 2)))
