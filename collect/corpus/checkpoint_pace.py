"""Decide how often to make checkpoints: they may take a fixed share of the time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class CheckpointPace:
    """Says when the next checkpoint is due, by how long the last one took.

    Args:
        share: The share of the time that checkpoints may take.
        cost: Seconds that the first one is assumed to take.

    Examples:
        >>> from collect.corpus.checkpoint_pace import CheckpointPace
        >>> CheckpointPace(0.05, cost=60).due()
        False
    """

    def __init__(self, share: float, cost: float = 0.0):
        self._share, self._cost, self._last = share, cost, time.monotonic()

    def due(self) -> bool:
        """Whether enough time has passed since the last checkpoint for another one."""
        return (time.monotonic() - self._last) * self._share > self._cost

    @contextmanager
    def timed(self) -> Iterator[None]:
        """A context around the making of a checkpoint; one that fails does not count."""
        begun = time.monotonic()
        yield
        self._last = time.monotonic()
        self._cost = self._last - begun
