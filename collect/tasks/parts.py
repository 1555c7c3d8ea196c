"""Compute the mean loss of a batch, a part at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nowcast.types import PyTree

Loss = Callable[[PyTree, Any], Float[Array, ""]]


def mean_by_parts(loss: Loss, params: PyTree, parts: PyTree) -> Float[Array, ""]:
    """The mean of ``loss(params, part)`` over all parts of a batch.

    Each part's gradient is taken right after its loss, so that the values in between are still in a
    core's cache. There is no forward mode (``jax.jvp``).

    Args:
        loss: A function of the parameters and one part.
        params: What gradients are taken of.
        parts: A pytree of arrays whose first axis counts the parts.

    Examples:
        >>> rows = jnp.arange(6.0).reshape(3, 2)
        >>> print(mean_by_parts(lambda slope, row: jnp.mean(slope * row), jnp.ones(()), rows))
        2.5
    """

    @jax.custom_vjp
    def mean(params: PyTree, parts: PyTree) -> Float[Array, ""]:
        return jnp.mean(jax.lax.map(lambda part: loss(params, part), parts))

    def forward(params: PyTree, parts: PyTree) -> tuple[Float[Array, ""], PyTree]:
        def add(total: PyTree, part: PyTree) -> tuple[PyTree, None]:
            return jax.tree.map(jnp.add, total, jax.value_and_grad(loss)(params, part)), None

        start = (
            jnp.zeros((), jax.eval_shape(mean, params, parts).dtype),
            jax.tree.map(jnp.zeros_like, params),
        )
        (value, grads), _ = jax.lax.scan(add, start, parts)
        count = len(jax.tree.leaves(parts)[0])
        return value / count, jax.tree.map(lambda grad: grad / count, grads)

    def backward(grads: PyTree, above: Float[Array, ""]) -> tuple[PyTree, None]:
        return jax.tree.map(lambda grad: above * grad, grads), None

    mean.defvjp(forward, backward)
    return mean(params, parts)
