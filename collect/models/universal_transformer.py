"""Universal transformer: one block, passed several times, until each place halts.

The architecture is by Dehghani et al., "Universal Transformers", ICLR 2019 (arXiv:1807.03819), its
halting by Graves, "Adaptive Computation Time for Recurrent Neural Networks", 2016
(arXiv:1603.08983). Wiring, first weights and numbers are those of the public program
github.com/kpot/keras-transformer (``keras_transformer``, ``example/models.py``), read both ways as
its BERT. Departures from that program:

- The last pass gets what is left of the halting probability (Graves, §2.1). There, a place that
  has not halted after the last pass loses that share.
- There are no segments and no second head: nothing predicts whether two sentences follow each
  other.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from collect.models.gpt import at_each, norm
from collect.models.layers import dropped

HALTS = 0.99
"""The halting probability at which a place halts: Graves' 1 − ε, with the program's ε of 0.01."""
FIRST_CHANCE = 0.1
"""The initial bias of the halting unit."""


class Attention(nnx.Module):
    """Self-attention of several heads to all places, without biases.

    Args:
        width: The width of the model; a multiple of ``heads``.
        heads: How many heads there are.
        dropout: Share of the attention weights that is left out in training.
        rngs: Draws the initial weights.
    """

    def __init__(self, width: int, heads: int, dropout: float, rngs: nnx.Rngs):
        self.heads, self.dropout = heads, dropout
        self.qkv = _linear(width, 3 * width, rngs, use_bias=False)
        self.out = _linear(width, width, rngs, use_bias=False)

    def __call__(
        self, x: Float[Array, "B T width"], key: Array | None
    ) -> Float[Array, "B T width"]:
        """The same shape; ``key`` is for dropout, and without a key there is none."""
        batch, length, width = x.shape
        query, key_, value = (  # heads before places: the products are faster on a CPU
            part.reshape(batch, length, self.heads, -1).swapaxes(1, 2)
            for part in jnp.split(at_each(self.qkv, x), 3, axis=-1)
        )
        scores = (query / math.sqrt(width // self.heads)) @ key_.swapaxes(-1, -2)
        mixed = dropped(jax.nn.softmax(scores, axis=-1), self.dropout, key) @ value
        return at_each(self.out, mixed.swapaxes(1, 2).reshape(x.shape))


class Block(nnx.Module):
    """Attention, then two fully connected layers; each is added to its input, then normalised.

    Dropout comes after the addition, as in Figure 4 of the paper.

    Args:
        width: The width of the model.
        heads: How many heads the attention has.
        dropout: Share of each sum, and of the attention weights, that is left out in training.
        rngs: Draws the initial weights.
    """

    def __init__(self, width: int, heads: int, dropout: float, rngs: nnx.Rngs):
        self.dropout = dropout
        self.attention = Attention(width, heads, dropout, rngs)
        self.attention_norm = norm(width, rngs)
        self.mlp_in = _linear(width, 4 * width, rngs)
        self.mlp_out = _linear(4 * width, width, rngs)
        self.mlp_norm = norm(width, rngs)

    def __call__(
        self, x: Float[Array, "B T width"], key: Array | None
    ) -> Float[Array, "B T width"]:
        """The same shape; ``key`` is for dropout, and without a key there is none."""
        inside, first, second = (None,) * 3 if key is None else jax.random.split(key, 3)
        x = self.attention_norm(dropped(x + self.attention(x, inside), self.dropout, first))
        hidden = jax.nn.gelu(at_each(self.mlp_in, x), approximate=True)
        return self.mlp_norm(dropped(x + at_each(self.mlp_out, hidden), self.dropout, second))


class UniversalTransformer(nnx.Module):
    """The model: embeddings, one block with halting, and logits of the token at each place.

    The output layer is a projection and the embedding. Positions and passes have trained
    embeddings, which are added before each pass.

    Args:
        vocabulary: How many tokens there are, with the one that masks.
        passes: How often the block is passed at most.
        heads: How many heads the attention has; they divide the width.
        width: The width of the model.
        context: Tokens of a text.
        dropout: Share that is left out within the block in training.
        embedding_dropout: Share of the projection, before the embedding, left out in training.
        rngs: Draws the initial weights.

    Examples:
        >>> sizes = {"passes": 5, "heads": 2, "width": 8, "context": 6}
        >>> model = UniversalTransformer(11, **sizes, rngs=nnx.Rngs(0))
        >>> logits, cost = model(jnp.ones((3, 6), jnp.int32))
        >>> print(logits.shape, cost.shape)
        (3, 6, 11) (3, 6)
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        passes: int,
        heads: int,
        width: int,
        context: int,
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        self.passes, self.embedding_dropout = passes, embedding_dropout
        self.token_embedding = _embedding(vocabulary, width, rngs)
        self.position_embedding = _embedding(context, width, rngs)
        self.pass_embedding = _embedding(passes, width, rngs)
        self.block = Block(width, heads, dropout, rngs)
        self.halting = nnx.Linear(
            width,
            1,
            kernel_init=nnx.initializers.glorot_uniform(),
            bias_init=nnx.initializers.constant(FIRST_CHANCE),
            rngs=rngs,
        )
        self.projection = _linear(width, width, rngs, use_bias=False)

    def __call__(
        self, tokens: Int[Array, "B T"], key: Array | None = None
    ) -> tuple[Float[Array, "B T vocabulary"], Float[Array, "B T"]]:
        """Logits of the token at each place, and the ponder cost of each place.

        ``key`` is for dropout, in training. A pass that no place needs is left out.
        """
        keys = [None] * (self.passes + 1)
        if key is not None:
            keys = [*jax.random.split(key, self.passes + 1)]
        x = self.token_embedding(tokens)
        result, spent, cost = jnp.zeros_like(x), jnp.zeros(x.shape[:2]), jnp.zeros(x.shape[:2])
        positions = self.position_embedding.embedding[...][None, : tokens.shape[1]]
        depths = self.pass_embedding.embedding[...]
        definition, weights = nnx.split(self.block)
        for number in range(self.passes):
            x = jax.lax.cond(
                jnp.any(spent < HALTS),
                lambda x, weights, number=number: nnx.merge(definition, weights)(
                    x + positions + depths[number][None, None], keys[number]
                ),
                lambda x, weights: x,
                x,
                weights,
            )
            chance = jax.nn.sigmoid(at_each(self.halting, x)[..., 0])
            share, own, spent = halt(spent, chance, last=number == self.passes - 1)
            result, cost = result + share[..., None] * x, cost + own
        projected = dropped(at_each(self.projection, result), self.embedding_dropout, keys[-1])
        return self.token_embedding.attend(projected), cost


def halt(
    spent: Float[Array, "*shape"], chance: Float[Array, "*shape"], *, last: bool
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"], Float[Array, "*shape"]]:
    """One pass of adaptive computation time (Graves, 2016, equations 4 to 7 and 12).

    Args:
        spent: The sum of the halting probabilities of the passes before, 0 before the first.
        chance: The halting unit's value after this pass, from 0 to 1.
        last: Whether no pass can follow: what is left then goes to this one.

    Returns:
        ``(share, cost, spent)``: the weight of this pass's state in the result, 0 after a place has
        halted; what the pass adds to the ponder cost (1, and the remainder where a place halts);
        and the new sum. The shares of all passes add up to 1.

    Examples:
        >>> import jax.numpy as jnp
        >>> spent = jnp.zeros(())
        >>> for number in range(3):
        ...     share, cost, spent = halt(spent, jnp.asarray(0.75), last=number == 2)
        ...     print(share, cost)
        0.75 1.0
        0.25 1.25
        0.0 0.0
    """
    runs = spent < HALTS
    halts = runs & (last | (spent + chance >= HALTS))
    remainder = jnp.where(halts, 1 - spent, 0)
    share = jnp.where(halts, remainder, jnp.where(runs, chance, 0))
    return share, jnp.where(runs, 1, 0) + remainder, jnp.where(runs, spent + chance, spent)


def _linear(inputs: int, outputs: int, rngs: nnx.Rngs, *, use_bias: bool = True) -> nnx.Linear:
    """A layer with Keras's first weights: Glorot's uniform kernel, a bias of zeros."""
    drawn = nnx.initializers.glorot_uniform()
    return nnx.Linear(inputs, outputs, use_bias=use_bias, kernel_init=drawn, rngs=rngs)


def _embedding(count: int, width: int, rngs: nnx.Rngs) -> nnx.Embed:
    """An embedding with Keras's first weights, evenly from −0.05 to 0.05."""

    def drawn(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -0.05, 0.05)

    return nnx.Embed(count, width, embedding_init=drawn, rngs=rngs)
