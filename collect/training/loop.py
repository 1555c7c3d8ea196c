"""The loop: it trains every task, whether the run is recorded, nowcast or only timed."""

from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding

from collect.tasks.protocol import Task, rows
from collect.training.stepper import Stepper
from nowcast.types import PyTree

BATCH_KEYS = 0xBA7C4
"""The root of batches' keys, far from the seeds, which are the roots of the initial weights."""
LOSS_KEYS = 1
"""Folded into a batch's key, it gives the loss's key."""


class State(NamedTuple):
    """Everything a run needs to go on."""

    params: PyTree
    extra: PyTree
    optimizer: PyTree


class Snapshot(NamedTuple):
    """A run after one of its steps.

    ``state`` is only valid until the next snapshot is asked for: its buffers are reused.
    """

    step: int
    epoch: float
    state: State
    train_loss: float
    """Mean over the steps since the last snapshot; NaN at the first one."""


class Loop:
    """Trains a task with one optimizer; compiled once, used for any number of runs.

    Args:
        task: What to train.
        optimizer: A transformation whose ``update`` takes ``learning_rate=`` and ``loss=``
            (:func:`collect.training.optimizers.make`), wrapped by :func:`nowcast.periodic` or not.
        axes: Of the optimizer's state where several runs train together, as ``in_axes`` of
            :func:`jax.vmap`: :data:`nowcast.POPULATION` for a nowcast one.
    """

    def __init__(
        self, task: Task, optimizer: optax.GradientTransformationExtraArgs, axes: PyTree = 0
    ):
        self.task, self.optimizer, self._axes = task, optimizer, State(0, 0, axes)
        self._gradients = gradients_of(task)
        loops = getattr(task, "loops", False)
        self.one_run = Stepper(self._one_step, loops=loops)
        """Takes the steps of one run."""
        every_lane = jax.vmap(
            self._one_step, in_axes=(self._axes, None, 0, 0, 0), out_axes=(self._axes, 0)
        )
        self.together = Stepper(every_lane, loops=loops)
        """Takes those of several runs."""

    def start(self, seed: int) -> State:
        """The state before the first step, in buffers of its own.

        A step donates its state. An optimizer may keep the very parameters
        (:func:`optax.contrib.prodigy`), and a task may give the same arrays every time: all of them
        are copied.
        """
        params, extra = self.task.init(seed)
        return jax.tree.map(jnp.copy, State(params, extra, self.optimizer.init(params)))

    def run(
        self,
        seed: int,
        rates: np.ndarray,
        *,
        record_every: int | None = None,
        also: Container[int] = (),
        state: State | None = None,
        first_step: int = 0,
    ) -> Iterator[Snapshot]:
        """Train, pausing at every snapshot.

        Args:
            seed: The seed of the initial weights and of the data order.
            rates: The learning rate of every step; its length is the run's.
            record_every: Steps between two snapshots; an epoch when left out. The last step is
                always one.
            also: Further steps to pause after.
            state: The state to continue from, after ``first_step`` steps; left out: the start.
            first_step: Steps already taken.

        Yields:
            A snapshot before the first step (also when going on), then one every ``record_every``
            steps. The caller stops the run by asking for no more.
        """
        state = self.start(seed) if state is None else state
        yield Snapshot(first_step, first_step / self.task.steps_per_epoch, state, float("nan"))
        inputs = self._inputs(seed, rates, first_step)
        for done, reached, loss in self._drive(
            self.one_run,
            state,
            self.task.arrays,
            inputs,
            len(rates),
            record_every,
            also,
            first_step,
        ):
            yield Snapshot(done, done / self.task.steps_per_epoch, reached, float(loss))

    def run_together(
        self,
        seeds: Sequence[int],
        rates: np.ndarray,
        *,
        record_every: int | None = None,
        also: Container[int] = (),
        states: Sequence[State] | None = None,
        first_step: int = 0,
    ) -> Iterator[list[Snapshot]]:
        """Train several runs as one program, spread over the local devices.

        This is :meth:`run`, vectorised over runs. The numbers are those of one run after another,
        to rounding.

        Args:
            seeds: The seed of each run.
            rates: ``(runs, steps)``.
            record_every: As in :meth:`run`.
            also: As in :meth:`run`.
            states: As in :meth:`run`, one per run; all have taken ``first_step`` steps.
            first_step: Steps already taken.

        Yields:
            A snapshot per run, each with its state in host memory.
        """
        states = [self.start(seed) for seed in seeds] if states is None else list(states)
        devices = jax.local_devices()[: len(seeds)]
        # All devices hold equally many lanes; spare ones repeat the first run.
        spare = -len(seeds) % len(devices)
        lanes = [*range(len(seeds)), *[0] * spare]
        mesh = jax.sharding.Mesh(np.array(devices), ("runs",))
        split, everywhere = (
            NamedSharding(mesh, jax.sharding.PartitionSpec(*axis)) for axis in (["runs"], [])
        )
        axes = jax.tree.broadcast(self._axes, states[0], is_leaf=_is_none)
        state = jax.tree.map(
            lambda axis, *leaves: jax.device_put(
                leaves[0] if axis is None else np.stack(leaves),
                everywhere if axis is None else split,
            ),
            axes,
            *(states[i] for i in lanes),
            is_leaf=_is_none,
        )
        each = [self._inputs(seeds[i], rates[i], first_step) for i in lanes]

        def inputs(step: int) -> tuple[Any, ...]:
            return jax.tree.map(lambda *lanes: np.stack(lanes), *(one(step) for one in each))

        def snapshots(done: int, state: State, losses: np.ndarray) -> list[Snapshot]:
            host, epoch = jax.device_get(state), done / self.task.steps_per_epoch
            each_state = (
                jax.tree.map(
                    lambda axis, leaf, i=i: (
                        None
                        if leaf is None
                        else np.asarray(leaf if axis is None else leaf[i])  # no leaf, no axis
                    ),
                    axes,
                    host,
                    is_leaf=_is_none,
                )
                for i in range(len(seeds))
            )
            return [
                Snapshot(done, epoch, own, float(loss))
                for own, loss in zip(each_state, losses, strict=False)
            ]

        yield snapshots(first_step, state, np.full(len(lanes), np.nan))
        arrays = jax.device_put(self.task.arrays, everywhere)
        for reached in self._drive(
            self.together,
            state,
            arrays,
            inputs,
            rates.shape[1],
            record_every,
            also,
            first_step,
            split,
        ):
            yield snapshots(*reached)

    def once(self, state: State, seed: int, rates: np.ndarray, step: int) -> State:
        """The state after one more step, number ``step`` (from 0) of its run.

        The given state is used up.
        """
        return self.one_run.take(
            state, self.task.arrays, [self._inputs(seed, rates[: step + 1], step)(step)]
        )[0]

    def _drive(
        self,
        stepper: Stepper,
        state: State,
        arrays: PyTree,
        inputs: Callable[[int], tuple[Any, ...]],
        steps: int,
        record_every: int | None,
        also: Container[int],
        first_step: int,
        spread: NamedSharding | None = None,
    ) -> Iterator[tuple[int, State, np.ndarray]]:
        """``(steps taken, state, mean loss since the last snapshot)`` at each but the first."""
        record_every = record_every or self.task.steps_per_epoch
        losses: list[tuple[jax.Array, int]] = []
        ahead: list[tuple[Any, ...]] = []
        most = 0
        for done in range(first_step + 1, steps + 1):
            ahead.append(inputs(done - 1))
            snapshot = done % record_every == 0 or done == steps
            pause = snapshot or done in also
            most = most or stepper.at_once(ahead[0])
            if pause or len(ahead) == most:
                state, each = stepper.take(state, arrays, ahead, spread)
                losses.append((each, len(ahead)))
                ahead.clear()
            if pause:
                mean = np.mean(
                    np.concatenate([each[:count] for each, count in jax.device_get(losses)]), axis=0
                )
                yield done, state, mean
            if snapshot:
                losses.clear()

    def _inputs(
        self, seed: int, rates: np.ndarray, first_step: int = 0
    ) -> Callable[[int], tuple[Any, ...]]:
        """A function from a step to its inputs: those of the task's ``batch``, learning rate, key.

        It is called for each step from ``first_step`` on, in order.
        """
        if stream := getattr(self.task, "stream", None):
            examples = stream(seed, range(first_step, len(rates)))
            return lambda step: (next(examples), rates[step], seed_and_step(seed, step))

        row = rows(self.task, seed)
        return lambda step: (row(step), rates[step], seed_and_step(seed, step))

    def _value(self, params: PyTree, extra: PyTree, batch: Any, key: jax.Array) -> jax.Array:
        """The loss, in the form that a guard needs."""
        if hasattr(self.task, "loss"):
            return self.task.loss(params, extra, batch, key)[0]
        return self._gradients(params, extra, batch, key)[0]

    def _one_step(
        self, state: State, arrays: PyTree, indices: Any, rate: Any, seed_and_step: Any
    ) -> tuple[State, jax.Array]:
        key, noise = keys(seed_and_step)
        batch = self.task.batch(arrays, indices, key)
        loss, grads, extra = self._gradients(state.params, state.extra, batch, noise)
        updates, optimizer = self.optimizer.update(
            grads,
            state.optimizer,
            state.params,
            learning_rate=rate,
            loss=loss,
            value_fn=lambda p: self._value(p, state.extra, batch, noise),
        )
        return State(optax.apply_updates(state.params, updates), extra, optimizer), loss


def gradients_of(task: Task) -> Callable[..., tuple[Any, ...]]:
    """A task's own ``gradients``, or else those of its ``loss``: ``(loss, gradients, extra)``."""

    def of_the_loss(params: PyTree, extra: PyTree, batch: Any, key: jax.Array) -> tuple[Any, ...]:
        (loss, extra), grads = jax.value_and_grad(task.loss, has_aux=True)(
            params, extra, batch, key
        )
        return loss, grads, extra

    return getattr(task, "gradients", None) or of_the_loss


def keys(seed_and_step: Any) -> tuple[jax.Array, jax.Array]:
    """The keys of a step: the batch's, and the loss's."""
    key = jax.random.fold_in(
        jax.random.fold_in(jax.random.key(BATCH_KEYS), seed_and_step[0]), seed_and_step[1]
    )
    return key, jax.random.fold_in(key, LOSS_KEYS)


def seed_and_step(seed: int, step: int) -> np.ndarray:
    """What a step's keys are made from: the same for all arms of a seed, and after a resume."""
    return np.array([seed % 2**32, step], np.uint32)


def _is_none(axis: Any) -> bool:
    return axis is None
