"""The type of what one run of a comparison measured."""

from collections.abc import Mapping
from typing import Any

Curve = Mapping[str, Any]
"""What one run measured, by key; ``results.schema.json`` describes every key.

- ``step``, ``epoch``, ``seconds``, ``train_loss``, and each metric by its name: a value per
  evaluation.
- ``jumps``, ``accepted``, ``refused``: the run's jumps, and how many were taken and refused.
- ``test_`` before a metric's name: the value at the end, on the last split.
- Further keys: compile time, memory, and the machine.
"""
