"""Branches and loops: compiled under ``jit``, plain Python where the numbers are known."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from nowcast.types import PyTree


def is_traced(tree: PyTree) -> bool:
    """Whether a leaf of ``tree`` is a placeholder of ``jit``, ``vmap`` or ``grad``."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def branch(
    condition: Any, yes: Callable[..., Any], no: Callable[..., Any], *operands: PyTree
) -> Any:
    """``yes(*operands)`` or ``no(*operands)``, by a boolean scalar.

    ``lax.cond`` called outside ``jit`` compiles both functions at every call; a plain branch
    compiles neither.
    """
    if is_traced(condition):
        return jax.lax.cond(condition, yes, no, *operands)
    return yes(*operands) if condition else no(*operands)


def map_over(work: Callable[[Array], Array], values: Array, *used: PyTree) -> Array:
    """Apply ``work`` to each of ``values``, one after another, and stack the results.

    ``used`` is what ``work`` computes from.
    """
    if is_traced((values, used)):
        return jax.lax.map(work, values)
    return jnp.stack([work(value) for value in values])
