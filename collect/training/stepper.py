"""Take steps in compiled programs, one or many in each."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from collect.models.convolution import compiler_options
from nowcast.types import PyTree

MOST = 256
"""Steps that one program takes at most."""
ROOM = 1 << 24
"""Bytes of inputs that one program reads at most."""

Step = Callable[..., tuple[PyTree, jax.Array]]
"""A function from ``(state, arrays, *inputs)`` to ``(new state, loss)``."""


class Stepper:
    """Takes steps; compiled once, however many are taken at a time.

    Args:
        step: The function that takes one step.
        loops: Whether one program takes many steps. All of them, one alone too, are the same
            compiled code: a run does not depend on how many are taken at a time.
    """

    def __init__(self, step: Step, *, loops: bool):
        self._loops = loops
        own = _many(step) if loops else partial(_single, step)
        self.program = jax.jit(own, donate_argnums=0, compiler_options=compiler_options())

    def at_once(self, inputs: tuple[Any, ...]) -> int:
        """The most steps to take at a time, for inputs as large as these."""
        if not self._loops:
            return 1
        size = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(inputs))
        return min(MOST, max(1, ROOM // size))

    def take(
        self,
        state: PyTree,
        arrays: PyTree,
        inputs: Sequence[tuple[Any, ...]],
        spread: NamedSharding | None = None,
    ) -> tuple[PyTree, jax.Array]:
        """Take one step for each of some inputs; the given state is used up.

        Args:
            state: The state before the first step.
            arrays: What all steps read.
            inputs: What each step reads, at most :meth:`at_once`.
            spread: How each step's inputs are spread over the devices; None: they lie on one.

        Returns:
            ``(state, losses)``; of the losses the first ones count, as many as there are inputs.
        """
        if not self._loops:
            [own] = inputs
            return self.program(state, arrays, *_placed(own, spread))
        length = self.at_once(inputs[0])
        stacked = jax.tree.map(lambda *rows: _padded(rows, length), *inputs)
        if spread is not None:
            spread = NamedSharding(spread.mesh, PartitionSpec(None, *spread.spec))
        return self.program(state, arrays, np.int32(len(inputs)), *_placed(stacked, spread))


def _single(step: Step, state: PyTree, arrays: PyTree, *inputs: Any) -> tuple[PyTree, jax.Array]:
    state, loss = step(state, arrays, *inputs)
    return state, loss[None]


def _many(step: Step) -> Step:
    """A function that takes ``count`` steps, each with its row of the inputs."""

    def steps(
        state: PyTree, arrays: PyTree, count: jax.Array, *inputs: Any
    ) -> tuple[PyTree, jax.Array]:
        def one(state: PyTree, number: Any) -> tuple[PyTree, jax.Array]:
            return step(state, arrays, *jax.tree.map(lambda rows: rows[number], inputs))

        def body(number: jax.Array, carry: tuple[PyTree, jax.Array]) -> tuple[PyTree, jax.Array]:
            state, loss = one(carry[0], number)
            return state, carry[1].at[number].set(loss)

        loss = jax.eval_shape(one, state, 0)[1]
        length = len(jax.tree.leaves(inputs)[0])
        return jax.lax.fori_loop(
            0, count, body, (state, jnp.zeros((length, *loss.shape), loss.dtype))
        )

    return steps


def _padded(rows: Sequence[Any], length: int) -> np.ndarray:
    """The rows as one array of this length; the end is not read."""
    stacked = np.zeros((length, *np.shape(rows[0])), np.asarray(rows[0]).dtype)
    np.stack(rows, out=stacked[: len(rows)])
    return stacked


def _placed(inputs: Any, spread: NamedSharding | None) -> Any:
    return inputs if spread is None else jax.device_put(inputs, spread)
