"""The loop: it trains every task, whether the run is recorded, nowcast or only timed."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from nowcast.types import PyTree, Task

BATCH_KEYS = 0xBA7C4
"""Root of the keys that batches get; far from the seeds, which are the roots of the initial weights."""


class State(NamedTuple):
    """Everything a run needs to go on."""

    params: PyTree
    extra: PyTree
    optimizer: PyTree


class Snapshot(NamedTuple):
    """A run at one moment. ``state`` is only valid until the next one is asked for: its buffers are reused."""

    step: int
    epoch: float
    state: State
    train_loss: float
    """Mean over the steps since the last snapshot; NaN at the first one."""


class Loop:
    """Trains a task with one optimizer; compiled once, used for any number of runs.

    Args:
        task: What to train.
        optimizer: A transformation whose ``update`` takes ``learning_rate=`` (:func:`collect.optimizers.make`),
            wrapped by :func:`nowcast.periodic` or not.
    """

    def __init__(self, task: Task, optimizer: optax.GradientTransformationExtraArgs):
        self.task, self.optimizer = task, optimizer
        self._step = jax.jit(self._one_step, donate_argnums=0)

    def start(self, seed: int) -> State:
        """The state before the first step."""
        params, extra = self.task.init(seed)
        return State(params, extra, self.optimizer.init(params))

    def run(
        self,
        seed: int,
        rates: np.ndarray,
        *,
        record_every: int | None = None,
        state: State | None = None,
        first_step: int = 0,
    ) -> Iterator[Snapshot]:
        """Train, pausing at every snapshot.

        Args:
            seed: Of the initial weights and of the data order.
            rates: The learning rate of every step; its length is the run's.
            record_every: Steps between two snapshots; an epoch when left out. The last step is always one.
            state: Where to go on from, with ``first_step``; the start of the run when left out.
            first_step: Steps already taken.

        Yields:
            A snapshot before the first step (also when going on), then one every ``record_every`` steps.
            The caller stops the run by asking for no more.
        """
        per_epoch = self.task.steps_per_epoch
        record_every = record_every or per_epoch
        state = self.start(seed) if state is None else state
        yield Snapshot(first_step, first_step / per_epoch, state, float("nan"))
        losses: list[jax.Array] = []
        order = self.task.order(seed, first_step // per_epoch)
        for step in range(first_step, len(rates)):
            epoch, within = divmod(step, per_epoch)
            if within == 0:
                order = self.task.order(seed, epoch)
            state, loss = self._step(state, self.task.arrays, order[within], rates[step], _moment(seed, step))
            losses.append(loss)
            done = step + 1
            if done % record_every == 0 or done == len(rates):
                train_loss = float(np.mean(jax.device_get(losses)))
                losses.clear()
                yield Snapshot(done, done / per_epoch, state, train_loss)

    def _one_step(self, state: State, arrays: PyTree, indices: Any, rate: Any, moment: Any) -> tuple[State, jax.Array]:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(BATCH_KEYS), moment[0]), moment[1])
        batch = self.task.batch(arrays, indices, key)
        (loss, extra), grads = jax.value_and_grad(self.task.loss, has_aux=True)(state.params, state.extra, batch)
        updates, optimizer = self.optimizer.update(grads, state.optimizer, state.params, learning_rate=rate)
        return State(optax.apply_updates(state.params, updates), extra, optimizer), loss


def _moment(seed: int, step: int) -> np.ndarray:
    """What the key of a batch is made from: the same for all arms of a seed, and after a resume."""
    return np.array([seed % 2**32, step], np.uint32)
