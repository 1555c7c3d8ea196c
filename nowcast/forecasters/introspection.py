"""Introspection (Sinha et al., ICLR 2017): a weight at step 2t from steps 0, 0.4t, 0.7t and t.

The network has one hidden layer of 40 ReLUs, 241 parameters; inputs and output are scaled by 1000,
and the output is the value itself, without a residual. Snapshots stand for steps: a window of W =
11 snapshots is used at 0, 4, 7 and 10, and its horizon 10 is 2t. Its windows begin with the
untrained weights. At named steps (``nowcast.periodic(…, at=[…])``) it reads the four snapshots
alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jaxtyping import Array, Float, PRNGKeyArray

from nowcast.forecasters.base import PLACES
from nowcast.forecasters.learned import NETWORKS, Learned, Normalised, dense
from nowcast.types import PyTree, UserError

HIDDEN, FACTOR = 40, 1000.0
ALL = "all"
"""The name of the one network."""


def init_network(key: PRNGKeyArray, window: int = 11, outputs: int = 1) -> PyTree:
    """Fresh parameters: kernels from Glorot uniform, biases 0."""
    sizes, keys = {"hidden": (len(PLACES), HIDDEN), "out": (HIDDEN, outputs)}, jax.random.split(key)
    return {
        name: {"kernel": initializers.glorot_uniform()(k, shape), "bias": jnp.zeros(shape[1])}
        for (name, shape), k in zip(sizes.items(), keys, strict=True)
    }


def normalise(windows: Float[Array, "N W"]) -> Normalised:
    """The four values ×1000, the newest first."""
    columns = jnp.array([round(place * (windows.shape[1] - 1)) for place in reversed(PLACES)])
    ones = jnp.ones(len(windows))
    return Normalised(FACTOR * windows[:, columns], 0 * ones, ones / FACTOR)


def network(params: PyTree, inputs: Float[Array, "N 4"]) -> Float[Array, "N outputs"]:
    """The value at 2t, ×1000."""
    return dense(params["out"], jax.nn.relu(dense(params["hidden"], inputs)))


def linear_network(params: PyTree, inputs: Float[Array, "N 4"]) -> Float[Array, "N outputs"]:
    """The same without ReLU: the paper's own test of what the nonlinearity gains."""
    return dense(params["out"], dense(params["hidden"], inputs))


@dataclass(frozen=True, kw_only=True, eq=False)
class Introspection(Learned):
    """The forecaster of the paper: one network forecasts all operations that jump."""

    name: ClassVar[str] = "introspection"
    from_start: ClassVar[bool] = True
    mapping: ClassVar[Mapping[str, str | None]] = {
        name: ALL if network else None for name, network in NETWORKS.items()
    }
    window: int = 11
    horizon: int = 10
    init_network = staticmethod(init_network)
    normalise = staticmethod(normalise)
    network = staticmethod(network)

    def at_named_steps(self, aim: float | None) -> "Introspection":
        """The same network for a window of the four snapshots that it reads."""
        own = 1 + self.horizon / (self.window - 1)
        if aim is not None and round(aim - own, 6):
            raise UserError(
                f"aim={aim:g}: this {self.name} was fitted to forecast {own:g} times the step only;"
                " leave aim out, or meta-train one with another horizon"
            )
        # Of four snapshots `normalise` takes numbers 3, 2, 1 and 0: all of them.
        return replace(self, window=len(PLACES))


@dataclass(frozen=True, kw_only=True, eq=False)
class IntrospectionLinear(Introspection):
    """Introspection without ReLU."""

    name: ClassVar[str] = "introspection_linear"
    network = staticmethod(linear_network)
