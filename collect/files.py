"""Files that one process holds at a time, and files that are written whole or not at all."""

import fcntl
import os
from pathlib import Path
from typing import TextIO

from nowcast.types import UserError


def lock(folder: Path, what: str, *, taken: str, cure: str) -> TextIO:
    """Open a file in a folder that only one process can have open at a time.

    The folder is made where it is missing. Closing the file releases it.

    Args:
        folder: The folder.
        what: What the file is for, such as ``corpus``, for messages.
        taken: The message when another process has it.
        cure: What to do where no file can be locked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = None
    try:
        file = (folder / "lock").open("w", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_nlink:
            return file
        raise BlockingIOError("its owner removed it meanwhile")
    except OSError as error:
        if file:
            file.close()
        if isinstance(error, BlockingIOError | FileNotFoundError):
            raise UserError(taken) from None
        raise UserError(f"{what}: {folder} cannot be locked ({error.strerror}); {cure}") from None


def replace(path: Path, content: str | bytes) -> None:
    """Write a file atomically and durably: a kill at any time leaves the old one or the new one.

    Text becomes UTF-8, whatever the locale; bytes of an argument that Python could not read stay as
    they were typed.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as file:
            file.write(
                content.encode(errors="surrogateescape") if isinstance(content, str) else content
            )
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
