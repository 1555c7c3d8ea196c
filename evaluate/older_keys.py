"""Give the keys of older files the names that they have today.

Older versions wrote ``alone`` for :data:`COMPARABLE` in results, and for :data:`UNDISTURBED` in
runs.
"""

from collections.abc import Mapping
from typing import Any

OLDER = "alone"
COMPARABLE = "seconds_comparable"
"""Whether the seconds of runs can be compared: each had one and the same machine to itself."""
UNDISTURBED = "undisturbed"
"""Whether a run had the machine to itself; None: not known."""


def results_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a ``results.json`` with today's names of its keys.

    Examples:
        >>> from evaluate.older_keys import results_of
        >>> results_of({"alone": True, "arms": [], "curves": {"adam": [{"alone": None}]}})
        {'seconds_comparable': True, 'arms': [], 'curves': {'adam': [{'undisturbed': None}]}}
    """
    found = _renamed(content, COMPARABLE)
    if isinstance(found.get("arms"), list):
        found["arms"] = [_renamed(row, COMPARABLE) for row in found["arms"]]
    if isinstance(found.get("curves"), dict):
        found["curves"] = {
            name: [run_of(run) for run in runs] for name, runs in found["curves"].items()
        }
    return found


def run_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a run's file with today's names of its keys."""
    return _renamed(content, UNDISTURBED)


def _renamed(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {name if key == OLDER else key: value for key, value in content.items()}
