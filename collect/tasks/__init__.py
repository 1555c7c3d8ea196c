"""Tasks that can be trained; each is a :class:`Task`."""

from collect.tasks.classification import Classification
from collect.tasks.language import Language
from collect.tasks.protocol import LOSS, Metric, Task

__all__ = ["LOSS", "Classification", "Language", "Metric", "Task"]
