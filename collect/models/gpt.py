"""GPT: a decoder-only transformer, normalised before each block (GPT-2: Radford et al., 2019).

Its output layer is the embedding. It has 124,439,808 parameters with 50,257 tokens, 12 layers, 12
heads, width 768 and a context of 1,024: GPT-2 small. It uses only matrix products, so that many
steps can run in one compiled program on a CPU too.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from collect.models.layers import dropped

SPREAD = 0.02
"""Standard deviation of the initial weights."""


class Attention(nnx.Module):
    """Causal self-attention of several heads.

    Args:
        width: The width of the model; a multiple of ``heads``.
        heads: How many heads there are.
        spread: Standard deviation of the output's initial weights.
        rngs: Draws the initial weights.
    """

    def __init__(self, width: int, heads: int, spread: float, rngs: nnx.Rngs):
        self.heads = heads
        self.qkv = linear(width, 3 * width, SPREAD, rngs)
        self.out = linear(width, width, spread, rngs)

    def __call__(self, x: Float[Array, "B T width"]) -> Float[Array, "B T width"]:
        """The attention of each place to itself and to the places before it, in the same shape."""
        batch, length, width = x.shape
        query, key, value = (  # heads before places: the products are faster on a CPU
            part.reshape(batch, length, self.heads, -1).swapaxes(1, 2)
            for part in jnp.split(at_each(self.qkv, x), 3, axis=-1)
        )
        scores = (query / math.sqrt(width // self.heads)) @ key.swapaxes(-1, -2)
        scores += jnp.where(jnp.tri(length, dtype=bool), 0, -jnp.inf)[None, None]
        largest = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
        shares = jnp.exp(scores - largest)
        # A softmax, whose division comes after the product, where the array is smaller.
        mixed = (shares @ value) / jnp.sum(shares, axis=-1, keepdims=True)
        return at_each(self.out, mixed.swapaxes(1, 2).reshape(x.shape))


class Block(nnx.Module):
    """Attention, then two fully connected layers, each normalised first and added to its input.

    Args:
        width: The width of the model.
        heads: How many heads the attention has.
        dropout: Share of each addition that is left out in training.
        spread: Standard deviation of the initial weights of the additions.
        rngs: Draws the initial weights.
    """

    def __init__(self, width: int, heads: int, dropout: float, spread: float, rngs: nnx.Rngs):
        self.dropout = dropout
        self.attention_norm = norm(width, rngs)
        self.attention = Attention(width, heads, spread, rngs)
        self.mlp_norm = norm(width, rngs)
        self.mlp_in = linear(width, 4 * width, SPREAD, rngs)
        self.mlp_out = linear(4 * width, width, spread, rngs)

    def __call__(
        self, x: Float[Array, "B T width"], key: Array | None
    ) -> Float[Array, "B T width"]:
        """The same shape; ``key`` is for dropout, and without a key there is none."""
        first, second = (None, None) if key is None else jax.random.split(key)
        x = x + dropped(self.attention(self.attention_norm(x)), self.dropout, first)
        hidden = jax.nn.gelu(at_each(self.mlp_in, self.mlp_norm(x)), approximate=True)
        return x + dropped(at_each(self.mlp_out, hidden), self.dropout, second)


class GPT(nnx.Module):
    """The model: embeddings, blocks, and the logits of each next token.

    Args:
        vocabulary: How many tokens there are.
        layers: How many blocks there are.
        heads: How many heads each attention has; they divide the width.
        width: The width of the model.
        context: The longest text that it reads, in tokens.
        dropout: Share of the embeddings and of each block's additions that is left out in training.
        rngs: Draws the initial weights.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        layers: int,
        heads: int,
        width: int,
        context: int,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        self.dropout = dropout
        drawn = jax.nn.initializers.normal(SPREAD)
        self.token_embedding = nnx.Embed(vocabulary, width, embedding_init=drawn, rngs=rngs)
        self.position_embedding = nnx.Embed(context, width, embedding_init=drawn, rngs=rngs)
        # GPT-2's spread, so that the sum of all additions keeps its size.
        spread = SPREAD / math.sqrt(2 * layers)
        self.blocks = nnx.List([Block(width, heads, dropout, spread, rngs) for _ in range(layers)])
        self.last_norm = norm(width, rngs)

    def __call__(
        self, tokens: Int[Array, "B T"], key: Array | None = None
    ) -> Float[Array, "B T vocabulary"]:
        """Logits of the token after each; ``key`` is for dropout, in training."""
        keys = (
            [None] * (len(self.blocks) + 1)
            if key is None
            else [*jax.random.split(key, len(self.blocks) + 1)]
        )
        positions = self.position_embedding.embedding[...][None, : tokens.shape[1]]
        x = dropped(self.token_embedding(tokens) + positions, self.dropout, keys[0])
        for block, own in zip(self.blocks, keys[1:], strict=True):
            x = block(x, own)
        return self.token_embedding.attend(self.last_norm(x))


def linear(inputs: int, outputs: int, spread: float, rngs: nnx.Rngs) -> nnx.Linear:
    """A fully connected layer with a bias of zeros."""
    return nnx.Linear(inputs, outputs, kernel_init=jax.nn.initializers.normal(spread), rngs=rngs)


def at_each(layer: nnx.Linear, x: Float[Array, "B T inputs"]) -> Float[Array, "B T outputs"]:
    """The layer at every place, as one product of matrices.

    With three axes XLA would transpose the gradients before it multiplies them.
    """
    return layer(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)


def norm(width: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """A normalisation with GPT-2's epsilon."""
    return nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)
