"""Describe an error in a user's code, in one line."""

import os
import sys
import traceback
from pathlib import Path

from nowcast.types import first_line

ROOMS = ("nowcast", "collect", "meta_train", "evaluate", "scripts")
"""The folders of our own code, in a clone; installed, they lie in ``site-packages``."""


def failure(error: BaseException) -> str:
    """Describe in one line what went wrong in a user's code, and where."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if _is_users_file(frame.filename)
    ]
    where = f", {Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {first_line(error)}{where}"


def is_in_users_code(error: BaseException) -> bool:
    """Whether an error passed through a user's code."""
    return any(
        _is_users_file(frame.filename) for frame in traceback.extract_tb(error.__traceback__)
    )


def _is_users_file(file: str) -> bool:
    """Whether a file is neither ours nor a library's."""
    home = Path(__file__).parents[2]
    ours = tuple(str(home / room) + os.sep for room in ROOMS)
    return (
        not file.startswith((*ours, "<", sys.base_prefix, sys.prefix))
        and "site-packages" not in file
    )
