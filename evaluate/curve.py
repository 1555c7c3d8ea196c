"""A run as the comparison sees it."""

from collections.abc import Mapping
from typing import Any

Curve = Mapping[str, Any]
"""One run as the comparison sees it: ``step``, ``epoch``, ``seconds``, ``train_loss``, ``loss``, ``accuracy``, … with a value per evaluation,
``jumps``, ``accepted`` and ``refused``, ``test_loss`` and ``test_accuracy``, and what it took (``results.schema.json``)."""
