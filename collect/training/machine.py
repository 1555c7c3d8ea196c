"""Find out whether a measurement had the machine to itself."""

import os
import platform
import time
from pathlib import Path

import jax
import jaxlib

from collect.training.workers import cores

STAT = Path("/proc/stat")
MOST_OF_OTHERS = 0.05
"""The share of the cores that other programs may take while time is measured."""


class OtherPrograms:
    """How busy other programs kept this machine since it was made.

    Examples:
        >>> others = OtherPrograms()
        >>> cores_used = others.cores_used()  # on average; None where the system does not say
    """

    def __init__(self) -> None:
        self._begun, self._busy, self._own = time.perf_counter(), _busy(), _own()

    def cores_used(self) -> float | None:
        """The cores that others used, on average; None where the system does not say."""
        busy, passed = _busy(), time.perf_counter() - self._begun
        if busy is None or self._busy is None or passed <= 0:
            return None
        return max(0.0, (busy - self._busy) - (_own() - self._own)) / passed

    def undisturbed(self, at_once: int) -> bool | None:
        """Whether one run had the machine to itself.

        No other run of ours ran beside it, and hardly another program.
        """
        others = self.cores_used()
        if at_once > 1:
            return False
        return None if others is None else others < MOST_OF_OTHERS * max(cores(), 1)


def described() -> str:
    """The machine that runs are timed on: the device, the cores, and JAX's version."""
    device = jax.devices()[0]
    kind = (
        _processor()
        if device.platform == "cpu"
        else f"{len(jax.local_devices())} × {device.device_kind}"
    )
    return f"{kind}, {cores()} cores, jaxlib {jaxlib.__version__}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.machine() or "cpu"


def _busy() -> float | None:
    """Seconds that all cores have worked since the system began; None where it does not say."""
    try:
        user, nice, system, _, _, irq, soft, *_ = map(
            int, STAT.read_text(encoding="utf-8").split("\n", 1)[0].split()[1:]
        )
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    times = os.times()
    return times.user + times.system
