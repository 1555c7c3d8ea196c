"""A deep LSTM with one output, which every coordinate runs with a state of its own.

Equations of Hochreiter and Schmidhuber (1997) with a forget gate (Gers et al., 2000), as Sonnet's
and Keras' layers have them; gates in the order input, forget, cell, output.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Params = dict[str, dict[str, Array]]
Memory = list[tuple[Float[Array, "*B H"], Float[Array, "*B H"]]]
"""Of each layer: its output, and its cell."""


def init(key: Array, inputs: int, sizes: Sequence[int], *, keras: bool) -> Params:
    """Draw initial parameters.

    Args:
        key: A key of JAX's.
        inputs: Features of a coordinate.
        sizes: Units of each layer.
        keras: The distributions of Keras' layers (Glorot's uniform, orthogonal for what is
            recurrent), or else of Sonnet's (a truncated normal of deviation 1/√inputs).

    Both begin with a bias of 1 at the forget gate and 0 elsewhere.
    """
    make = jax.nn.initializers
    params: Params = {}
    for number, size in enumerate(sizes, start=1):
        key, one, two = jax.random.split(key, 3)
        bias = jnp.zeros(4 * size).at[size : 2 * size].set(1.0)
        if keras:
            kernel = make.glorot_uniform()(one, (inputs, 4 * size))
            recurrent = make.orthogonal()(two, (size, 4 * size))
        else:
            both = make.truncated_normal((inputs + size) ** -0.5)(one, (inputs + size, 4 * size))
            kernel, recurrent = both[:inputs], both[inputs:]
        params[f"lstm_{number}"] = {"kernel": kernel, "recurrent": recurrent, "bias": bias}
        inputs = size
    last: Any = make.glorot_uniform() if keras else make.truncated_normal(inputs**-0.5)
    params["linear"] = {"kernel": last(key, (inputs, 1)), "bias": jnp.zeros(1)}
    return params


def begin(params: Params, shape: tuple[int, ...]) -> Memory:
    """The memory before the first step of coordinates of this shape: zeros."""
    sizes = [layer["recurrent"].shape[0] for layer in _layers(params)]
    return [(jnp.zeros((*shape, size)), jnp.zeros((*shape, size))) for size in sizes]


def step(
    params: Params, memory: Memory, features: Float[Array, "*B F"]
) -> tuple[Float[Array, "*B"], Memory]:
    """One step: the outputs, before any nonlinearity, and the new memory."""
    x, new = features, []
    for layer, (output, cell) in zip(_layers(params), memory, strict=True):
        gates = x @ layer["kernel"] + output @ layer["recurrent"]
        gates += jnp.broadcast_to(layer["bias"], gates.shape)
        enter, forget, candidate, leave = jnp.split(gates, 4, axis=-1)
        x, cell = after(cell, enter, forget, candidate, leave)
        new.append((x, cell))
    last = params["linear"]
    return (x @ last["kernel"])[..., 0] + last["bias"][0], new


def after(
    cell: Float[Array, "*B H"],
    enter: Float[Array, "*B H"],
    forget: Float[Array, "*B H"],
    candidate: Float[Array, "*B H"],
    leave: Float[Array, "*B H"],
) -> tuple[Float[Array, "*B H"], Float[Array, "*B H"]]:
    """A layer's output and cell after a step, from the cell before it and the gates' inputs."""
    cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(enter) * jnp.tanh(candidate)
    return jax.nn.sigmoid(leave) * jnp.tanh(cell), cell


def _layers(params: Params) -> list[dict[str, Array]]:
    return [params[name] for name in sorted(params) if name.startswith("lstm_")]
