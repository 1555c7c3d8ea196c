"""Celo, a learned optimizer of Moudgil et al. (TMLR 2025), with the weights that they published.

Two networks act. The *update rule*, a small MLP, turns what it reads of a weight into a direction
and a magnitude. The *scheduler*, an LSTM, reads the time and the losses, and answers with one
factor of all updates. With ``p`` the weights of a leaf and ``d``, ``m`` the rule's two outputs::

    p' = p − 0.001 · factor · √(mean(p²) + 1e-9) · d · exp(0.001 m)
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from collect.training.learned import celo_file, celo_inputs, lstm
from collect.training.learned.celo_file import Dense, Theta
from collect.training.learned.celo_inputs import Losses, Moments
from nowcast.types import PyTree, UserError, whole

LARGEST = 1000.0
"""Gradients are clipped to this size, weight by weight."""
STEP = 0.001
"""By this the directions and the logarithms of the magnitudes are multiplied."""
SCHEDULED = 0.1
"""The factor of the updates where the scheduler answers 0."""
NEEDS = "give both to each step: tx.update(grads, state, params, value=loss)"


class Scheduler(NamedTuple):
    """Where a run of Celo is: what the scheduler remembers."""

    step: Int[Array, ""]
    """Steps taken."""
    losses: Losses
    hidden: Float[Array, "64"]
    """The LSTM's output."""
    cell: Float[Array, "64"]


class CeloState(NamedTuple):
    """State of Celo. What counts steps lies in a tuple of its own, beside the moments."""

    moments: Moments
    scheduler: Scheduler


class _Moved(NamedTuple):
    """What a step makes of one leaf."""

    update: Array
    moments: Moments


@dataclass(frozen=True)
class Celo:
    """Celo with its weights.

    Args:
        theta: The weights, from :func:`collect.training.learned.celo_file.read`.
    """

    theta: Theta

    def transformation(
        self, steps: int, learning_rate: Any = 1.0
    ) -> optax.GradientTransformationExtraArgs:
        """Celo as an optax transformation.

        Args:
            steps: Steps of the run, at whose end the scheduler aims.
            learning_rate: A factor of its updates; 1: as it was meta-trained. It may be traced.

        Returns:
            A transformation whose ``update`` needs ``params``, and the loss of the step as
            ``value=``, or ``value_fn=``, the loss as a function of the parameters. Its state holds
            4 numbers for each weight (7 for each weight of a vector), 3 for each row and each
            column of a matrix, and some 150 more.

        Raises:
            UserError: ``steps`` is no whole number. At a step: there are no parameters or no loss.

        Source: Moudgil et al., TMLR 2025 (arXiv 2501.12670), and the code published with it.

        Examples:
            >>> from collect.training.learned import celo
            >>> tx = celo.load("downloads/theta.state").transformation(1000)  # doctest: +SKIP
            >>> state = tx.init(params)  # doctest: +SKIP
            >>> updates, state = tx.update(grads, state, params, value=loss)  # doctest: +SKIP
        """
        theta, steps = self.theta, whole("steps", steps, "steps")
        decays = celo_inputs.loss_decays(steps)

        def init(params: PyTree) -> CeloState:
            begun = jax.tree.map(lambda leaf: celo_inputs.begin(jnp.shape(leaf)), params)
            scheduler = Scheduler(
                jnp.zeros([], jnp.int32), celo_inputs.before_losses(), theta.hidden, theta.cell
            )
            return CeloState(_apart(begun, Moments), scheduler)

        def update(
            grads: PyTree,
            state: CeloState,
            params: PyTree | None = None,
            *,
            value: Any = None,
            value_fn: Callable[[PyTree], Any] | None = None,
            **_: Any,
        ) -> tuple[PyTree, CeloState]:
            loss = _loss(params, value, value_fn)
            factor, scheduler = _scheduled(theta, decays, state.scheduler, loss, steps)

            def move(gradient: Array, weights: Array, *moments: Array) -> _Moved:
                own = (weights, gradient, Moments(*moments))
                if gradient.ndim == 0:  # a scalar moves as a vector of one
                    own = jax.tree.map(lambda part: part[..., None], own)
                update, after = _moved(theta, *own)
                moved = _Moved((learning_rate * factor * update).astype(gradient.dtype), after)
                if gradient.ndim == 0:
                    moved = jax.tree.map(lambda part: part[..., 0], moved)
                return moved

            moved = jax.tree.map(move, grads, params, *state.moments)
            updates, moments = _apart(moved, _Moved)
            return updates, CeloState(_apart(moments, Moments), scheduler)

        return optax.GradientTransformationExtraArgs(init, update)


def load(file: str | os.PathLike[str]) -> Celo:
    """Celo with the weights of a file of its authors.

    Args:
        file: ``theta.state`` as published.

    Raises:
        UserError: The file is not there, is damaged, or holds another network.

    Examples:
        >>> from collect.training.learned import celo
        >>> tx = celo.load("downloads/theta.state").transformation(1000)  # doctest: +SKIP
    """
    return Celo(celo_file.read(file))


def _moved(
    theta: Theta, weights: Float[Array, "*shape"], gradient: Float[Array, "*shape"], before: Moments
) -> tuple[Float[Array, "*shape"], Moments]:
    """The update of one leaf for a factor of 1, and its moments after the step."""
    weights = weights.astype(jnp.float32)
    gradient = jnp.clip(gradient.astype(jnp.float32), -LARGEST, LARGEST)
    moments = celo_inputs.watch(before, gradient)
    hidden = theta.bias.reshape((-1,) + (1,) * weights.ndim)
    inputs = celo_inputs.of_weights(weights, gradient, moments)
    for kernel, part in zip(theta.first, inputs, strict=True):
        # Each input is divided by its root mean square over the leaf: in the kernel, for speed.
        size = jnp.mean(jnp.square(part), axis=range(1, part.ndim))
        hidden = _added(hidden, jax.lax.rsqrt(1e-5 + size)[:, None] * kernel, part)
    for layer in (theta.second, theta.last):
        bias = layer.bias.reshape((-1,) + (1,) * weights.ndim)
        hidden = _added(bias, layer.kernel, jax.nn.relu(hidden))
    direction, magnitude, _ = hidden
    size = jnp.sqrt(jnp.mean(jnp.square(weights)) + 1e-9)
    update = -STEP * size * direction * jnp.exp(STEP * magnitude)
    return update.reshape(weights.shape), moments


def _scheduled(
    theta: Theta,
    decays: Float[np.ndarray, "10"],
    before: Scheduler,
    loss: Float[Array, ""],
    steps: int,
) -> tuple[Float[Array, ""], Scheduler]:
    """The factor of all updates of a step, and the scheduler after it.

    In the published code every leaf has an LSTM of its own. All of them begin alike and read the
    same, so that one stands for all.
    """
    losses = celo_inputs.watch_loss(before.losses, decays, before.step, loss)
    inputs = celo_inputs.of_the_run(losses, decays, before.step, steps)
    x = _dense(theta.plain, inputs) + jax.nn.relu(_dense(theta.mixed, inputs))
    gates = _dense(theta.lstm, jnp.concatenate([x, before.hidden]))
    enter, candidate, forget, leave = jnp.split(gates, 4)
    hidden, cell = lstm.after(before.cell, enter, forget + 1, candidate, leave)
    factor = SCHEDULED * jnp.exp(_dense(theta.factor, hidden)[0])
    return factor, Scheduler(before.step + 1, losses, hidden, cell)


def _added(to: Array, kernel: Float[Array, "inputs outputs"], x: Array) -> Array:
    """``to``, with its outputs along the first axis, plus a layer's product with its inputs.

    As a sum over the inputs it is one loop over the weights for XLA, which takes a quarter of the
    time of products of matrices as narrow as these.
    """
    for row, each in zip(kernel, x, strict=True):
        to = to + row.reshape((-1,) + (1,) * each.ndim) * each[None]
    return to


def _dense(layer: Dense, x: Float[Array, "inputs"]) -> Float[Array, "outputs"]:
    return jnp.matmul(x, layer.kernel, precision=jax.lax.Precision.HIGHEST) + layer.bias


def _loss(
    params: PyTree | None, value: Any, value_fn: Callable[[PyTree], Any] | None
) -> Float[Array, ""]:
    """The loss of a step, as a number in float32."""
    if params is None:
        raise UserError(f"Celo reads the parameters and the loss, and params are missing; {NEEDS}")
    if value is None and value_fn is None:
        raise UserError(f"Celo reads the parameters and the loss, and the loss is missing; {NEEDS}")
    found = value_fn(params) if value is None and value_fn is not None else value
    return jnp.asarray(found, jnp.float32).reshape(())


def _apart(tree: PyTree, kind: type) -> Any:
    """From a tree of named tuples of one kind to one named tuple of trees."""
    fields = kind._fields  # type: ignore[attr-defined]

    def take(place: int) -> PyTree:
        return jax.tree.map(lambda one: one[place], tree, is_leaf=lambda one: isinstance(one, kind))

    return kind(*map(take, range(len(fields))))
