"""What a learned optimizer is meta-trained on: a task, its weights as vectors, its gradients."""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from collect.tasks.protocol import Task, rows
from collect.training.learned.kinds import Kind
from collect.training.learned.parts import Layout, layout
from collect.training.loop import gradients_of, keys, seed_and_step
from nowcast.types import PyTree, UserError

Parts = dict[str, Float[Array, "P n"]]
"""Of each network: its coordinates, for each member of a population."""


class Found(NamedTuple):
    """What one batch says of the weights of a population."""

    loss: Float[Array, "P"]
    gradients: Parts
    extra: PyTree


class Problem:
    """A task as a population of runs with different seeds.

    Args:
        task: The task; its data lie in memory.
        kind: The learned optimizer's kind.
        there: The networks that the optimizer has, or will have; None: those that the task needs.

    Raises:
        UserError: The task streams its data.
    """

    def __init__(self, task: Task, kind: Kind, there: list[str] | None = None):
        if getattr(task, "stream", None):
            raise UserError(
                f"{task.name}: its data are read from files, and a learner needs them in memory;"
                " give a larger data.in_memory"
            )
        self.task = task
        like = task.init(0)[0]
        self.layout: Layout = layout(kind, there or list(kind.networks), like)
        self.networks = sorted(set(self.layout.networks))
        loops = getattr(task, "loops", False)
        # On a CPU a vectorised convolution is slow, and one in a loop very slow.
        over = jax.vmap if loops else _one_after_another
        self.gradients = jax.jit(partial(self._gradients, over))
        """From weights, extra, data, rows and keys of a population to what a batch says."""
        self._row = lru_cache(maxsize=64)(partial(rows, task))

    def start(self, seeds: list[int]) -> tuple[Parts, PyTree]:
        """The initial weights and the rest of the state of runs with these seeds."""
        states = [self.task.init(seed) for seed in seeds]
        parts = [self.layout.apart(params) for params, _ in states]
        return jax.tree.map(lambda *each: jnp.stack(each), *parts), jax.tree.map(
            lambda *each: jnp.stack(each), *(extra for _, extra in states)
        )

    def inputs(self, seeds: list[int], step: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the data and the seeds of the keys of one step of each run."""
        own = [self._row(seed)(step) for seed in seeds]
        return np.stack(own), np.stack([seed_and_step(seed, step) for seed in seeds])

    def _gradients(
        self, over: Any, parts: Parts, extra: PyTree, arrays: PyTree, row: Array, number: Array
    ) -> Found:
        def one(parts: Any, extra: PyTree, row: Array, number: Array) -> Found:
            key, noise = keys(number)
            batch = self.task.batch(arrays, row, key)
            loss, gradients, after = gradients_of(self.task)(
                self.layout.whole(parts), extra, batch, noise
            )
            return Found(loss, self.layout.apart(gradients), after)

        return over(one)(parts, extra, row, number)


def _one_after_another(function: Any) -> Any:
    """As ``jax.vmap``, with each member's computation written out."""

    def over(*arguments: Any) -> Any:
        size = len(jax.tree.leaves(arguments)[0])
        each = [function(*jax.tree.map(lambda leaf, i=i: leaf[i], arguments)) for i in range(size)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)

    return over
