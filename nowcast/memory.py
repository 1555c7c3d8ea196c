"""How many steps an optimizer remembers: its momentum affects all that it moves within them."""

import inspect
from typing import Any

NAMES = ("b1", "beta1", "momentum", "decay", "beta")
"""The names that optax's functions give to the factor of a first moment."""
USUAL = 20
"""Steps that Adam remembers, with β₁ = 0.9."""


def memory(optimizer: Any) -> int | None:
    """Steps that an optimizer remembers, ``2 / (1 − β₁)``: 20 for Adam with β₁ = 0.9.

    None: no momentum of the optimizer can be found.

    >>> import optax
    >>> from nowcast.memory import memory
    >>> memory(optax.adam(1e-3, b1=0.95))
    40
    """
    factors = [factor for factor in _factors(optimizer.update, set()) if 0 < factor < 1]
    return steps(max(factors)) if factors else None


def steps(factor: float) -> int:
    """Steps that a first moment with this factor remembers."""
    return round(2 / (1 - factor))


def _factors(function: Any, seen: set[int]) -> list[float]:
    """The factors that a function holds, or a function that its closure calls."""
    if id(function) in seen:
        return []
    seen.add(id(function))
    if isinstance(function, dict):
        function = list(function.values())
    if isinstance(function, tuple | list):
        return [factor for part in function for factor in _factors(part, seen)]
    function = inspect.unwrap(getattr(function, "func", function)) if callable(function) else None
    if not inspect.isfunction(function):
        return []
    held = inspect.getclosurevars(function).nonlocals
    own = [
        float(value)
        for name, value in held.items()
        if name in NAMES and isinstance(value, float | int)
    ]
    return own + [factor for value in held.values() for factor in _factors(value, seen)]
