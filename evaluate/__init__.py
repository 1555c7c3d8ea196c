"""Compare ways to train, paired by seed, and report what the comparison shows.

The honest protocol has four rules:

- All arms of one seed share initial weights and data order (data order alone, where an arm has a
  network of its own).
- Calibration runs have seeds of their own. They choose the learning rates. Those of the bases set
  the targets, before any other arm runs.
- A run reaches a target where the mean of three consecutive values of the task's first metric is
  at the target or better.
- A run that never reaches the target counts with its whole length.

The WNN paper's protocol is here too: a run reaches a given value on the last split, in one
evaluation, measured before a jump.
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
    """Import a name when it is used, so that a command's ``--help`` imports nothing."""
    import importlib

    if name in HOME:
        return getattr(importlib.import_module(f"evaluate.{HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
