"""The window of snapshots that a run carries: W − 1 times its parameters.

It is not W times, because a jump follows the last snapshot at once. Jumps at named steps share one
history, which holds the untrained weights and what later jumps will read
(:class:`nowcast.timetable.NamedSteps`). The first snapshot is kept
itself, later ones as differences from the first: in half precision the differences lose almost
nothing, while snapshots, which differ in their last digits, would lose everything.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from nowcast.arrays import copied, wide
from nowcast.types import PyTree


class History(NamedTuple):
    """The snapshots so far, from the oldest; ``optax.MaskedNode()`` for leaves that never jump.

    Every leaf has its parameter's shape, so that whatever places or partitions optimizer states
    places it well.
    """

    first: PyTree
    """The oldest snapshot."""
    moved: tuple[PyTree, ...]
    """The next W − 2 snapshots (or none), or those between the start and jumps at named steps;
    each minus the first.
    """


def empty(params: PyTree, jumping: list[bool], kept: int, dtype: Any = None) -> History:
    """Room for the first snapshot and ``kept`` others, of the leaves that are ``jumping``.

    ``dtype`` is that of the differences; None: the parameters' own.
    """
    leaves, treedef = jax.tree.flatten(params)

    def zeros(dtype: Any) -> PyTree:
        kept = [
            jnp.zeros_like(leaf, dtype) if jumps else optax.MaskedNode()
            for leaf, jumps in zip(leaves, jumping, strict=True)
        ]
        return jax.tree.unflatten(treedef, kept)

    return History(zeros(None), tuple(zeros(dtype) for _ in range(kept)))


def record(history: History, filled: Array, params: PyTree) -> History:
    """Add ``params`` to a history that has ``filled`` snapshots already, fewer than W − 1."""

    def first(new: Array, old: Any) -> Any:
        return old if absent(old) else jnp.where(filled == 0, new, old)

    # From the new first one: the old one is then not needed, and not copied at every step.
    history = history._replace(first=jax.tree.map(first, params, history.first))
    here = [filled == number for number in range(1, 1 + len(history.moved))]
    return put(history, here, params)


def begun(history: History, params: PyTree) -> History:
    """The history with ``params`` as its first snapshot, in memory of its own."""
    first = jax.tree.map(
        lambda new, old: old if absent(old) else copied(new), params, history.first
    )
    return history._replace(first=first)


def put(history: History, here: Sequence[Array], params: PyTree) -> History:
    """Store ``params`` at the places of a history that are marked ``here``, and nowhere else."""

    def moved(yes: Array, new: Array, old: Any, begun: Any) -> Any:
        return old if absent(old) else jnp.where(yes, (new - begun).astype(old.dtype), old)

    rest = (
        jax.tree.map(partial(moved, yes), params, old, history.first)
        for yes, old in zip(here, history.moved, strict=True)
    )
    return history._replace(moved=tuple(rest))


def window(
    size: int,
    newest: Float[Array, "*shape"],
    first: Float[Array, "*shape"],
    *moved: Float[Array, "*shape"],
) -> Float[Array, "W *shape"]:
    """The window of one leaf, in single precision or better."""
    dtype = wide(newest.dtype)
    newest, first, *later = (part.astype(dtype) for part in (newest, first, *moved))
    return jnp.stack([first, *(first + part for part in later), newest][1 if size == 1 else 0 :])


def oldest(history: History, params: PyTree) -> PyTree:
    """``params``, with the window's first snapshot for the leaves that jump."""
    return jax.tree.map(lambda now, first: now if absent(first) else first, params, history.first)


def absent(node: Any) -> bool:
    """Whether a node stands for a leaf that never jumps."""
    return isinstance(node, optax.MaskedNode)
