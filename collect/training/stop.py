"""Stop in good order: SIGTERM, Ctrl-C and ``max_minutes`` take effect between two snapshots."""

import os
import signal
import time
from types import FrameType


class Stop:
    """A context in which a first SIGTERM or Ctrl-C only sets :attr:`reason`.

    A second one has its usual effect. SIGUSR2 sets it too, where something handles that signal, and
    is then passed on: submitit's jobs get it before their time is up, and put themselves into the
    queue again.
    """

    def __init__(self, max_minutes: float | None = None):
        self._deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._minutes, self._signal = max_minutes, 0

    def __enter__(self) -> "Stop":
        numbers = [signal.SIGTERM, signal.SIGINT]
        if callable(signal.getsignal(signal.SIGUSR2)):
            numbers.append(signal.SIGUSR2)
        self._before = {number: signal.signal(number, self._handle) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._signal == signal.SIGUSR2:
            signal.raise_signal(self._signal)

    @property
    def reason(self) -> str:
        """Why to stop now; empty while there is no reason."""
        if self._signal:
            return f"{signal.Signals(self._signal).name} received"
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return f"max_minutes={self._minutes:g} is spent"
        return ""

    @property
    def exit_code(self) -> int:
        """A shell's code for what happened: 130 after Ctrl-C, 143 after SIGTERM, 0 otherwise."""
        return 128 + self._signal if self._signal else 0

    def _handle(self, number: int, _: FrameType | None) -> None:
        if not self._signal and os.isatty(2):  # somebody watches; a signal may come within a print
            os.write(2, b"\nstopping after what is being done now; again: at once\n")
        self._signal = number
        signal.signal(number, self._before[signal.Signals(number)])
