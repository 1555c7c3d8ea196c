"""Read the file of weights that Celo's authors published: ``theta.state``, a msgpack of Flax's."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from collect.training.learned.celo_inputs import PARTS
from nowcast.paths import expanded
from nowcast.types import UserError, first_line

CURE = "give algoperf/submissions/celo/theta.state of github.com/amoudgl/celo"
"""How every refusal ends."""
UNITS, RULE = 64, 4
"""Units of the scheduler's LSTM, and of the two hidden layers of the update rule."""
TENSORS: dict[str, tuple[int, ...]] = {
    **{f"ff_mod_stack/~/w0__{n}": (1, size, RULE) for n, size in enumerate(PARTS)},
    "ff_mod_stack/~/w1": (1, RULE, RULE),
    "ff_mod_stack/~/w2": (1, RULE, 3),
    "ff_mod_stack/~/b0": (1, RULE),
    "ff_mod_stack/~/b1": (1, RULE),
    "ff_mod_stack/~/b2": (1, 3),
    "lstm_init_state/hidden": (1, UNITS),
    "lstm_init_state/cell": (1, UNITS),
    "rnn_params/rnn/linear/w": (2 * UNITS, 4 * UNITS),
    "rnn_params/rnn/linear/b": (4 * UNITS,),
    **{
        f"rnn_params/{name}/{kind}": shape[begin:]
        for name, shape in (
            ("linear", (18, UNITS)),
            ("linear_1", (18, UNITS)),
            ("linear_2", (18, UNITS)),
            ("rnn_to_controls", (UNITS, 1)),
            ("step_size", (UNITS, 1)),
        )
        for kind, begin in (("w", 0), ("b", 1))
    },
}
"""The name and shape of every tensor. ``linear`` and ``rnn_to_controls`` have no effect."""


class Dense(NamedTuple):
    """A layer: ``x @ kernel + bias``."""

    kernel: Float[Array, "inputs outputs"]
    bias: Float[Array, "outputs"]


class Theta(NamedTuple):
    """The weights of Celo."""

    first: tuple[Float[Array, "_ units"], ...]
    """The update rule's first kernel, one for each group of inputs of a weight."""
    bias: Float[Array, "units"]
    """The bias beside it."""
    second: Dense
    """The update rule's second hidden layer."""
    last: Dense
    """Its outputs: direction, magnitude, and one that is not used."""
    mixed: Dense
    """The scheduler's layer whose outputs are rectified."""
    plain: Dense
    """The layer beside it."""
    lstm: Dense
    """From the sum of both and the LSTM's output to its gates: input, candidate, forget, output."""
    factor: Dense
    """From the LSTM's output to the logarithm of the updates' factor."""
    hidden: Float[Array, "64"]
    """The LSTM's output before the first step."""
    cell: Float[Array, "64"]
    """Its cell before the first step."""


def read(file: str | os.PathLike[str]) -> Theta:
    """The weights in a file of Celo's authors.

    Args:
        file: ``theta.state`` as published.

    Raises:
        UserError: The file is not there, is damaged, or holds another network. The message names
            the first tensor that differs.

    Examples:
        >>> from collect.training.learned import celo_file
        >>> theta = celo_file.read("downloads/theta.state")  # doctest: +SKIP
        >>> theta.lstm.kernel.shape  # doctest: +SKIP
        (128, 256)
    """
    tensors = _checked(expanded(file), _restored(file))

    def dense(name: str) -> Dense:
        return Dense(tensors[f"rnn_params/{name}/w"], tensors[f"rnn_params/{name}/b"])

    rule = {name: tensors[f"ff_mod_stack/~/{name}"][0] for name in ("w1", "w2", "b0", "b1", "b2")}
    return Theta(
        first=tuple(tensors[f"ff_mod_stack/~/w0__{n}"][0] for n in range(len(PARTS))),
        bias=rule["b0"],
        second=Dense(rule["w1"], rule["b1"]),
        last=Dense(rule["w2"], rule["b2"]),
        mixed=dense("linear_1"),
        plain=dense("linear_2"),
        lstm=dense("rnn/linear"),
        factor=dense("step_size"),
        hidden=tensors["lstm_init_state/hidden"][0],
        cell=tensors["lstm_init_state/cell"][0],
    )


def identity(file: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file of weights.

    Raises:
        UserError: The file cannot be read.
    """
    return hashlib.sha256(_content(file)).hexdigest()


def _content(file: str | os.PathLike[str]) -> bytes:
    path = expanded(file)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"celo={str(path)!r} cannot be read ({error.strerror}); {CURE}") from None


def _restored(file: str | os.PathLike[str]) -> Any:
    from flax import serialization  # here: --help needs none of what this imports

    content = _content(file)
    try:
        return serialization.msgpack_restore(content)
    except Exception as error:  # a damaged file raises whatever its broken bytes meet
        raise UserError(
            f"celo={str(expanded(file))!r} is cut off, or no msgpack file of Flax's"
            f" ({first_line(error) or type(error).__name__}); {CURE}"
        ) from None


def _checked(path: Path, saved: Any) -> dict[str, Array]:
    """The tensors by name; refused unless they are exactly those of :data:`TENSORS`."""
    found = dict(_flat(saved))
    for name, shape in TENSORS.items():
        held = found.get(name)
        wrong = (
            "is not there"
            if held is None
            else f"has shape {np.shape(held)}, not {shape}"
            if np.shape(held) != shape
            else f"has dtype {np.asarray(held).dtype}, not float32"
            if np.asarray(held).dtype != np.float32
            else "holds values that are not finite"
            if not np.isfinite(held).all()
            else ""
        )
        if wrong:
            raise UserError(f"celo={str(path)!r} is not Celo's: tensor {name} {wrong}; {CURE}")
    for name in found.keys() - TENSORS.keys():
        raise UserError(f"celo={str(path)!r} is not Celo's: it has a tensor {name}; {CURE}")
    return {name: jnp.asarray(found[name]) for name in TENSORS}


def _flat(saved: Any, *above: str) -> Iterator[tuple[str, Any]]:
    """Every leaf of nested dicts, with its names joined by ``/``."""
    if isinstance(saved, dict):
        for name, inside in saved.items():
            yield from _flat(inside, *above, str(name))
    else:
        yield "/".join(above), saved
