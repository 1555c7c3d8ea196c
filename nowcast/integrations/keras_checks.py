"""Check what users give to the Keras callback, before the first batch.

Each refusal names the value and the cure.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nowcast.checks import check_known
from nowcast.forecasters.base import Forecaster
from nowcast.history import absent
from nowcast.jumps import Jumps
from nowcast.state import NowcastState
from nowcast.types import PyTree, UserError, first_line

PARTS = ("x", "y", "sample_weight")
NOT_HERE = ("labels", "axis_name")
"""Options of :class:`nowcast.Jumps` that the callback does not need, or sets itself."""


def check_options(options: Collection[str]) -> None:
    """Refuse options that the callback does not have."""
    known = [field.name for field in fields(Jumps) if field.name not in NOT_HERE]
    check_known(options, ["guard_data", *known], "the Keras callback")


def guard_arrays(guard_data: Any) -> tuple[PyTree, ...]:
    """``(x, y)`` or ``(x, y, sample_weight)`` as arrays.

    Refuse what is no number, and parts of unequal length.
    """
    if not isinstance(guard_data, tuple | list) or len(guard_data) not in (2, 3):
        raise UserError(
            "guard_data must be (x, y) or (x, y, sample_weight), and is a"
            f" {type(guard_data).__name__}"
        )
    counts: dict[str, int] = {}
    for name, part in zip(PARTS, guard_data, strict=False):
        for leaf in jax.tree.leaves(part):
            array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
            if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):
                kind = (
                    "text"
                    if array.dtype.kind in "USO" and isinstance(_first(array), str | bytes)
                    else array.dtype
                )
                raise UserError(
                    f"guard_data: {name} holds {kind}, such as {_first(array)!r}, and must hold"
                    " numbers"
                )
            if jnp.issubdtype(array.dtype, jnp.inexact) and not bool(
                jnp.isfinite(jnp.asarray(array)).all()
            ):
                raise UserError(
                    f"guard_data: {name} holds NaN or infinity, and a loss on it judges nothing;"
                    " leave those out"
                )
            counts[name] = array.shape[0] if array.ndim else 0
            if not counts[name] or counts[name] != counts["x"]:
                found = ", ".join(f"{part} has {count}" for part, count in counts.items())
                raise UserError(
                    f"guard_data needs as many examples in each part, one at least: {found}"
                )
    return tuple(jax.tree.map(jnp.asarray, part) for part in guard_data)


def _first(array: Any) -> Any:
    return (
        array.ravel()[0].item()
        if array.size and hasattr(array.ravel()[0], "item")
        else next(iter(array.ravel()), None)
    )


def check_guard_data(loss: Callable[..., Any], weights: PyTree, beside: PyTree) -> None:
    """Refuse data that the model's ``loss(weights, beside)`` cannot take; nothing is computed."""
    try:
        shape = jax.eval_shape(loss, weights, beside).shape
    except Exception as error:  # whatever Keras says of it
        raise UserError(
            f"guard_data does not fit the model: {first_line(error)}; pass (x, y) as for"
            " model.evaluate"
        ) from None
    if shape != ():
        raise UserError(
            f"guard_data: the model's loss on it must be one number, and has shape {shape}"
        )


def check_classes(model: Any, y: Any) -> None:
    """Refuse labels beyond the classes of a model with a sparse categorical loss.

    The model has one output. JAX would not report such labels.
    """
    loss, classes = getattr(model, "loss", None), getattr(model, "output_shape", None)
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    if name.replace("_", "").lower() != "sparsecategoricalcrossentropy" or not isinstance(
        classes, tuple
    ):
        return
    labels, count = np.asarray(y), classes[-1]
    odd = labels[(labels < 0) | (labels >= count) | (labels != np.floor(labels))]
    odd = odd[odd != getattr(loss, "ignore_class", None)]
    if odd.size:
        raise UserError(
            f"guard_data: y holds {odd[0].item()!r}, and the classes of this model are 0 to"
            f" {count - 1}"
        )


def check_jumps(
    forecaster: Forecaster, operations: Collection[str] | None, labels: Mapping[str, str]
) -> None:
    """Refuse a model of which no weight would ever jump."""
    if not labels:
        raise UserError(
            "no weight of this model is trainable, and so none would jump: set trainable=True on a"
            " layer, and compile() again"
        )
    if any(
        forecaster.can_forecast(label) and (operations is None or label in operations)
        for label in labels.values()
    ):
        return
    name, label = next(iter(labels.items()))
    if operations is None:
        asked, cure = (
            f"this {forecaster.name}",
            "pass another forecaster, such as nowcast.load('linear'), which forecasts all",
        )
    else:
        asked, cure = f"operations={tuple(operations)}", "leave operations out, or name others"
    raise UserError(
        f"no weight of this model would ever jump with {asked}: {name!r} is {label!r}; {cure}"
    )


def shapes(state: NowcastState | None) -> dict[str, str]:
    """Dtype and shape of every leaf of a state, by name; leaves that do not jump are marked."""
    leaves = jax.tree.flatten_with_path(state, is_leaf=absent)[0]
    return {
        jax.tree_util.keystr(path).lstrip("."): (
            "not jumping" if absent(leaf) else f"{leaf.dtype}{leaf.shape}"
        )
        for path, leaf in leaves
    }


def difference(found: dict[str, str], wanted: dict[str, str]) -> str:
    """Describe the first leaf that differs."""
    leaf = next(leaf for leaf in wanted | found if found.get(leaf) != wanted.get(leaf))
    return (
        f"{leaf} is {found.get(leaf, 'not there')}, and should be {wanted.get(leaf, 'not there')}"
    )
