"""Do several pieces of work side by side."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import jax

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """How many cores this process may use.

    They are as many as ``NPROC`` says, which XLA obeys too, or as the system allows.
    """
    if os.environ.get("NPROC", "").isdigit():
        return max(int(os.environ["NPROC"]), 1)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers() -> int:
    """How many compiled programs to run at a time.

    One per CPU core, or one on an accelerator, which they would share.
    """
    return cores() if jax.default_backend() == "cpu" else 1


def side_by_side(
    work: Callable[[Item], Result], items: Iterable[Item], at_once: int | None = None
) -> list[Result]:
    """``[work(item) for item in items]`` in threads, ``at_once`` at a time.

    By default there are as many threads as :func:`workers` says. After an error no more work
    begins, and the error is raised.
    """
    with ThreadPoolExecutor(at_once or workers()) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
