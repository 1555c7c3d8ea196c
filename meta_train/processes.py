"""Several processes that fit together, each with its own devices: one program, as ``jax.distributed`` means it.

What each does by itself (reading, drawing windows, writing) goes through :func:`together`: where one fails, all end at once and
say why, instead of waiting for one that is gone.
"""

import hashlib
from collections.abc import Callable
from typing import TypeVar

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
            else f"start the same command once per process, each with its own process= and coordinator={coordinator}"
        )
        raise UserError(f"processes={count}: they did not meet ({first_line(error)}); {cure}") from None


def is_first() -> bool:
    """Whether this process writes and prints for all."""
    return jax.process_index() == 0


def anywhere(yes: bool) -> bool:
    """Whether it is so in any process; all of them must ask."""
    if jax.process_count() == 1:
        return yes
    return bool(np.any(multihost_utils.process_allgather(np.array(yes))))


def together(work: Callable[[], T]) -> T:
    """What ``work`` gives here, once it is done in every process; all of them must call this.

    Raises:
        UserError: This process's own, or, where only others failed, one that says so.
    """
    result, failed = None, None
    try:
        result = work()
    except UserError as error:
        failed = error
    if anywhere(failed is not None):
        raise failed or UserError("another process of this fit failed; its own output says why")
    return result  # type: ignore[return-value]


def check_alike(what: str, here: str, cure: str) -> None:
    """Refuse to go on where a text differs between processes; all of them must call this."""
    if jax.process_count() > 1:
        digest = np.frombuffer(hashlib.sha256(here.encode()).digest(), np.uint8)
        every = multihost_utils.process_allgather(digest)
        if (every != every[:1]).any():
            raise UserError(f"processes differ in {what}, here {here}; {cure}")
