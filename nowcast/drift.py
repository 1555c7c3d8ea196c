"""Drift: which share of a run's recent movement went one way instead of there and back."""

from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nowcast.arrays import wide
from nowcast.gram_matrix import gram_matrix
from nowcast.history import History, absent
from nowcast.split import total
from nowcast.types import PyTree

APART = 2
"""Increments closer than this are alike without drift: the optimizer's momentum is in both."""

SHORTEST = APART + 2
"""The shortest window that has two increments this far apart."""


def drift(size: int, history: History, newest: PyTree) -> Float[Array, ""]:
    """The mean cosine between a window's increments that are two or more snapshots apart.

    The mean is over all weights that jump. Increments with a common movement μ and independent
    noise σ have μ²/(μ² + σ²): 1 where a run goes straight on, about 0 where it goes to and fro. The
    drift costs an inner product for each pair of increments. (Where weights are in half precision,
    and move by no more than their last digit, rounding is noise too.)

    Args:
        size: Snapshots in the window, ``newest`` among them; at least :data:`SHORTEST`.
        history: Those before.
        newest: The parameters now.

    Returns:
        Between −1 and 1; an increment of length 0 counts as at a right angle to all others.
    """
    count = size - 1

    def add(now: Array, first: Any, *moved: Any) -> Float[Array, "D D"]:
        if absent(first):
            return jnp.zeros((count, count))
        now, first, *later = (part.astype(wide(now.dtype)) for part in (now, first, *moved))
        return total(gram_matrix([*later, now - first]).astype(jnp.float32), now, "min_drift")

    leaves = jax.tree.map(add, newest, history.first, *history.moved)
    ways = sum(jax.tree.leaves(leaves), start=jnp.zeros((count, count)))
    # From displacements' products to increments' products: increments are never in memory.
    apart = jnp.eye(count) - jnp.eye(count, k=-1)
    products = jnp.matmul(
        jnp.matmul(apart, ways, precision="highest"), apart.T, precision="highest"
    )
    return mean_cosine(products)


def mean_cosine(products: Float[Array, "D D"]) -> Float[Array, ""]:
    """The mean cosine of increments that are :data:`APART` or more, from their inner products.

    An increment of length 0 counts as at a right angle to all others.
    """
    count = len(products)
    lengths = jnp.sqrt(jnp.maximum(jnp.diagonal(products), 0))
    lengths = jnp.where(lengths == 0, 1, lengths)
    cosines = products / jnp.outer(lengths, lengths)
    return jnp.mean(
        jnp.array([cosines[i, j] for i, j in combinations(range(count), 2) if j - i >= APART])
    )
