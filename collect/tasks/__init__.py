"""Tasks: what can be trained. Each is a :class:`nowcast.Task`."""

from collect.tasks.classification import Classification

__all__ = ["Classification"]
