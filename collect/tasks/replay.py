"""A replay buffer: transitions of an agent, kept in the rows of an array."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

WIDTH = 9
"""Numbers in a row of the buffer."""


class Transition(NamedTuple):
    """One step of an agent, or a batch of them, by the columns of the buffer's rows."""

    seen: Float[Array, "*B 3"]
    action: Float[Array, "*B 1"]
    reward: Float[Array, "*B"]
    after: Float[Array, "*B 3"]
    """What is seen next."""
    ends: Float[Array, "*B"]
    """1 where the episode ends here, else 0."""


def pack(transition: Transition) -> Float[Array, "9"]:
    """One transition as a row of the buffer."""
    return jnp.concatenate([jnp.atleast_1d(part) for part in transition])


def unpack(rows: Float[Array, "B 9"]) -> Transition:
    """Rows of the buffer as transitions.

    Examples:
        >>> print(unpack(jnp.arange(9.0)[None]).after)
        [[5. 6. 7.]]
    """
    return Transition(rows[:, :3], rows[:, 3:4], rows[:, 4], rows[:, 5:8], rows[:, 8])


def distinct(shares: Float[Array, "B"], count: Integer[Array, ""]) -> Integer[Array, "B"]:
    """As many different whole numbers from 0 to ``count`` − 1 as there are shares.

    Every set of them is as likely as any other: Floyd's algorithm (Bentley and Floyd, "A sample of
    brilliance", Communications of the ACM, 1987). With fewer than ``B`` to choose from, some of the
    numbers are larger.

    Args:
        shares: Drawn evenly from 0 to 1.
        count: Numbers to choose from.

    Examples:
        >>> print(distinct(jnp.array([0.9, 0.5, 0.7]), jnp.int32(3)))
        [0 1 2]
    """
    first = jnp.maximum(count - len(shares), 0)

    def choose(i: Array, chosen: Array) -> Array:
        last = first + i
        drawn = jnp.minimum((shares[i] * (last + 1)).astype(jnp.int32), last)
        return chosen.at[i].set(jnp.where(jnp.any(chosen == drawn), last, drawn))

    return jax.lax.fori_loop(0, len(shares), choose, jnp.full(len(shares), -1, jnp.int32))
