"""Let several processes fit together, each with its own devices.

They run one program, in the sense of ``jax.distributed``. What each does by itself (reading,
drawing windows, writing) goes through :func:`together`: where one fails, all end at once and say
why, instead of waiting for it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from nowcast.types import UserError, first_line

T = TypeVar("T")


def join(count: int | str, number: int, coordinator: str | None) -> None:
    """Meet the other processes; call it before anything touches a device.

    Args:
        count: How many there are; ``"auto"``: as Slurm or a TPU pod says.
        number: Which of them this one is.
        coordinator: The address of the first.
    """
    if count == 1 or jax.distributed.is_initialized():
        return
    try:
        if count == "auto":
            jax.distributed.initialize()
        else:
            jax.distributed.initialize(coordinator, num_processes=int(count), process_id=number)
        jax.devices()  # all of them must show theirs
    except (RuntimeError, ValueError) as error:
        cure = (
            "say how many there are: processes=2 process=0 coordinator=HOST:PORT"
            if count == "auto"
            else (
                "start the same command once per process, each with its own process= and"
                f" coordinator={coordinator}"
            )
        )
        raise UserError(
            f"processes={count}: they did not meet ({first_line(error)}); {cure}"
        ) from None


def is_first() -> bool:
    """Whether this process writes and prints for all."""
    return jax.process_index() == 0


def in_any_process(yes: bool) -> bool:
    """Whether ``yes`` holds in any process; all of them must ask."""
    return bool(np.any(_gather(np.array(yes))))


def together(work: Callable[[], T]) -> T:
    """Run ``work`` and return its result once every process is done; all of them must call this.

    Raises:
        UserError: Another process failed, or is gone.
        Exception: This process's own failure.
    """
    result, failed = None, None
    try:
        result = work()
    except Exception as error:
        failed = error
    if in_any_process(failed is not None):
        raise failed or UserError("another process of this fit failed; its own output says why")
    return result  # type: ignore[return-value]


def check_alike(here: Mapping[str, Any], cure: str) -> None:
    """Refuse to go on where a value differs between processes.

    All of them must call this with the same keys.
    """
    texts = {key: json.dumps(here[key], default=str) for key in sorted(here)}
    digests = [
        np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8) for text in texts.values()
    ]
    every = _gather(np.stack(digests))
    differs = (every != every[:1]).any(axis=(0, 2))
    if differs.any():
        said = ", ".join(
            f"{key}={texts[key]} here" for key, differ in zip(texts, differs, strict=True) if differ
        )
        raise UserError(f"the processes of this fit differ in {said}; {cure}")


def _gather(array: np.ndarray) -> np.ndarray:
    """The arrays of all processes, along a new first axis."""
    if jax.process_count() == 1:
        return array[None]
    try:
        return np.asarray(multihost_utils.process_allgather(array))
    except jax.errors.JaxRuntimeError:
        raise UserError(
            "another process of this fit is gone; give the same command to all of them again"
        ) from None
