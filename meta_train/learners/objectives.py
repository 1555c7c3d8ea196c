"""What an unroll of a learned optimizer is judged by, and what that says of every update.

No second derivatives are taken: a gradient of the task counts as a constant, as in the published
code of both methods. So the objective's derivative by the weights after a step is known once the
unroll is done, and a meta-gradient needs only these: the derivative by an update is the sum of the
derivatives by all later weights, as each update moves all of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from meta_train.learners.problem import Parts

AMALGAMATIONS = ("min_max", "mean")
"""What of the distances to several teachers counts: the largest, or their mean."""
EPSILON = 1e-10
"""What is added to losses and distances under the logarithm."""


class Pull(NamedTuple):
    """A part of the objective at some weights: its value, and its derivative by the weights."""

    value: Float[Array, "P"]
    slope: Parts


def of_loss(loss: Float[Array, "P"], gradients: Parts) -> Pull:
    """The loss itself: L2O's objective is the sum over an unroll (Andrychowicz et al., eq. 3)."""
    return Pull(loss, gradients)


def of_logarithm(loss: Float[Array, "P"], gradients: Parts, first: Float[Array, "P"]) -> Pull:
    """log(loss) − log(loss of the unroll's first weights on the same batch), of L2O-Amalgam."""
    value = jnp.log(loss + EPSILON) - jnp.log(first + EPSILON)
    return Pull(value, _scaled(gradients, 1 / (loss + EPSILON)))


def of_imitation(own: Parts, teachers: Sequence[Parts], amalgamation: str) -> Pull:
    """The largest or the mean of the log distances to the teachers' weights.

    A distance is ``log(½ Σ (own − teacher)² / weights)`` (Huang et al., 2022, eq. 2 and 3).

    Args:
        own: The weights.
        teachers: Those of each teacher.
        amalgamation: One of :data:`AMALGAMATIONS`.
    """
    apart = [jax.tree.map(jnp.subtract, own, teacher) for teacher in teachers]
    squares = jnp.stack(
        [sum(0.5 * jnp.sum(part**2, axis=-1) for part in each.values()) for each in apart]
    )
    squares += EPSILON  # (teachers, P)
    if amalgamation == "min_max":
        shares = jax.nn.one_hot(jnp.argmax(squares, axis=0), len(teachers), axis=0)
    else:
        shares = jnp.full_like(squares, 1 / len(teachers))
    size = sum(part.shape[-1] for part in own.values())
    value = jnp.sum(shares * jnp.log(squares), axis=0) - jnp.log(size)
    slopes = [_scaled(each, f) for each, f in zip(apart, shares / squares, strict=True)]
    return Pull(value, jax.tree.map(lambda *each: sum(each), *slopes))


def added(pulls: Sequence[tuple[float, Pull]]) -> Pull:
    """The sum of some parts at the same weights, each times its factor."""
    return Pull(
        sum(factor * pull.value for factor, pull in pulls),  # type: ignore[arg-type]
        jax.tree.map(
            lambda *slopes: sum(
                factor * slope for (factor, _), slope in zip(pulls, slopes, strict=True)
            ),
            *(pull.slope for _, pull in pulls),
        ),
    )


def by_update(slopes: Float[Array, "T P n"]) -> Float[Array, "T P n"]:
    """The derivative by each of T updates, from those by the weights after each of them."""
    return jnp.flip(jnp.cumsum(jnp.flip(slopes, 0), 0), 0)


def _scaled(parts: Parts, factor: Float[Array, "P"]) -> Parts:
    return {name: factor[:, None] * part for name, part in parts.items()}
