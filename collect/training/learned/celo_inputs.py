"""What the two networks of Celo read: of each weight and its gradients, and of the losses so far.

Shapes: ``*shape`` is that of a leaf with one axis or more. The last axis of the running means has
one entry for each decay of :data:`DECAYS`.

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
READ = 30
"""Inputs of each weight."""
TIMES = (0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1)
"""Shares of a run around which the scheduler sees the time pass."""
AVERAGES = 10
"""Running means of the loss."""
UNSEEN = 999_999_999_999.0
"""The lowest mean loss before the first step."""


class Moments(NamedTuple):
    """Running means over the steps, in float32: trees like the weights."""

    momentum: PyTree
    """Of the gradients, (\\*shape, 3)."""
    square: PyTree
    """Of their squares, (\\*shape)."""
    rows: PyTree
    """Of their squares, averaged over the longest axis, (…, 3); of a vector: not averaged."""
    columns: PyTree
    """Of their squares, averaged over the second longest axis, (…, 3); of a vector: (0, 3)."""


class Losses(NamedTuple):
    """Running means of the loss, from a short memory to one as long as the run."""

    means: Float[Array, "10"]
    """Not corrected for their start at 0."""
    lowest: Float[Array, "10"]
    """The lowest of the corrected means so far."""


def begin(shape: Sequence[int]) -> Moments:
    """The moments of a leaf of this shape before the first step."""
    shape, kinds = tuple(shape), len(DECAYS)
    rows: tuple[int, ...] = shape
    columns: tuple[int, ...] = (0,)
    if len(shape) >= 2:
        second, longest = longest_axes(shape)
        rows, columns = _without(shape, longest), _without(shape, second)
    return Moments(*map(jnp.zeros, ((*shape, kinds), shape, (*rows, kinds), (*columns, kinds))))


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
    slope = gradient[..., None]
    squares = jnp.square(slope) + 1e-30

    def mean(before: Array, now: Array) -> Array:
        keep = jnp.asarray(DECAYS.reshape((1,) * (now.ndim - 1) + (-1,)))
        return keep * before + (1 - keep) * now

    if gradient.ndim < 2:
        rows, columns = mean(moments.rows, squares), moments.columns
    else:
        second, longest = longest_axes(gradient.shape)
        rows = mean(moments.rows, jnp.mean(squares, axis=longest))
        columns = mean(moments.columns, jnp.mean(squares, axis=second))
    square = DECAY * moments.square + (1 - DECAY) * jnp.square(gradient)
    return Moments(mean(moments.momentum, slope), square, rows, columns)


def of_weights(
    weights: Float[Array, "*shape"], gradient: Float[Array, "*shape"], moments: Moments
) -> Float[Array, "*shape 30"]:
    """What the update rule reads of each weight of a leaf, before it is scaled.

    Args:
        weights: The leaf.
        gradient: Its gradient.
        moments: Its moments, which have seen this gradient.
    """
    slope, momentum, square = gradient[..., None], moments.momentum, moments.square[..., None]
    root = jax.lax.rsqrt(square + 1e-6)
    if gradient.ndim < 2:
        rows = columns = moments.rows
        slopes, steps = slope * _root(rows + 1e-9), momentum * jax.lax.rsqrt(rows)
    else:
        second, longest = longest_axes(gradient.shape)
        # The rows lack the longest axis, so the second one may have moved up.
        mean = jnp.mean(moments.rows, axis=second - (second > longest), keepdims=True)
        by_row = jnp.expand_dims(_root(moments.rows / (mean + 1e-9)), longest)
        by_column = jnp.expand_dims(_root(moments.columns), second)
        slopes, steps = slope * by_row * by_column, momentum * by_row * by_column
        rows = jnp.expand_dims(moments.rows, longest)
        columns = jnp.expand_dims(moments.columns, second)
    parts = [
        *(slope, jnp.clip(slope, -0.1, 0.1), weights[..., None], momentum, square),
        *(momentum * root, root, slopes, slope * root, rows, columns),
        *(jax.lax.rsqrt(rows + 1e-8), jax.lax.rsqrt(columns + 1e-8), steps),
    ]
    return jnp.concatenate(
        [jnp.broadcast_to(part, (*gradient.shape, part.shape[-1])) for part in parts], axis=-1
    )


def loss_decays(steps: int) -> Float[np.ndarray, "10"]:
    """The decays of the running means of the loss: e^(−1/τ), τ from 10 steps to the whole run."""
    spans = np.logspace(1, np.log10(steps), AVERAGES)
    return np.exp(-1 / spans).astype(np.float32)


def before_losses() -> Losses:
    """The means of the loss before the first step."""
    return Losses(jnp.zeros(AVERAGES), jnp.full(AVERAGES, UNSEEN))


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
