"""Noise: a Gaussian jump with the norm of another forecaster's jump, leaf by leaf.

A baseline of Introspection (Sinha et al., ICLR 2017, §4).
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, PRNGKeyArray

from nowcast.forecasters.null import Null
from nowcast.split import total


@dataclass(frozen=True, kw_only=True)
class Noise(Null):
    """``x̂ = x(t) + ε·‖jump‖/‖ε‖``, ε standard normal."""

    name: ClassVar[str] = "noise"

    def instead(self, jump: Float[Array, "*shape"], key: PRNGKeyArray) -> Float[Array, "*shape"]:
        """Noise with the norm of ``jump``."""
        split = jax.typeof(jump).sharding.spec
        noise = jax.random.normal(
            key, jump.shape, jump.dtype, out_sharding=P(*split) if any(split) else None
        )
        sizes = jnp.stack([jnp.sum(jnp.square(jump)), jnp.sum(jnp.square(noise))])
        asked, drawn = total(sizes, jump, self.name)
        return noise * jnp.sqrt(asked / drawn)
