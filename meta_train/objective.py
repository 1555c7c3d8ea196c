"""What a forecaster is fitted to: L1 error in the units of its network's output."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nowcast.forecasters import Learned
from nowcast.types import PyTree


def examples(
    kind: type[Learned], windows: Float[Array, "N columns"], window: int
) -> tuple[Float[Array, "N I"], Float[Array, "N outputs"]]:
    """``(network inputs, outputs it should give)`` of windows with their targets as last columns; NaN where there is none.

    Outputs are clipped to what the network can give (±1 for WNN's tanh). Under an L1 loss that changes no gradient,
    but a few weights that stood still and then moved (their unit is 2e-5) no longer drown all others in the mean.
    """
    inputs, base, scale = kind.normalise(windows[:, :window])
    target = (windows[:, window:] - base[:, None]) / scale[:, None]
    return inputs, jnp.clip(target, -kind.limit, kind.limit)


def error(
    kind: type[Learned], params: PyTree, inputs: Float[Array, "N I"], target: Float[Array, "N outputs"]
) -> Float[Array, ""]:
    """Mean absolute error of one network over the targets that there are."""
    there = jnp.isfinite(target)
    wrong = jnp.abs(kind.network(params, inputs) - jnp.where(there, target, 0))
    return jnp.sum(jnp.where(there, wrong, 0)) / jnp.maximum(jnp.sum(there), 1)


def losses(kind: type[Learned], params: PyTree, windows: Float[Array, "K N columns"], window: int) -> Float[Array, "K"]:
    """Error and regulariser of each of K networks. Their gradients are independent, so the sum trains each on its own."""

    return jnp.stack(
        [
            error(kind, own, *examples(kind, some, window)) + kind.penalty(own)
            for own, some in zip(apart(params, len(windows)), windows, strict=True)
        ]
    )


def apart(params: PyTree, count: int) -> list[PyTree]:
    """The parameters of each of so many networks, which lie along the first axis; looping over them beats vmap on CPUs."""
    return [jax.tree.map(lambda p, k=k: p[k], params) for k in range(count)]
