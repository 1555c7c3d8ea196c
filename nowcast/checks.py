"""What users give to a jump, checked: each refusal names the value and the cure."""

from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp

from nowcast.forecasters.base import Forecaster
from nowcast.guard import Guard
from nowcast.history import absent
from nowcast.ops import path_name
from nowcast.state import NowcastState
from nowcast.types import OPERATIONS, PyTree, UserError, first_line

DTYPES = ("float32", "bfloat16", "float16", "float64")


def check_unchanged(params: PyTree, state: NowcastState, grads: PyTree | None = None) -> None:
    """Refuse a state that is none of ours, and parameters (or gradients) that are not those that it was made for."""
    if not isinstance(state, NowcastState):
        raise UserError(f"the state is a {type(state).__name__}, and none of nowcast's: make it with init(params)")
    known = _leaves(state.history.first)
    for what, tree in (("leaf", params), ("gradient", params if grads is None else grads)):
        found = _leaves(tree)
        for name in known | found:
            was, now = _described(known.get(name, "not there")), _described(found.get(name, "gone"))
            shape_only = what == "gradient" and was.partition("(")[2] == now.partition("(")[2] != ""
            if absent(known.get(name)) or was == now or shape_only:
                continue
            raise UserError(
                f"{what} {name!r} is {now}, and was {was} when the state was made; "
                "make a new one with init(params) when the parameters change"
            )


def check_made_for(forecaster: Forecaster, guard: Guard | None, state: NowcastState) -> None:
    """Refuse a state whose window is not this forecaster's, or that was made for a guard that waits where this one does not, and the other way round."""
    held = len(state.history.moved)
    if held != max(forecaster.window - 2, 0):
        raise UserError(
            f"the state's window is of {held + 2} snapshots, and {forecaster.name} reads {forecaster.window}: "
            "go on with the forecaster that the state was made for, or make a new one with init(params)"
        )
    if (state.kept is None) == bool(guard and guard.after):
        raise UserError(
            f"the state was made {'without' if state.kept is None else 'with'} a guard that waits, and guard={guard!r}: "
            "go on with the guard that it was made for, or make a new one with init(params)"
        )


def _leaves(tree: PyTree) -> dict[str, Any]:
    return {path_name(path): leaf for path, leaf in jax.tree.flatten_with_path(tree, is_leaf=absent)[0]}


def check_weights(params: PyTree) -> None:
    """Refuse what is no floating-point array, by name."""
    for path, leaf in jax.tree.flatten_with_path(params)[0]:
        try:
            dtype = jnp.asarray(leaf).dtype
        except TypeError:
            raise UserError(
                f"parameter {path_name(path)!r} is a {type(leaf).__name__}: pass the arrays alone"
            ) from None
        if not jnp.issubdtype(dtype, jnp.floating):
            raise UserError(
                f"parameter {path_name(path)!r} is {dtype}: only floating-point "
                f"weights can be nowcast; wrap with optax.masked to leave it out"
            )


def _described(leaf: Any) -> str:
    """Dtype and shape."""
    if absent(leaf):
        return "masked"
    return leaf if isinstance(leaf, str) else f"{jnp.asarray(leaf).dtype}{jnp.shape(leaf)}"


def operations_of(asked: Any) -> tuple[str, ...] | None:
    """The operations that jump, or None: all."""
    if asked is None:
        return None
    asked = (asked,) if isinstance(asked, str) else asked
    if not isinstance(asked, Collection) or not asked:
        raise UserError(
            f"operations={asked!r} lets nothing jump; name one or more of {', '.join(OPERATIONS)}, or leave it out"
        )
    for operation in asked:
        if operation not in OPERATIONS:
            raise UserError(f"operations: {operation!r} is none; they are {', '.join(OPERATIONS)}")
    return tuple(asked)


def dtype_of(asked: Any) -> Any:
    """The dtype of a history."""
    try:
        dtype = jnp.dtype(asked)
    except TypeError:
        dtype = None
    if dtype is None or dtype.name not in DTYPES or (dtype.name == "float64" and not jax.config.jax_enable_x64):  # type: ignore[attr-defined]
        raise UserError(f"history_dtype={asked!r} must be one of {', '.join(DTYPES)}; float64 needs jax_enable_x64")
    return dtype


def first_horizon(horizon: Callable[[Any], Any]) -> int:
    """The horizon of the first jump, or a :class:`UserError`."""
    try:
        return int(horizon(jnp.zeros([], jnp.int32)))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"horizon: as a function it must give a whole number of snapshots for the number of a jump ({first_line(error)}); "
            "nowcast.decaying_horizon(10) is one"
        ) from None
