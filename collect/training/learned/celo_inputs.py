"""What the two networks of Celo read: of each weight and its gradients, and of the losses so far.

Shapes: ``*shape`` is that of a leaf with one axis or more. What there are several of for a weight
lies along the first axis, so that weights lie side by side in memory.

Source: Moudgil et al., TMLR 2025 (arXiv 2501.12670), whose inputs are those of Metz et al., "VeLO",
2022. Constants that the papers leave open are those of the code published with Celo.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from nowcast.types import PyTree

DECAYS = np.array([0.9, 0.99, 0.999], np.float32)
"""Of the running means of the gradients, and of the factored means of their squares."""
DECAY = DECAYS[2]
"""Of the running mean of the squares that is not factored."""
PARTS = (1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3)
"""The inputs of a weight, group by group."""
TIMES = (0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1)
"""Shares of a run around which the scheduler sees the time pass."""
AVERAGES = 10
"""Running means of the loss."""
UNSEEN = 999_999_999_999.0
"""The lowest mean loss before the first step."""


class Moments(NamedTuple):
    """Running means over the steps, in float32: trees like the weights."""

    momentum: PyTree
    """Of the gradients, (3, \\*shape): one for each decay of :data:`DECAYS`."""
    square: PyTree
    """Of their squares, (\\*shape)."""
    rows: PyTree
    """Of their squares, averaged over the longest axis, (3, …); of a vector: not averaged."""
    columns: PyTree
    """Of their squares, averaged over the second longest axis, (3, …); of a vector: a 0."""


class Losses(NamedTuple):
    """Running means of the loss, from a short memory to one as long as the run."""

    means: Float[Array, "10"]
    """Not corrected for their start at 0."""
    lowest: Float[Array, "10"]
    """The lowest of the corrected means so far."""


def begin(shape: Sequence[int]) -> Moments:
    """The moments of a leaf of this shape before the first step."""
    shape = tuple(shape)
    rows = several = (len(DECAYS), *shape)
    columns: tuple[int, ...] = ()  # no empty array: of one XLA forgets how it is spread over runs
    if len(shape) >= 2:
        second, longest = (1 + axis for axis in longest_axes(shape))
        rows, columns = _without(several, longest), _without(several, second)
    return Moments(*map(jnp.zeros, (several, shape, rows, columns)))


def longest_axes(shape: Sequence[int]) -> tuple[int, int]:
    """The second longest axis and the longest one; of two equal ones the later counts as longer.

    Examples:
        >>> from collect.training.learned.celo_inputs import longest_axes
        >>> longest_axes((3, 3, 16, 8)), longest_axes((64, 64))
        ((3, 2), (0, 1))
    """
    *_, second, longest = sorted(range(len(shape)), key=shape.__getitem__)
    return second, longest


def watch(moments: Moments, gradient: Float[Array, "*shape"]) -> Moments:
    """The moments of one leaf that have seen one more gradient."""
    slope = gradient[None]
    squares = jnp.square(slope) + 1e-30

    def mean(before: Array, now: Array) -> Array:
        keep = jnp.asarray(DECAYS.reshape((-1,) + (1,) * (now.ndim - 1)))
        return keep * before + (1 - keep) * now

    if gradient.ndim < 2:
        rows, columns = mean(moments.rows, squares), moments.columns
    else:
        second, longest = longest_axes(gradient.shape)
        rows = mean(moments.rows, jnp.mean(squares, axis=1 + longest))
        columns = mean(moments.columns, jnp.mean(squares, axis=1 + second))
    square = DECAY * moments.square + (1 - DECAY) * jnp.square(gradient)
    return Moments(mean(moments.momentum, slope), square, rows, columns)


def of_weights(
    weights: Float[Array, "*shape"], gradient: Float[Array, "*shape"], moments: Moments
) -> list[Array]:
    """What the update rule reads of each weight of a leaf, before it is scaled: 30 numbers.

    Args:
        weights: The leaf.
        gradient: Its gradient.
        moments: Its moments, which have seen this gradient.

    Returns:
        Groups of inputs, in the order of :data:`PARTS`. Each has its inputs along the first axis,
        and then axes that broadcast to the leaf's shape: along a row all weights read the same.
    """
    slope, momentum, square = gradient[None], moments.momentum, moments.square[None]
    root = jax.lax.rsqrt(square + 1e-6)
    if gradient.ndim < 2:
        rows = columns = moments.rows
        slopes, steps = slope * _root(rows + 1e-9), momentum * jax.lax.rsqrt(rows)
    else:
        second, longest = (1 + axis for axis in longest_axes(gradient.shape))
        # The rows lack the longest axis, so the second one may have moved up.
        mean = jnp.mean(moments.rows, axis=second - (second > longest), keepdims=True)
        by_row = jnp.expand_dims(_root(moments.rows / (mean + 1e-9)), longest)
        by_column = jnp.expand_dims(_root(moments.columns), second)
        slopes, steps = slope * by_row * by_column, momentum * by_row * by_column
        rows = jnp.expand_dims(moments.rows, longest)
        columns = jnp.expand_dims(moments.columns, second)
    return [
        *(slope, jnp.clip(slope, -0.1, 0.1), weights[None], momentum, square),
        *(momentum * root, root, slopes, slope * root, rows, columns),
        *(jax.lax.rsqrt(rows + 1e-8), jax.lax.rsqrt(columns + 1e-8), steps),
    ]


def loss_decays(steps: int) -> Float[np.ndarray, "10"]:
    """The decays of the running means of the loss: e^(−1/τ), τ from 10 steps to the whole run."""
    spans = np.logspace(1, np.log10(steps), AVERAGES)
    return np.exp(-1 / spans).astype(np.float32)


def before_losses() -> Losses:
    """The means of the loss before the first step."""
    return Losses(jnp.zeros(AVERAGES), jnp.full(AVERAGES, UNSEEN, jnp.float32))


def watch_loss(
    losses: Losses, decays: Float[np.ndarray, "10"], step: Int[Array, ""], loss: Float[Array, ""]
) -> Losses:
    """The means that have seen one more loss.

    Args:
        losses: The means before.
        decays: From :func:`loss_decays`.
        step: Steps taken before this one.
        loss: The loss, of which no more counts than twice the highest mean.
    """
    seen = 1 - decays ** (step + 1)
    highest = jnp.where(step == 0, loss, jnp.max(losses.means / seen))
    loss = jnp.minimum(2 * jnp.abs(highest), loss)
    means = losses.means * decays + loss * (1 - decays)
    return Losses(means, jnp.minimum(losses.lowest, means / seen))


def of_the_run(
    losses: Losses, decays: Float[np.ndarray, "10"], step: Int[Array, ""], steps: int
) -> Float[Array, "18"]:
    """What the scheduler reads: the share of the run that is done, and how the loss falls.

    Args:
        losses: The means, which have seen this step's loss.
        decays: From :func:`loss_decays`.
        step: Steps taken before this one.
        steps: Steps of the run.
    """
    share = jnp.full(len(TIMES), step / jnp.float32(steps))
    times = jnp.tanh((share - np.array(TIMES, np.float32)) * 10)
    means = losses.means / (1 - decays ** (step + 1))
    # Each mean between its lowest value, 0, and the next longer mean, 1; then less 1.
    above = jnp.maximum(1e-8, means[1:] - losses.lowest[:-1])
    place = jnp.clip((means[:-1] - losses.lowest[:-1]) / above - 1, -1, 1)
    return jnp.concatenate([times, jnp.where(step < 2, 0.0, place)])


def _root(x: Array) -> Array:
    return jax.lax.rsqrt(jnp.maximum(x, 1e-9))


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]
