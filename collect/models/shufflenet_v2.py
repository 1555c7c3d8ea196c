"""ShuffleNetV2 (Ma et al., ECCV 2018, Table 5) with a stem for small images.

Parameters on 32×32×3 images with 10 classes: 1,263,854, and 352,042 with ``width=0.5``, as in
kuangliu/pytorch-cifar. Departures from the paper, as there: the stem has stride 1 and no
max-pooling, and all units of a stage split their channels half and half. Widths of 0.5, 1, 1.5 and
2 have the paper's channels; any other scales those of 1.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import ConvNorm, scaled

CHANNELS = {
    0.5: (24, 48, 96, 192, 1024),
    1.0: (24, 116, 232, 464, 1024),
    1.5: (24, 176, 352, 704, 1024),
    2.0: (24, 244, 488, 976, 2048),
}
"""The channels of the stem, the three stages and the last convolution, by width."""


class Unit(nnx.Module):
    """Half of the channels pass, the others are convolved; then a shuffle.

    The convolutions are 1×1, 3×3 depthwise and 1×1.
    """

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.half = channels // 2
        self.conv1 = ConvNorm(self.half, self.half, rngs=rngs)
        self.depthwise = ConvNorm(self.half, self.half, 3, depthwise=True, rngs=rngs)
        self.conv2 = ConvNorm(self.half, self.half, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B height width C"]:
        """An image of the same size."""
        y = jax.nn.relu(self.conv1(x[..., self.half :]))
        y = jax.nn.relu(self.conv2(self.depthwise(y)))
        return shuffle(x[..., : self.half], y)


class DownUnit(nnx.Module):
    """All channels go through two branches with stride 2; then a shuffle."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        half = outputs // 2
        self.left_depthwise = ConvNorm(inputs, inputs, 3, 2, depthwise=True, rngs=rngs)
        self.left_conv = ConvNorm(inputs, half, rngs=rngs)
        self.conv1 = ConvNorm(inputs, half, rngs=rngs)
        self.depthwise = ConvNorm(half, half, 3, 2, depthwise=True, rngs=rngs)
        self.conv2 = ConvNorm(half, half, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B h w D"]:
        """An image of half the size."""
        left = jax.nn.relu(self.left_conv(self.left_depthwise(x)))
        right = jax.nn.relu(self.conv1(x))
        right = jax.nn.relu(self.conv2(self.depthwise(right)))
        return shuffle(left, right)


def shuffle(
    left: Float[Array, "B height width C"], right: Float[Array, "B height width C"]
) -> Float[Array, "B height width D"]:
    """The channels of both, taken in turns: a channel shuffle with two groups."""
    return jnp.stack([left, right], axis=-1).reshape(*left.shape[:-1], -1)


class ShuffleNetV2(nnx.Module):
    """conv 24, three stages of 4, 8 and 4 units; 1×1 conv, global average, FC.

    The first unit of each stage has stride 2.
    """

    min_size = 16

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, rngs: nnx.Rngs
    ):
        stem, *stages, last = CHANNELS.get(width) or [scaled(n, width) for n in CHANNELS[1.0]]
        self.stem = ConvNorm(image_shape[-1], stem, 3, rngs=rngs)
        inputs, units = stem, list[Unit | DownUnit]()
        for channels, count in zip(stages, (4, 8, 4), strict=True):
            outputs = max(2, channels // 2 * 2)  # it is split in halves
            units.append(DownUnit(inputs, outputs, rngs=rngs))
            units += [Unit(outputs, rngs=rngs) for _ in range(count - 1)]
            inputs = outputs
        self.units = nnx.List(units)
        self.last = ConvNorm(inputs, last, rngs=rngs)
        self.head = nnx.Linear(last, classes, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        x = jax.nn.relu(self.stem(x))
        for unit in self.units:
            x = unit(x)  # 32 → 16 → 8 → 4
        x = jax.nn.relu(self.last(x))
        return self.head(jnp.mean(x, axis=(1, 2)))
