"""A small Vision Transformer (Dosovitskiy et al., ICLR 2021) for small images, in the spirit of DeiT-Tiny scaled down.

Patches of a quarter of the image's side in each direction (16 tokens), 64 channels, 4 heads, pre-norm blocks, and the mean
of the tokens instead of a class token.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import scaled

HEADS, PATCHES = 4, 4


class Block(nnx.Module):
    """Self-attention and a two-layer MLP, each behind LayerNorm and with a shortcut."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.norm1 = nnx.LayerNorm(channels, rngs=rngs)
        self.qkv = nnx.Linear(channels, 3 * channels, rngs=rngs)
        self.out = nnx.Linear(channels, channels, rngs=rngs)
        self.norm2 = nnx.LayerNorm(channels, rngs=rngs)
        self.up = nnx.Linear(channels, 2 * channels, rngs=rngs)
        self.down = nnx.Linear(2 * channels, channels, rngs=rngs)

    def __call__(self, x: Float[Array, "B tokens C"]) -> Float[Array, "B tokens C"]:
        """Same shape."""
        heads = self.qkv(self.norm1(x)).reshape(*x.shape[:2], 3, HEADS, -1)
        q, k, v = heads[:, :, 0], heads[:, :, 1], heads[:, :, 2]
        x = x + self.out(jax.nn.dot_product_attention(q, k, v).reshape(x.shape))
        return x + self.down(jax.nn.gelu(self.up(self.norm2(x))))


class ViT(nnx.Module):
    """Patches, positions, ``depth`` blocks, LayerNorm, mean over tokens, FC."""

    min_size = 8

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, depth: int = 2, rngs: nnx.Rngs
    ):
        height, breadth, colours = image_shape
        self.patch = (height // PATCHES, breadth // PATCHES)
        channels = HEADS * scaled(16, width)
        self.embed = nnx.Linear(self.patch[0] * self.patch[1] * colours, channels, rngs=rngs)
        self.positions = nnx.Embed(PATCHES * PATCHES, channels, rngs=rngs)
        self.blocks = nnx.List([Block(channels, rngs=rngs) for _ in range(depth)])
        self.norm = nnx.LayerNorm(channels, rngs=rngs)
        self.head = nnx.Linear(channels, classes, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        h, w = self.patch
        x = x[:, : h * PATCHES, : w * PATCHES].reshape(len(x), PATCHES, h, PATCHES, w, -1)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(len(x), PATCHES * PATCHES, -1)
        x = self.embed(x) + self.positions.embedding[...][None]
        for block in self.blocks:
            x = block(x)
        return self.head(jnp.mean(self.norm(x), axis=1))
