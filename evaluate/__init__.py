"""Comparing runs honestly: what to train, what to measure, and how to say it. Pure functions;
training is the caller's.

The protocol: all arms of one seed share initial weights and data order; targets come from
calibration seeds of the bases alone, fixed before any other arm runs, and learning rates from the
same seeds; a target is crossed when the mean of three consecutive values of the task's first metric
is at it or better; a run that never crosses counts as crossing at its end. The WNN paper's own
protocol (first crossing of a given value, on the last split, before a jump) is there beside it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluate.arms import Arm
    from evaluate.inheritance import resolve
    from evaluate.protocol import Plan
    from evaluate.summary import summarise

__all__ = ["Arm", "Plan", "resolve", "summarise"]

HOME = {"Arm": "arms", "resolve": "inheritance", "Plan": "protocol", "summarise": "summary"}
"""The module that each name is defined in."""


def __getattr__(name: str) -> Any:
    """Import what is asked for: a command's ``--help`` needs none of it."""
    import importlib

    if name in HOME:
        return getattr(importlib.import_module(f"evaluate.{HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
