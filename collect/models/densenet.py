"""DenseNet-BC (Huang et al., CVPR 2017), growth rate 12, compression 0.5, for small images.

Depth 6n + 4: three stages of n layers, as in the paper's §4 (CIFAR). Depth 121: stages of 6, 12, 24
and 16 layers, as in its Table 1, with this growth rate and stem, as in kuangliu/pytorch-cifar.
Parameters on 32×32×3 images with 10 classes: 769,162 (DenseNet-BC-100), 1,000,618 (121). ``width``
scales the growth rate.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import conv, mean_pool, scaled
from nowcast.types import UserError


class NormConv(nnx.Module):
    """BatchNorm, ReLU, then a convolution without bias."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, rngs: nnx.Rngs):
        self.bn = nnx.BatchNorm(inputs, momentum=0.9, rngs=rngs)
        self.conv = conv(
            inputs, outputs, (kernel, kernel), padding=kernel // 2, use_bias=False, rngs=rngs
        )

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B height width D"]:
        """An image of the same size."""
        return self.conv(jax.nn.relu(self.bn(x)))


class Layer(nnx.Module):
    """1×1 bottleneck to four times the growth rate, 3×3 convolution; its output joins its input."""

    def __init__(self, inputs: int, growth: int, *, rngs: nnx.Rngs):
        self.bottleneck = NormConv(inputs, 4 * growth, 1, rngs=rngs)
        self.grow = NormConv(4 * growth, growth, 3, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B height width D"]:
        """The input's channels plus as many as the growth rate."""
        return jnp.concatenate([x, self.grow(self.bottleneck(x))], axis=-1)


class Transition(nnx.Module):
    """Half of the channels (1×1 convolution) and half of the size (average-pooling)."""

    def __init__(self, inputs: int, *, rngs: nnx.Rngs):
        self.compress = NormConv(inputs, inputs // 2, 1, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B h w D"]:
        """Half of the channels, height and width."""
        return mean_pool(self.compress(x))


class DenseNet(nnx.Module):
    """conv 24, stages of dense layers with transitions between, BatchNorm, global average, FC."""

    min_size = 16

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        width: float = 1.0,
        depth: int = 100,
        rngs: nnx.Rngs,
    ):
        if depth != 121 and (depth < 10 or (depth - 4) % 6):
            raise UserError(
                f"model.depth={depth}: a densenet has depth 6n + 4: 10, 16, 22, 40, 100, …; or 121"
            )
        counts = (6, 12, 24, 16) if depth == 121 else ((depth - 4) // 6,) * 3
        growth = scaled(12, width)
        channels = 2 * growth
        self.stem = conv(image_shape[-1], channels, (3, 3), padding=1, use_bias=False, rngs=rngs)
        layers: list[Any] = []
        for stage, count in enumerate(counts):
            if stage:
                layers.append(Transition(channels, rngs=rngs))
                channels //= 2
            for _ in range(count):
                layers.append(Layer(channels, growth, rngs=rngs))
                channels += growth
        self.layers = nnx.List(layers)
        self.bn = nnx.BatchNorm(channels, momentum=0.9, rngs=rngs)
        self.head = nnx.Linear(channels, classes, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)  # 32 → 16 → 8, and 4 with four stages
        return self.head(jnp.mean(jax.nn.relu(self.bn(x)), axis=(1, 2)))
