"""Gram: forecast a leaf as a mix of its own increments, which a small network chooses.

The network reads the increments' Gram matrix. Five snapshots of one weight are mostly noise. But
all weights of a leaf (a layer's kernel, say) move under the same step size, schedule and noise, and
the inner products of their increments ``dᵢ`` show well what the increments do: how fast the weights
go, whether increments persist, cancel or turn back, whether the rate decays. So for a leaf of any
size ::

    G_ij = ⟨dᵢ, dⱼ⟩                 (W−1) × (W−1): what one pass over the leaf finds
    x̂(t + h) = x(t) + Σᵢ c_h,i · dᵢ       c_h = c_h−1 + network(G)_h,  c_0 = 0

The network sees the logarithm of each increment's length beside the mean one, and the cosines
between them: nothing changes with the scale, order or sign of the weights, or with a rotation of
them. It has two layers of 32 SiLU units and a coefficient for each increment and each of the
horizons 1, 2, …, H. Where no mix helps, its best answer is ``c = 0``, to keep still; ``c > 0`` goes
on, ``c < 0`` goes back, towards the average of the window.

Meta-training needs no weights, only inner products, since the squared error of a forecast ``c`` of
the displacement ``y`` is ``⟨y, y⟩ − 2 Σ cᵢ ⟨dᵢ, y⟩ + Σ cᵢ cⱼ G_ij`` (:mod:`meta_train.leaves`). For
W = 5 a forecast takes 14 multiplications a weight: ten products for the matrix, four for the mix.
The WNN's takes some 7,500.

It is of this project's own design. The autoregressive forecaster
(:mod:`nowcast.forecasters.autoregressive`) is its control without learning.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jaxtyping import Array, Float, PRNGKeyArray

from nowcast.forecasters.base import Horizon
from nowcast.forecasters.learned import Learned, dense
from nowcast.gram_matrix import gram_matrix
from nowcast.split import parts_of, total
from nowcast.types import PyTree

UNITS = 32
TINY = 1e-4
"""Increments shorter than this share of the mean count as this long: the rest is rounding."""


def features(gram: Float[Array, "*batch D D"]) -> Float[Array, "*batch I"]:
    """The network's inputs: D logarithms of lengths, and D·(D−1)/2 cosines, doubled.

    Lengths are relative to the mean length.
    """
    count = gram.shape[-1]
    squares = jnp.diagonal(gram, axis1=-2, axis2=-1)
    mean = jnp.mean(squares, axis=-1, keepdims=True)
    lengths = jnp.sqrt(squares / jnp.where(mean > 0, mean, 1)) + TINY
    cosines = (
        gram
        / jnp.where(mean > 0, mean, 1)[..., None]
        / (lengths[..., :, None] * lengths[..., None, :])
    )
    above = jnp.triu_indices(count, 1)
    return jnp.concatenate([jnp.log(lengths), 2 * cosines[..., above[0], above[1]]], axis=-1)


def init_network(key: PRNGKeyArray, window: int, outputs: int) -> PyTree:
    """Fresh parameters of one network, whose first answer is to stay."""
    moved = window - 1
    shapes = {
        "first": (moved * (moved + 1) // 2, UNITS),
        "second": (UNITS, UNITS),
        "coefficients": (UNITS, outputs * moved),
    }
    keys = dict(zip(shapes, jax.random.split(key, len(shapes)), strict=True))
    kernels = {
        name: initializers.lecun_normal()(keys[name], shape) for name, shape in shapes.items()
    }
    kernels["coefficients"] = jnp.zeros_like(kernels["coefficients"])
    return {
        name: {"kernel": kernel, "bias": jnp.zeros(kernel.shape[-1])}
        for name, kernel in kernels.items()
    }


def coefficients(params: PyTree, gram: Float[Array, "N D D"]) -> Float[Array, "N outputs D"]:
    """How much of each increment a forecast takes, for every horizon."""
    hidden = jax.nn.silu(
        dense(params["second"], jax.nn.silu(dense(params["first"], features(gram))))
    )
    steps = dense(params["coefficients"], hidden).reshape(len(gram), -1, gram.shape[-1])
    return jnp.cumsum(steps, axis=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Gram(Learned):
    """A meta-trained forecaster of whole leaves, with several horizons."""

    name: ClassVar[str] = "gram"
    elementwise: ClassVar[bool] = False
    leaves: ClassVar[bool] = True
    many: ClassVar[bool] = True
    horizon: int = 10
    longest: int | None = 40
    init_network = staticmethod(init_network)

    def leaf(
        self, history: Float[Array, "W *shape"], operation: str, horizon: Horizon
    ) -> Float[Array, "*shape"]:
        """Forecast one leaf, all of it at once, with the network of its operation."""
        last = history[-1]
        moved = [after - before for before, after in pairwise(history)]
        gram = total(gram_matrix(moved), last, self.name) / (last.size * parts_of(last, self.name))
        params = jax.tree.map(
            lambda p: p.astype(gram.dtype), self.params[self.network_of(operation) or ""]
        )
        mix = coefficients(params, gram[None])[0]
        chosen = mix[jnp.clip(horizon, 1, self.longest) - 1]
        return sum((weight * step for weight, step in zip(chosen, moved, strict=True)), start=last)
