"""Check a jump's state and gradients against the parameters; a refusal names the leaf and the cure.

What users give when they make a jump is checked in :mod:`nowcast.checks`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nowcast.arrays import dtype_of_leaf
from nowcast.history import absent
from nowcast.ops import path_name
from nowcast.state import Clock, NowcastState
from nowcast.timetable import NamedSteps
from nowcast.types import PyTree, UserError


def check_unchanged(params: PyTree, state: NowcastState) -> None:
    """Refuse a state that nowcast did not make, and parameters that it was not made for."""
    if not isinstance(state, NowcastState):
        raise UserError(
            f"the state is a {type(state).__name__}, and none of nowcast's: make it with"
            " init(params)"
        )
    difference = _difference("leaf", state, params)
    if difference:
        raise UserError(difference)


def check_gradients(
    inner: optax.GradientTransformationExtraArgs,
    grads: PyTree,
    state: NowcastState,
    params: PyTree,
    **extra: Any,
) -> None:
    """Refuse gradients that do not match the parameters, unless the optimizer accepts them.

    Some optimizers do: ``optax.lookahead`` takes gradients of its fast parameters only, private
    optimizers take the gradients of each example. A gradient that an optimizer would merely
    broadcast is refused.
    """
    difference = _difference("gradient", state, grads)
    if not difference:
        return
    known, found = _leaves(state.history.first), _leaves(grads)
    if any(not _ends_alike(known[name], found[name]) for name in known.keys() & found.keys()):
        raise UserError(difference)
    try:
        updates = jax.eval_shape(lambda: inner.update(grads, state.inner, params, **extra)[0])
    except Exception:  # whatever the optimizer says of them
        raise UserError(difference) from None
    made: Any = jax.tree.structure(updates)
    if made != jax.tree.structure(params) or _difference("gradient", state, updates):
        raise UserError(difference)


def _ends_alike(was: Any, now: Any) -> bool:
    """Whether a gradient's last axes are those of its parameter.

    More axes in front are one gradient for each example.
    """
    shape = np.shape(was)
    return absent(was) or np.shape(now)[max(np.ndim(now) - len(shape), 0) :] == shape


def _difference(what: str, state: NowcastState, tree: PyTree) -> str | None:
    """Name the first leaf of ``tree`` that differs from the state's parameters, in words.

    Gradients may have another dtype.
    """
    known, found = _leaves(state.history.first), _leaves(tree)
    for name in known | found:
        was, now = _described(known.get(name, "not there")), _described(found.get(name, "gone"))
        shape_only = what == "gradient" and was.partition("(")[2] == now.partition("(")[2] != ""
        if not (absent(known.get(name)) or was == now or shape_only):
            return (
                f"{what} {name!r} is {now}, and was {was} when the state was made; "
                "make a new one with init(params) when the parameters change"
            )
    return None


def check_made_for(jumps: Any, state: NowcastState) -> None:
    """Refuse a state that was made for another window or another kind of guard.

    The window is the forecaster's, or that of the named steps. A guard that waits needs a state
    made for one, and the other way round.
    """
    held, wanted, guard = len(state.history.moved), jumps.timetable.kept, jumps.guard
    if held != wanted:
        window = (
            f"{jumps.forecaster.name} reads {jumps.forecaster.window}: go on with the forecaster"
        )
        if jumps.at is not None:
            window = f"at={list(jumps.at)} needs {wanted + 2}: go on with the steps"
        raise UserError(
            f"the state's window is of {held + 2} snapshots, and {window} that the state was made"
            " for, or make a new one with init(params)"
        )
    if (state.kept is None) == bool(guard and guard.wait):
        raise UserError(
            f"the state was made {'without' if state.kept is None else 'with'} a guard that waits,"
            f" and guard={guard!r}: go on with the guard that it was made for, or make a new one"
            " with init(params)"
        )


def check_resumed(clock: Clock, start_after: int, stop_after: int | None, wait: int) -> None:
    """Refuse a state whose clock shows other limits, which the run could no longer keep.

    Args:
        clock: With numbers, not placeholders of ``jit``.
        start_after: As it is now.
        stop_after: As it is now.
        wait: Steps from a jump to its judgement.
    """
    step, filled, windows, total = map(int, clock)
    waits_to_start = not windows and not filled and step < 0
    if (waits_to_start and total - step != start_after) or (
        windows + filled and total < start_after
    ):
        was = (
            f"start_after={total - step}"
            if waits_to_start
            else f"windows that had begun by step {total}"
        )
        raise UserError(
            f"start_after={start_after}, and the state was made with {was}: start_after counts from"
            " init(params); go on with the one that it was made with, or make a new state"
        )
    last = total - step  # the step of the last snapshot
    if (
        stop_after is not None
        and step >= 0
        and (filled or (windows and not wait))
        and last > stop_after
    ):
        raise UserError(
            f"stop_after={stop_after}, and the state has a snapshot of step {last}, so it was made"
            f" with another: give a later step, or stop_after={total} to end the jumps now"
        )


def check_named_steps_resumed(clock: Clock, times: NamedSteps) -> None:
    """Refuse a state whose clock has counted other snapshots or jumps than these steps give.

    Args:
        clock: With numbers, not placeholders of ``jit``.
        times: The steps as they are now.
    """
    _, filled, windows, total = map(int, clock)
    wanted = (sum(step <= total for step in times.places), len(times.steps(total)))
    if (filled, windows) != wanted:
        raise UserError(
            f"at={list(times.at)}: by step {total} that is {wanted[0]} snapshots and {wanted[1]}"
            f" jumps, and the state has {filled} and {windows}; go on with the steps that it was"
            " made with, or make a new state with init(params)"
        )


def _leaves(tree: PyTree) -> dict[str, Any]:
    return {
        path_name(path): leaf for path, leaf in jax.tree.flatten_with_path(tree, is_leaf=absent)[0]
    }


def _described(leaf: Any) -> str:
    """A leaf's dtype and shape as text."""
    if absent(leaf):
        return "masked"
    if isinstance(leaf, str):
        return leaf
    try:
        return f"{dtype_of_leaf(leaf)}{jnp.shape(leaf)}"
    except (TypeError, ValueError):
        return f"a {type(leaf).__name__}"
