"""Let a learned optimizer take some steps, and find the objective's gradient by its parameters.

The steps of a population go on together. Their batches' gradients are found one step after another,
in compiled programs without loops; the meta-gradient is one compiled scan over the steps, which
holds no convolution, whatever the task.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from collect.training.learned import kinds
from collect.training.learned.kinds import Kind
from meta_train.learners import objectives
from meta_train.learners.problem import Found, Parts, Problem
from nowcast.types import PyTree

BLOCK = 4096
"""Coordinates whose unrolled memory is held at a time."""
TEACHERS: tuple[optax.GradientTransformation, ...] = (
    optax.adam(5e-3, eps=1e-10),
    optax.rmsprop(5e-3, decay=0.9, eps=1e-10),
)
"""The small pool of L2O-Amalgam, with the rates of its published code (``config/presets.py``)."""


class Settings(NamedTuple):
    """How a learner unrolls."""

    steps: int
    """Steps of one unroll."""
    logarithm: bool
    """True: the objective is the mean over the unroll of log(loss / loss of the first weights), of
    L2O-Amalgam. False: the sum of the losses, with the one after the last step, of L2O.
    """
    spread: float = 0.0
    """Weights are scaled at random by up to e^spread, up or down, one by one (Lv et al., 2017)."""
    amalgamation: str = "min_max"
    """Which distance to the teachers counts (:func:`meta_train.learners.objectives.of_imitation`).
    """


class Run(NamedTuple):
    """A population in training, between two unrolls."""

    parts: Parts
    """The weights, divided by their scales."""
    scale: Parts
    extra: PyTree
    memory: dict[str, PyTree]
    teachers: list[tuple[Parts, PyTree]]
    """Of each teacher: its weights, divided by the scales, and its state."""
    seeds: list[int]
    step: int = 0


class Unrolled(NamedTuple):
    """What an unroll ends with."""

    run: Run
    value: float
    """The objective without the imitation, the mean of the population. Where the meta-gradient is
    found, L2O-Amalgam's losses are not divided by those of the first weights, which no gradient
    depends on.
    """
    slope: PyTree
    """The gradient of the whole objective by the learned optimizer's parameters, or None."""
    last_loss: float
    """The mean loss over the unroll's steps."""


class Learner:
    """Takes unrolls of one kind of learned optimizer on one problem.

    Args:
        problem: The population's task.
        kind: The kind.
        settings: How it unrolls.
    """

    def __init__(self, problem: Problem, kind: Kind, settings: Settings):
        self.problem, self.kind, self.settings = problem, kind, settings
        self._step = jax.jit(partial(_step, kind))
        self._watch = jax.jit(partial(_watch, kind))
        self._slope = jax.jit(partial(meta_gradient, kind))
        self._teach = [jax.jit(partial(_teach, teacher)) for teacher in TEACHERS]

    def begin(self, params: PyTree, seeds: list[int], *, taught: bool) -> Run:
        """Runs with these seeds before their first step; with teachers if they are ``taught``."""
        parts, extra = self.problem.start(seeds)
        spread, key = self.settings.spread, jax.random.key(seeds[0])
        keys = dict(zip(parts, jax.random.split(key, len(parts)), strict=True))
        scale = {
            name: jnp.exp(jax.random.uniform(keys[name], part.shape, minval=-spread, maxval=spread))
            for name, part in parts.items()
        }
        parts = jax.tree.map(jnp.divide, parts, scale)
        teachers = [(parts, teacher.init(parts)) for teacher in TEACHERS] if taught else []
        memory = kinds.begin(self.kind, params, parts)
        return Run(parts, scale, extra, memory, teachers, seeds)

    def warm(self, run: Run, steps: int, rate: float) -> Run:
        """Take some steps of SGD, which the memory watches; teachers begin where they end."""
        for _ in range(steps):
            found = self._found(run.parts, run)
            parts, memory = self._watch(run.parts, run.memory, found.gradients, rate)
            run = run._replace(parts=parts, memory=memory, extra=found.extra, step=run.step + 1)
        return run._replace(teachers=[(run.parts, state) for _, state in run.teachers])

    def unroll(
        self, params: PyTree, run: Run, imitation: float = 0.0, *, slope: bool = True
    ) -> Unrolled:
        """Take the steps of one unroll.

        Args:
            params: The parameters of the learned optimizer's networks.
            run: The population.
            imitation: The weight of the distance to the teachers.
            slope: Whether the meta-gradient is needed.
        """
        length, logarithm = self.settings.steps, self.settings.logarithm
        begun, seen, at, after = run, [], [], []
        for _ in range(length):
            found = self._found(run.parts, run)
            seen.append(found)
            at.append(self._pull(found, run, None if slope else begun))
            parts, memory = self._step(params, run.memory, run.parts, found.gradients)
            teachers = [
                teach(weights, state, run.scale, self._found(weights, run).gradients)
                for teach, (weights, state) in zip(self._teach, run.teachers, strict=False)
            ]
            run = run._replace(
                parts=parts, memory=memory, extra=found.extra, teachers=teachers, step=run.step + 1
            )
            if slope and imitation and teachers:
                pull = objectives.of_imitation(
                    parts, [weights for weights, _ in teachers], self.settings.amalgamation
                )
                after.append(jax.tree.map(lambda one: imitation * one, pull.slope))
        if not logarithm:
            at.append(self._pull(self._found(run.parts, run), run, None))
        share = length if logarithm else 1
        value = sum(float(jnp.mean(pull.value)) for pull in at) / share
        loss = float(np.mean([jax.device_get(found.loss) for found in seen]))
        if not slope:
            return Unrolled(run, value, None, loss)
        slopes = [pull.slope for pull in at[1:]]
        if logarithm:  # nothing is asked of the weights after the last step but to imitate
            slopes.append(jax.tree.map(jnp.zeros_like, run.parts))
        if after:
            slopes = [
                jax.tree.map(jnp.add, one, two) for one, two in zip(slopes, after, strict=True)
            ]
        gradients = _stacked([found.gradients for found in seen])
        members = share * len(run.seeds)
        by_update = jax.tree.map(lambda s: objectives.by_update(s) / members, _stacked(slopes))
        return Unrolled(run, value, self._slope(params, begun.memory, gradients, by_update), loss)

    def _found(self, parts: Parts, run: Run) -> Found:
        """What the next batch says of these weights; gradients are by the divided weights."""
        row, number = self.problem.inputs(run.seeds, run.step)
        found = self.problem.gradients(
            jax.tree.map(jnp.multiply, parts, run.scale),
            run.extra,
            self.problem.task.arrays,
            row,
            number,
        )
        return found._replace(gradients=jax.tree.map(jnp.multiply, found.gradients, run.scale))

    def _pull(self, found: Found, run: Run, begun: Run | None) -> objectives.Pull:
        """The part of the objective at one step; without ``begun``, losses are over 1."""
        if not self.settings.logarithm:
            return objectives.of_loss(found.loss, found.gradients)
        first = jnp.ones_like(found.loss)
        if begun is not None:
            first = self._found(begun.parts, run._replace(extra=begun.extra)).loss
        return objectives.of_logarithm(found.loss, found.gradients, first)


def meta_gradient(
    kind: Kind,
    params: PyTree,
    memory: dict[str, PyTree],
    gradients: dict[str, Float[Array, "T P n"]],
    by_update: dict[str, Float[Array, "T P n"]],
) -> PyTree:
    """The gradient of ``Σ by_update · update`` by the parameters, through an unroll's memory.

    Args:
        kind: The kind of learned optimizer.
        params: The parameters of its networks.
        memory: The memory before the unroll.
        gradients: What it read at each step.
        by_update: The objective's derivative by each update.

    Coordinates go through :data:`BLOCK` at a time, and steps are computed once more on the way
    back, so that memory does not grow with the network's size or the unroll's length times it.
    """

    def of_block(own: Any, block: Any) -> Any:
        memory, gradients, by_update = block

        def total(own: Any) -> Array:
            @jax.checkpoint
            def one(memory: Any, here: Any) -> Any:
                gradient, weight = here
                update, memory = kind.advance(own, memory, gradient)
                return memory, jnp.sum(update * weight)

            return jnp.sum(jax.lax.scan(one, memory, (gradients, by_update))[1])

        return jax.grad(total)(own)

    slope = {}
    for name, read in gradients.items():
        flat = jax.tree.map(lambda leaf: _blocks(leaf, 0), memory[name])
        along = [jnp.moveaxis(_blocks(leaf, 1), 1, 0) for leaf in (read, by_update[name])]
        own = params[name]

        def add(total: Any, block: Any, own: Any = own) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, of_block(own, block)), None

        nothing = jax.tree.map(jnp.zeros_like, own)
        slope[name], _ = jax.lax.scan(add, nothing, (flat, *along))
    unused = {name: jax.tree.map(jnp.zeros_like, params[name]) for name in params.keys() - slope}
    return slope | unused


def _blocks(leaf: Array, axis: int) -> Array:
    """Join the axes of members and coordinates, and split them into blocks, padded with zeros."""
    before, (members, each), after = (
        leaf.shape[:axis],
        leaf.shape[axis : axis + 2],
        leaf.shape[axis + 2 :],
    )
    size = members * each
    flat = leaf.reshape(*before, size, *after)
    pad = [(0, 0)] * axis + [(0, -size % BLOCK)] + [(0, 0)] * len(after)
    return jnp.pad(flat, pad).reshape(*before, -1, BLOCK, *after)


def _step(
    kind: Kind, params: PyTree, memory: PyTree, parts: Parts, gradients: Parts
) -> tuple[Parts, PyTree]:
    updates, memory = kinds.advance(kind, params, memory, gradients)
    return jax.tree.map(jnp.add, parts, updates), memory


def _watch(
    kind: Kind, parts: Parts, memory: PyTree, gradients: Parts, rate: Any
) -> tuple[Parts, PyTree]:
    memory = {name: kind.watch(memory[name], gradients[name]) for name in memory}
    return jax.tree.map(lambda p, g: p - rate * g, parts, gradients), memory


def _teach(
    teacher: optax.GradientTransformation,
    parts: Parts,
    state: PyTree,
    scale: Parts,
    gradients: Parts,
) -> tuple[Parts, PyTree]:
    """One step of a teacher, which sees the weights as they are, without their scales."""
    plain = jax.tree.map(jnp.divide, gradients, scale)
    updates, state = teacher.update(plain, state)
    return jax.tree.map(lambda p, u, s: p + u / s, parts, updates, scale), state


def _stacked(steps: list[Parts]) -> dict[str, Float[Array, "T P n"]]:
    return jax.tree.map(lambda *each: jnp.stack(each), *steps)
