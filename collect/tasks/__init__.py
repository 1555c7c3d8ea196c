"""Tasks: what can be trained. Each is a :class:`Task`."""

from collect.tasks.classification import Classification
from collect.tasks.protocol import Task

__all__ = ["Classification", "Task"]
