"""Keep or reset an optimizer's moments at a jump: they describe the weights before the jump."""

from typing import Any

import jax
import optax

from nowcast.types import PyTree, UserError, first_line

MOMENTS = ("keep", "reset")
"""What happens to the moments: they stay, or they begin anew, with their count."""


def renewed(inner: optax.GradientTransformation, state: PyTree, params: PyTree) -> PyTree:
    """The optimizer's state with its moments reset.

    Every part that holds moments begins anew, with its own count, so that its bias correction is
    right; other parts inside or beside it, such as schedules, go on.
    """
    return _begun(state, inner.init(params), _of_params(inner, state))


def check_resettable(inner: optax.GradientTransformation, state: PyTree) -> None:
    """Refuse an optimizer that has no moments, or whose state cannot be told apart."""
    try:
        names = _moments(state, _of_params(inner, state))
    except Exception as error:  # whatever an optimizer says to placeholders
        raise UserError(
            "moments='reset': the moments of this optimizer cannot be told from its other state "
            f"({first_line(error)}); use 'keep'"
        ) from None
    if not names:
        raise UserError("moments='reset': this optimizer has none that it would reset; use 'keep'")


def _of_params(inner: optax.GradientTransformation, state: PyTree) -> PyTree:
    return optax.tree.map_params(inner, lambda _: True, state, transform_non_params=lambda _: False)


def _moments(state: Any, of_params: Any) -> set[str]:
    """The names of the fields that are trees like the parameters."""
    if isinstance(state, dict):
        parts = [("", state[key], of_params[key]) for key in state]
    elif isinstance(state, tuple | list):
        parts = list(
            zip(getattr(state, "_fields", [""] * len(state)), state, of_params, strict=True)
        )
    else:
        return set()
    each = (
        {name} if name and _all(marks) else _moments(part, marks) for name, part, marks in parts
    )
    return set().union(*each)


def _begun(state: Any, fresh: Any, of_params: Any) -> Any:
    """``state`` with its moments, and the counts beside them, begun anew."""
    if isinstance(state, dict):
        return {key: _begun(state[key], fresh[key], of_params[key]) for key in state}
    if not isinstance(state, tuple | list):
        return state
    fields = getattr(state, "_fields", [""] * len(state))
    moments = {
        field for field, marks in zip(fields, of_params, strict=True) if field and _all(marks)
    }
    parts = []
    for field, part, new, marks in zip(fields, state, fresh, of_params, strict=True):
        if field in moments or (moments and not isinstance(part, tuple | list | dict)):
            parts.append(new)
        else:
            parts.append(_begun(part, new, marks))
    return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)


def _all(marks: Any) -> bool:
    return bool(jax.tree.leaves(marks)) and all(jax.tree.leaves(marks))
