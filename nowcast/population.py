"""What ``jax.vmap`` must know of a state whose runs train together."""

from collections.abc import Collection
from typing import Any, TypeVar, cast

S = TypeVar("S", bound=tuple)


def axes(state: type[S], shared: Collection[str]) -> S:
    """The ``in_axes`` of a state: None of the fields that members share, 0 of all others.

    Args:
        state: The ``NamedTuple`` of one run's state.
        shared: Names of its fields.

    Examples:
        >>> from nowcast.population import axes
        >>> from nowcast.state import Clock
        >>> axes(Clock, shared=("step", "total"))
        Clock(step=None, filled=0, windows=0, total=None)
    """
    named = cast(Any, state)
    return named(*(None if name in shared else 0 for name in named._fields))
