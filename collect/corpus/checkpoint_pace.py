"""How often to make checkpoints: they may take a share of the time, and no more."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class CheckpointPace:
    """Says when the next checkpoint is due, by how long the last one took.

    Args:
        share: Of the time, that checkpoints may take.
        cost: Seconds that the first one is taken to need.

    Examples:
        >>> from collect.corpus.checkpoint_pace import CheckpointPace
        >>> CheckpointPace(0.05, cost=60).due()
        False
    """

    def __init__(self, share: float, cost: float = 0.0):
        self._share, self._cost, self._last = share, cost, time.monotonic()

    def due(self) -> bool:
        """Whether the time since the last checkpoint pays for another one."""
        return (time.monotonic() - self._last) * self._share > self._cost

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Around the making of one; one that fails does not count."""
        begun = time.monotonic()
        yield
        self._last = time.monotonic()
        self._cost = self._last - begun
