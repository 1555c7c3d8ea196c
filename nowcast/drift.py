"""Drift: what share of a run's recent movement went one way, and was not there and back."""

from itertools import combinations, pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nowcast.history import History, absent, window
from nowcast.types import PyTree

APART = 2
"""Increments closer than this are alike without drift: the optimizer's momentum is in both."""

SHORTEST = APART + 2
"""The shortest window that has two increments so far apart."""


def drift(size: int, history: History, newest: PyTree) -> Float[Array, ""]:
    """The mean cosine between a window's increments that are two or more snapshots apart, over all weights that jump.

    Increments that are a common movement with noise of its own in each have μ²/(μ² + σ²): 1 where a run goes straight on, about 0 where it
    goes to and fro. Costs an inner product for each pair of increments.

    Args:
        size: Snapshots in the window, ``newest`` among them; at least :data:`SHORTEST`.
        history: Those before.
        newest: The parameters now.

    Returns:
        Between −1 and 1; an increment of length 0 counts as at a right angle to all others.
    """
    every = range(size - 1)
    products = jnp.zeros((size - 1, size - 1))

    def add(now: Array, first: Any, *moved: Any) -> Float[Array, "D D"]:
        if absent(first):
            return jnp.zeros_like(products)
        steps = [after - before for before, after in pairwise(window(size, now, first, *moved))]
        each = {(i, j): jnp.sum(steps[i] * steps[j]) for i in every for j in every if i <= j}
        return jnp.array([[each[min(i, j), max(i, j)] for j in every] for i in every], products.dtype)

    leaves = jax.tree.map(add, newest, history.first, *history.moved)
    products = sum(jax.tree.leaves(leaves), start=products)
    lengths = jnp.sqrt(jnp.diagonal(products))
    lengths = jnp.where(lengths == 0, 1, lengths)
    cosines = products / jnp.outer(lengths, lengths)
    return jnp.mean(jnp.array([cosines[i, j] for i, j in combinations(every, 2) if j - i >= APART]))
