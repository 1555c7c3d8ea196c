"""Pyramid vision transformer, version 2, size B0 (Wang et al., Computational Visual Media 2022).

3,666,760 parameters with 1,000 classes, as the authors' program has, and 3,435,460 with 100. As
there: overlapping patches, attention whose keys and values are shrunk by a strided convolution, a
3×3 depthwise convolution in each feed-forward layer, LayerNorm of 1e-6, and of 1e-5 behind the
convolutions that make patches or shrink. Departure: no stochastic depth. ``width`` scales the size
of a head, so that the number of heads stays. :mod:`collect.models.pvt_v2_weights` reads the public
weights.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import conv, scaled

STAGES = ((1, 8, 8), (2, 8, 4), (5, 4, 2), (8, 4, 1))
"""Heads, the factor of the feed-forward layer, and the stride that shrinks keys and values."""
HEAD = 32
"""The size of an attention head."""
BLOCKS = 2
"""Blocks in each stage."""

_normal = nnx.initializers.truncated_normal(0.02)
_he = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")


def _linear(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(inputs, outputs, kernel_init=_normal, rngs=rngs)


def _norm(size: int, rngs: nnx.Rngs, epsilon: float = 1e-6) -> nnx.LayerNorm:
    return nnx.LayerNorm(size, epsilon=epsilon, rngs=rngs)


class Patches(nnx.Module):
    """Overlapping patches: a strided convolution, then LayerNorm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, *, rngs: nnx.Rngs):
        self.conv = conv(
            inputs,
            outputs,
            (kernel, kernel),
            strides=stride,
            padding=kernel // 2,
            kernel_init=_he,
            rngs=rngs,
        )
        self.norm = _norm(outputs, rngs, 1e-5)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B h w D"]:
        """A token for each patch."""
        return self.norm(self.conv(x))


class Attention(nnx.Module):
    """Attention of every token to all, whose keys and values come from a smaller image."""

    def __init__(self, size: int, heads: int, shrink: int, *, rngs: nnx.Rngs):
        self.heads, self.shrinks = heads, shrink > 1
        self.query = _linear(size, size, rngs)
        self.key_value = _linear(size, 2 * size, rngs)
        self.out = _linear(size, size, rngs)
        if self.shrinks:
            self.shrink = conv(
                size,
                size,
                (shrink, shrink),
                strides=shrink,
                padding="VALID",
                kernel_init=_he,
                rngs=rngs,
            )
            self.norm = _norm(size, rngs, 1e-5)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B height width C"]:
        """What every token reads."""
        small = self.norm(self.shrink(x)) if self.shrinks else x
        tokens = (x.shape[0], -1, self.heads, x.shape[-1] // self.heads)
        query = self.query(x).reshape(tokens)
        key, value = (part.reshape(tokens) for part in jnp.split(self.key_value(small), 2, -1))
        return self.out(jax.nn.dot_product_attention(query, key, value).reshape(x.shape))


class FeedForward(nnx.Module):
    """Two fully connected layers, with a depthwise convolution before the GELU between them."""

    def __init__(self, size: int, hidden: int, *, rngs: nnx.Rngs):
        self.fc1 = _linear(size, hidden, rngs)
        self.depthwise = conv(
            hidden,
            hidden,
            (3, 3),
            padding=1,
            feature_group_count=hidden,
            kernel_init=_he,
            rngs=rngs,
        )
        self.fc2 = _linear(hidden, size, rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B height width C"]:
        """The image, token by token and from neighbour to neighbour."""
        return self.fc2(jax.nn.gelu(self.depthwise(self.fc1(x)), approximate=False))


class Block(nnx.Module):
    """Attention and a feed-forward layer, each behind LayerNorm and beside a shortcut."""

    def __init__(self, size: int, heads: int, factor: int, shrink: int, *, rngs: nnx.Rngs):
        self.norm1, self.norm2 = _norm(size, rngs), _norm(size, rngs)
        self.attention = Attention(size, heads, shrink, rngs=rngs)
        self.mlp = FeedForward(size, factor * size, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B height width C"]:
        """An image of the same size."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Stage(nnx.Module):
    """Patches of the stage before, blocks, and LayerNorm."""

    def __init__(
        self, patches: Patches, size: int, heads: int, factor: int, shrink: int, *, rngs: nnx.Rngs
    ):
        self.patches = patches
        self.blocks = nnx.List(Block(size, heads, factor, shrink, rngs=rngs) for _ in range(BLOCKS))
        self.norm = _norm(size, rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B h w D"]:
        """An image of a quarter of the height, in the first stage, and of half in the others."""
        x = self.patches(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class PVTv2(nnx.Module):
    """Four stages of tokens at 1/4, 1/8, 1/16 and 1/32 of the image's height, mean, FC."""

    min_size = 64  # in smaller images some attention has a single key, and its queries do nothing

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, rngs: nnx.Rngs
    ):
        inputs, head = image_shape[-1], scaled(HEAD, width)
        stages: list[Stage] = []
        for heads, factor, shrink in STAGES:
            size = heads * head
            kernel, stride = (3, 2) if stages else (7, 4)
            patches = Patches(inputs, size, kernel, stride, rngs=rngs)
            stages.append(Stage(patches, size, heads, factor, shrink, rngs=rngs))
            inputs = size
        self.stages = nnx.List(stages)
        self.head = _linear(inputs, classes, rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        for stage in self.stages:
            x = stage(x)
        return self.head(jnp.mean(x, axis=(1, 2)))
