"""What becomes of an optimizer's moments at a jump: they describe the place that the run has left."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from nowcast.types import PyTree

MOMENTS = ("keep", "reset", "reset_first")
FIRST = {"mu", "trace", "momentum", "m"}
"""Names of first moments in optax's states: of Adam and its kin; of SGD with momentum."""


def renewed(inner: optax.GradientTransformation, moments: str, state: PyTree, params: PyTree) -> PyTree:
    """The optimizer state to go on with.

    ``reset``: every part that holds moments begins anew, with its own count, so that its bias correction is right;
    counts of schedules stay. ``reset_first``: first moments become 0, all else stays.
    """
    of_params = optax.tree.map_params(inner, lambda _: True, state, transform_non_params=lambda _: False)
    return _begun(state, inner.init(params), of_params, only_first=moments == "reset_first")


def _begun(state: Any, fresh: Any, of_params: Any, *, only_first: bool) -> Any:
    """``state`` with those of its parts begun anew that hold moments: trees like the parameters."""
    if isinstance(state, dict):
        return {key: _begun(state[key], fresh[key], of_params[key], only_first=only_first) for key in state}
    if not isinstance(state, tuple | list):
        return state
    fields = getattr(state, "_fields", [""] * len(state))
    moments = {field for field, marks in zip(fields, of_params, strict=True) if field and _all(marks)}
    if moments and not only_first:
        return fresh
    parts = [
        jax.tree.map(jnp.zeros_like, part)
        if field in moments & FIRST
        else _begun(part, new, marks, only_first=only_first)
        for field, part, new, marks in zip(fields, state, fresh, of_params, strict=True)
    ]
    return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)


def _all(marks: Any) -> bool:
    return bool(jax.tree.leaves(marks)) and all(jax.tree.leaves(marks))
