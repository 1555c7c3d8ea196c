"""Sums and counts over leaves that are split over devices inside ``jax.shard_map``.

There, code sees only one device's part of a leaf. Under plain ``jit`` nothing of this is needed:
sums are over whole leaves, however they are placed.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from nowcast.types import PyTree, UserError

_GIVEN: ContextVar[tuple[str, ...] | None] = ContextVar("axis_name", default=None)


def axis_names(asked: Any) -> tuple[str, ...] | None:
    """``axis_name=`` as a tuple, or None where it was not given."""
    if asked is None or isinstance(asked, str):
        return asked if asked is None else (asked,)
    if not isinstance(asked, Collection) or not all(isinstance(name, str) for name in asked):
        raise UserError(
            f"axis_name={asked!r} must be the name of a mesh axis, several, or (): leaves are whole"
        )
    return tuple(asked)


@contextmanager
def split_over(names: tuple[str, ...] | None) -> Iterator[None]:
    """A context in which leaves count as split over these axes of the mesh; None: unknown."""
    before = _GIVEN.set(names)
    try:
        yield
    finally:
        _GIVEN.reset(before)


def total(value: Array, leaf: Array, what: str) -> Array:
    """Sum ``value``, itself a sum over one device's part of ``leaf``, over all parts.

    ``what`` needs the sum, and is named where it cannot be computed.
    """
    axes = _axes_of(leaf, what)
    return jax.lax.psum(value, axes) if axes else value


def parts_of(leaf: Array, what: str) -> int:
    """Over how many devices a leaf is split."""
    axes = _axes_of(leaf, what)
    return jax.lax.psum(1, axes) if axes else 1


def everywhere(condition: Bool[Array, ""], leaf: Array) -> Bool[Array, ""]:
    """Whether a condition holds on all parts of a leaf.

    Without ``axis_name`` only the part here is known.
    """
    axes = () if _GIVEN.get() is None else _axes_of(leaf, "this")
    return jax.lax.psum((~condition).astype(jnp.int32), axes) == 0 if axes else condition


def check_split(tree: PyTree, counts: Any) -> None:
    """Refuse leaves that are split over devices, unless ``axis_name`` says so.

    Each device would decide by its own part whether to jump. Devices that have different counts of
    jumps are not refused: they hold runs of their own.
    """
    if _GIVEN.get() is not None or not _manual():
        return
    split = {axis for leaf in jax.tree.leaves(tree) for axis in _varying(leaf)} - _varying(counts)
    if split:
        names = ", ".join(map(repr, sorted(split)))
        raise UserError(
            f"leaves differ between the devices of mesh axis {names} inside shard_map: "
            f"pass axis_name={sorted(split)[0]!r} if each holds a part of every leaf"
        )


def _axes_of(leaf: Array, what: str) -> tuple[str, ...]:
    """The axes of the mesh over which a leaf is split.

    Raises a :class:`UserError` where they cannot be known.
    """
    manual, given = _manual(), _GIVEN.get()
    if not manual:
        return ()
    # shard_map knows which values differ between devices, unless check_vma=False.
    known = bool(_varying(jax.lax.axis_index(manual[0])))
    if given is None:
        if known and not _varying(leaf):
            return ()
        names = ", ".join(map(repr, manual))
        raise UserError(
            f"{what} sums over whole leaves, and sees a part inside shard_map or pmap over {names}:"
            f" pass axis_name={manual[0]!r} if leaves are split over it, axis_name=() if each"
            " device holds whole ones"
        )
    mesh = jax.sharding.get_abstract_mesh().axis_names
    for name in given:
        if name not in mesh:
            raise UserError(
                f"axis_name={name!r} is not an axis of this mesh: it has"
                f" {', '.join(map(repr, mesh))}"
            )
    return tuple(name for name in given if name in manual and (not known or name in _varying(leaf)))


def _manual() -> tuple[str, ...]:
    """The axes of the ``shard_map`` or ``pmap`` around; none under plain ``jit``."""
    return tuple(jax.sharding.get_abstract_mesh().manual_axes)


def _varying(leaf: Any) -> frozenset[str]:
    """The axes over which a value is known to differ between devices."""
    kind = jax.typeof(leaf)
    return frozenset(
        getattr(kind, "manual_axis_type", kind).varying
        if hasattr(kind, "manual_axis_type")
        else kind.vma
    )
