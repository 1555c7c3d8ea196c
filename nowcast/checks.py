"""Check what users give to a jump; each refusal names the value and the cure.

A state and gradients are checked in :mod:`nowcast.state_checks`.
"""

import sys
from collections.abc import Callable, Collection
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp

from nowcast.arrays import DTYPES, dtype_of_leaf
from nowcast.drift import SHORTEST
from nowcast.forecasters.base import Forecaster
from nowcast.ops import path_name
from nowcast.text import brief, choice
from nowcast.timetable import named_steps
from nowcast.types import OPERATIONS, PyTree, UserError, first_line, real, whole


def check_weights(params: PyTree) -> None:
    """Refuse a leaf that is not a floating-point array, and name it.

    Python's and NumPy's numbers count as arrays, and so do shapes with a dtype.
    """
    equinox = _holds_equinox(params)
    cure = "pass the arrays alone" + (
        ": eqx.filter(model, eqx.is_inexact_array)" if equinox else ""
    )
    for path, leaf in jax.tree.flatten_with_path(params)[0]:
        name = path_name(path)
        try:
            dtype = dtype_of_leaf(leaf)
        except (TypeError, ValueError):
            raise UserError(f"parameter {name!r} is a {type(leaf).__name__}: {cure}") from None
        if equinox and isinstance(leaf, bool | int | float | complex):
            raise UserError(
                f"parameter {name!r} is a {type(leaf).__name__} of an Equinox module: {cure}"
            )
        if not jnp.issubdtype(dtype, jnp.floating):
            without = cure if equinox else "wrap with optax.masked to leave it out"
            raise UserError(
                f"parameter {name!r} is {dtype}: only floating-point weights can be nowcast;"
                f" {without}"
            )
        if dtype.name not in DTYPES:
            raise UserError(
                f"parameter {name!r} is {dtype}: weights can be nowcast in {', '.join(DTYPES)};"
                " train a copy in one of them, or wrap with optax.masked to leave it out"
            )


def _holds_equinox(tree: PyTree) -> bool:
    """Whether a part of ``tree`` is an Equinox module.

    Equinox is not imported for the answer: if there is such a module, it was imported before.
    """
    equinox = sys.modules.get("equinox")
    if equinox is None:
        return False
    is_module = lambda node: isinstance(node, equinox.Module)  # noqa: E731
    return any(map(is_module, jax.tree.leaves(tree, is_leaf=is_module)))


def check_jumping(
    forecaster: Forecaster,
    names: list[str],
    labels: list[str],
    operations: Collection[str] | None,
    skip: Collection[str] | None = None,
) -> list[bool]:
    """Say which leaves jump.

    Refuse operations that no network forecasts, patterns that fit no leaf, and a model of which no
    leaf would ever jump.
    """
    for operation in operations or ():
        if operation in labels and not forecaster.can_forecast(operation):
            raise UserError(
                f"operations: this {forecaster.name} does not forecast {operation!r}, of leaf"
                f" {names[labels.index(operation)]!r}; leave it out, or meta-train with"
                f" networks={{{operation}:{operation}}}"
            )
    for pattern in skip or ():
        if names and not any(fnmatchcase(name, pattern) for name in names):
            raise UserError(
                f"skip: no leaf has a name like {pattern!r}; there are {', '.join(names[:5])}"
            )
    jumping = [
        forecaster.can_forecast(label)
        and (operations is None or label in operations)
        and not any(fnmatchcase(name, pattern) for pattern in skip or ())
        for name, label in zip(names, labels, strict=True)
    ]
    if names and not any(jumping):
        asked = (
            "this " + forecaster.name if operations is None else f"operations={tuple(operations)}"
        ) + (f" and skip={tuple(skip)}" if skip else "")
        raise UserError(
            f"no leaf would ever jump with {asked}: leaf {names[0]!r} is labelled {labels[0]!r};"
            " pass labels= or other operations"
        )
    return jumping


def operations_of(asked: Any) -> tuple[str, ...] | None:
    """The operations that jump as a tuple, or None for all."""
    if asked is None:
        return None
    asked = (asked,) if isinstance(asked, str) else asked
    if not isinstance(asked, Collection) or not asked:
        raise UserError(
            f"operations={asked!r} lets nothing jump; name one or more of {', '.join(OPERATIONS)},"
            " or leave it out"
        )
    for operation in asked:
        if operation not in OPERATIONS:
            meant = choice(str(operation), OPERATIONS)
            raise UserError(f"operations: {operation!r} is not an operation; {meant}")
    return tuple(asked)


def skipped(asked: Any) -> tuple[str, ...] | None:
    """The patterns of the leaves that never jump as a tuple, or None for none."""
    if asked is None:
        return None
    asked = (asked,) if isinstance(asked, str) else asked
    fine = isinstance(asked, Collection) and asked and all(isinstance(one, str) for one in asked)
    if not fine:
        raise UserError(
            f"skip={asked!r} must be patterns of leaves' names, such as 'head/*'; or leave it out"
        )
    return tuple(asked)


def window_options(jumps: Any) -> dict[str, Any]:
    """The options of jumps after full windows, checked: ``every``, ``horizon`` and the limits."""
    if jumps.every is None:
        raise UserError(
            "every=None must be a whole number of optimizer steps, or at=[…] must name the steps to"
            " jump after"
        )
    if jumps.aim is not None:
        raise UserError(f"aim={jumps.aim!r} belongs to at=[…]; give that too, or horizon instead")
    forecaster, horizon, start = jumps.forecaster, jumps.horizon, jumps.start_after
    every = whole("every", jumps.every, "optimizer steps")
    if callable(horizon):
        forecaster.check_schedule()
        with jax.ensure_compile_time_eval():
            forecaster.check_horizon(first_horizon(horizon))
    else:
        horizon = forecaster.check_horizon(horizon)
    start = whole("start_after", start, "optimizer steps") if start != 0 else 0
    if jumps.stop_after is not None:
        first = start + forecaster.window * every
        if whole("stop_after", jumps.stop_after, "optimizer steps") < first:
            raise UserError(
                f"stop_after={jumps.stop_after} lets nothing jump: the first jump is at step"
                f" {first}"
            )
    return {"every": every, "horizon": horizon, "start_after": start}


def named_options(jumps: Any) -> dict[str, Any]:
    """The options of jumps at named steps, checked: ``at`` and ``aim``."""
    rule = "leave it out: at=[…] counts from the first step, and names the last jump too"
    for name, unsaid in (("every", None), ("start_after", 0), ("stop_after", None)):
        if getattr(jumps, name) != unsaid:
            raise UserError(f"at and {name}={getattr(jumps, name)!r} exclude each other; {rule}")
    if jumps.horizon is not None:
        raise UserError(
            f"at and horizon={jumps.horizon!r} exclude each other: with at=[…] a jump leads to a"
            " multiple of its step; give aim=2, or leave both out"
        )
    if jumps.guard is not None and jumps.guard.wait:
        raise UserError(
            f"at and guard={jumps.guard!r} exclude each other: snapshots taken during the wait"
            " may be of a run that is taken back; pass nowcast.Guard.backtracking()"
        )
    aim = jumps.aim
    if aim is not None:
        aim = real("aim", aim, "must be a number above 1: 2 leads to twice the step")
    jumps.forecaster.at_named_steps(aim)  # refuses what it cannot do
    return {"at": named_steps(jumps.at), "aim": aim}


def limits_of(forecaster: Forecaster, damping: Any, min_drift: Any) -> dict[str, float | None]:
    """The options ``damping`` and ``min_drift``, each as a ``float`` or None."""
    rule = "must be a fraction of the jump, such as 0.5, and not 0; 1: all of it"
    damping = real("damping", damping, rule)
    if not damping:
        raise UserError(f"damping={damping} {rule}")
    if min_drift is not None:
        rule = (
            "must lie between -1 and 1, such as 0.2: the run jumps where the mean cosine of the"
            " window's increments is not below it; None: it always jumps"
        )
        min_drift = real("min_drift", min_drift, rule)
        if not -1 <= min_drift <= 1:
            raise UserError(f"min_drift={min_drift!r} {rule}")
        if forecaster.window < SHORTEST:
            raise UserError(
                f"min_drift={min_drift!r} needs a window of {SHORTEST} snapshots or more, and "
                f"{forecaster.name} has {forecaster.window}; pass min_drift=None to jump always"
            )
    return {"damping": damping, "min_drift": min_drift}


def check_known(asked: Collection[str], known: Collection[str], what: str) -> None:
    """Refuse options that ``what`` does not have, and suggest the closest name."""
    for option in asked:
        if option not in known:
            raise UserError(
                f"{option}: {what} has no option of this name; {choice(option, list(known))}"
            )


def dtype_of(asked: Any) -> Any:
    """The dtype of a history, checked."""
    try:
        dtype = jnp.dtype(asked)
    except TypeError:
        dtype = None
    if (
        dtype is None
        or dtype.name not in DTYPES
        or (dtype.name == "float64" and not jax.config.jax_enable_x64)  # type: ignore[attr-defined]
    ):
        raise UserError(
            f"history_dtype={asked!r} must be one of {', '.join(DTYPES)}; float64 needs"
            " jax_enable_x64"
        )
    return dtype


def first_horizon(horizon: Callable[[Any], Any]) -> int:
    """The horizon of the first jump, or a :class:`UserError`."""
    try:
        return int(horizon(jnp.zeros([], jnp.int32)))
    except (TypeError, ValueError) as error:
        raise UserError(
            "horizon: as a function it must give a whole number of snapshots for the number of a"
            f" jump ({first_line(error)}); nowcast.decaying_horizon(10) is one"
        ) from None


def check_optimizer(inner: Any) -> None:
    """Refuse anything but an optax transformation."""
    if isinstance(inner, Forecaster):
        raise UserError(
            f"inner is the forecaster {inner.name}: the optimizer comes first, and the forecaster"
            " second; nowcast.periodic(optax.adam(1e-3), nowcast.load('wnn'), every=…)"
        )
    if not all(callable(getattr(inner, name, None)) for name in ("init", "update")):
        raise UserError(
            f"inner={brief(inner)} is not an optimizer: pass an optax transformation, such as"
            " optax.adam(1e-3)"
        )
