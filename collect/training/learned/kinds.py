"""The two kinds of learned optimizers: what a network reads of a gradient, and what it answers."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from collect.training.learned import lstm
from nowcast.types import PyTree

SIZES = (20, 20)
"""Units of the two layers of either kind's LSTM."""
LOG_RANGE = 5
"""p of L2O's inputs in the published code: gradients down to e⁻⁵ are read by their logarithm."""
SCALE = 0.01
"""By this L2O's output is multiplied."""
BETAS, EPSILON, ALPHA = (0.9, 0.999), 1e-10, 0.1
"""RNNProp's: decay of the two moments, what is added under the root, the longest update."""


class Kind(NamedTuple):
    """How one kind of learned optimizer works; all functions go coordinate by coordinate."""

    name: str
    title: str
    networks: tuple[str, ...]
    """The names of its networks; the last one is for operations that have none of their own."""
    init: Callable[[Array], lstm.Params]
    """From a key to the parameters of one network."""
    begin: Callable[[lstm.Params, tuple[int, ...]], PyTree]
    """From a network's parameters and a shape to the memory before the first step."""
    watch: Callable[[PyTree, Array], PyTree]
    """From a memory and a gradient to the memory that has seen the gradient and moved nothing."""
    advance: Callable[[lstm.Params, PyTree, Array], tuple[Array, PyTree]]
    """From parameters, memory and gradient to the update and the new memory."""

    def network(self, operation: str, there: Sequence[str]) -> str:
        """The network, of those that are there, for an operation's weights."""
        own = operation.removeprefix("depthwise_")
        return own if own in there else list(there)[-1]


def log_and_sign(gradients: Float[Array, "*B"], p: float = LOG_RANGE) -> Float[Array, "*B 2"]:
    """What L2O reads of a gradient (Andrychowicz et al., 2016, appendix A).

    ``(log|g| / p, sign g)`` where ``|g| ≥ e⁻ᵖ``, else ``(−1, eᵖ g)``; as published code has it, the
    machine's epsilon is added to ``|g|``.

    Examples:
        >>> import jax.numpy as jnp
        >>> from collect.training.learned.kinds import log_and_sign
        >>> print(log_and_sign(jnp.array([1.0, -0.5])).round(2))
        [[ 0.    1.  ]
         [-0.14 -1.  ]]
    """
    size = jnp.log(jnp.abs(gradients) + jnp.finfo(jnp.float32).eps) / p
    return jnp.stack(
        [jnp.maximum(size, -1.0), jnp.clip(gradients * jnp.exp(p), -1.0, 1.0)], axis=-1
    )


class Moments(NamedTuple):
    """The memory of RNNProp: two moments of the gradients, and the LSTM's memory."""

    first: Float[Array, "*B"]
    second: Float[Array, "*B"]
    lstm: lstm.Memory


def _l2o(params: lstm.Params, memory: lstm.Memory, gradients: Array) -> tuple[Array, lstm.Memory]:
    output, memory = lstm.step(params, memory, log_and_sign(gradients))
    return SCALE * output, memory


def _seen(memory: Moments, gradients: Array) -> Moments:
    first = BETAS[0] * memory.first + (1 - BETAS[0]) * gradients
    second = BETAS[1] * memory.second + (1 - BETAS[1]) * jnp.square(gradients)
    return memory._replace(first=first, second=second)


def _rnnprop(params: lstm.Params, memory: Moments, gradients: Array) -> tuple[Array, Moments]:
    """Equations 5 to 7 of Lv et al. (ICML 2017), with the constants of L2O-Amalgam's code.

    There the moments are divided by 1 − β, and not by 1 − βᵗ as in the paper.
    """
    memory = _seen(memory, gradients)
    size = jnp.sqrt(memory.second / (1 - BETAS[1]) + EPSILON)
    features = jnp.stack([memory.first / (1 - BETAS[0]) / size, gradients / size], axis=-1)
    output, inside = lstm.step(params, memory.lstm, features)
    return -ALPHA * jnp.tanh(output), memory._replace(lstm=inside)


def _moments(params: lstm.Params, shape: tuple[int, ...]) -> Moments:
    return Moments(jnp.zeros(shape), jnp.zeros(shape), lstm.begin(params, shape))


def _drawn(keras: bool) -> Callable[[Array], lstm.Params]:
    return lambda key: lstm.init(key, 2, SIZES, keras=keras)


def _unmoved(memory: Any, _: Array) -> Any:
    return memory


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("l2o", "L2O", ("conv", "fc"), _drawn(False), lstm.begin, _unmoved, _l2o),
        Kind("l2o_amalgam", "L2O-Amalgam", ("all",), _drawn(True), _moments, _seen, _rnnprop),
    )
}
"""``l2o``: Andrychowicz et al. (NeurIPS 2016), one network for kernels of convolutions and one for
the rest, as in the published code's CIFAR settings. ``l2o_amalgam``: the student of Huang et al.
(ICLR 2022), an RNNProp.
"""


def begin(kind: Kind, params: PyTree, parts: dict[str, Array]) -> dict[str, PyTree]:
    """The memory of every network before the first step of these coordinates."""
    return {name: kind.begin(params[name], part.shape) for name, part in parts.items()}


def advance(
    kind: Kind, params: PyTree, memory: dict[str, PyTree], gradients: dict[str, Array]
) -> tuple[dict[str, Array], dict[str, PyTree]]:
    """One step of every network: the updates and the new memory, by the networks' names."""
    both = {
        name: kind.advance(params[name], memory[name], part) for name, part in gradients.items()
    }
    updates = {name: update for name, (update, _) in both.items()}
    return updates, {name: after for name, (_, after) in both.items()}
