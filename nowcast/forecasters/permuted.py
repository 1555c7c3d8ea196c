"""Permuted: another forecaster's jump with its entries in another order, within each leaf.

The jump has the same sizes and signs in the wrong places: what is left of a forecast that does not
know which weight is which.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from nowcast.forecasters.null import Null
from nowcast.split import parts_of
from nowcast.types import UserError


@dataclass(frozen=True, kw_only=True)
class Permuted(Null):
    """``x̂ = x(t) + π(jump)``, π a permutation of the leaf's entries."""

    name: ClassVar[str] = "permuted"

    def instead(self, jump: Float[Array, "*shape"], key: PRNGKeyArray) -> Float[Array, "*shape"]:
        """The entries of ``jump`` in another order."""
        if any(jax.typeof(jump).sharding.spec):
            raise UserError(
                "permuted: leaves that are split over a mesh of explicit axes cannot be permuted;"
                " use noise there"
            )
        if parts_of(jump, self.name) > 1:
            raise UserError(
                "permuted: leaves that are split inside shard_map cannot be permuted; use noise"
                " there"
            )
        return jax.random.permutation(key, jnp.ravel(jump)).reshape(jump.shape)
