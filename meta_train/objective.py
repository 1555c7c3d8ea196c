"""What a forecaster is fitted to: L1 error in units of each window's own range, as WNN (Jang et al., ICML 2023)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nowcast.forecasters import wnn
from nowcast.types import PyTree


def examples(windows: Float[Array, "N columns"]) -> tuple[Float[Array, "N W"], Float[Array, "N"]]:
    """``(network input, increment it should give)`` of windows with their targets as last column.

    Increments are clipped to ±1, the range of the network's tanh. Under an L1 loss that changes no gradient, but a few
    weights that stood still and then moved (their unit is 2e-5) no longer drown all others in the mean.
    """
    inputs, scale = wnn.normalise(windows[:, :-1])
    return inputs, jnp.clip((windows[:, -1] - windows[:, -2]) / scale, -1, 1)


def loss(params: PyTree, inputs: Float[Array, "N W"], target: Float[Array, "N"]) -> Float[Array, ""]:
    """Mean absolute error plus WNN's regulariser, for one network."""
    return jnp.mean(jnp.abs(wnn.network(params, inputs) - target)) + wnn.penalty(params)


def loss_of_all(params: PyTree, inputs: Float[Array, "K N W"], target: Float[Array, "K N"]) -> Float[Array, ""]:
    """The same for K networks at once; their gradients are independent, so the sum trains each on its own."""
    return jnp.sum(jax.vmap(loss)(params, inputs, target))
