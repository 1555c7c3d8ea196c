"""A run as the comparison sees it."""

from collections.abc import Mapping
from typing import Any

Curve = Mapping[str, Any]
"""One run as the comparison sees it: ``step``, ``epoch``, ``seconds``, ``train_loss`` and every
metric by its name, with a value per evaluation; ``jumps``, ``accepted`` and ``refused``; ``test_``
before a metric's name: at the end, on the last split; and what it took (``results.schema.json``).
"""
