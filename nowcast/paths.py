"""Places to write to: checked before the work whose result they will hold, and written whole or not at all."""

import os
from pathlib import Path

from nowcast.types import UserError


def check_writable(what: str, folder: Path) -> None:
    """Refuse a folder that could not be made or written to: a file on its way, or no right to write.

    Args:
        what: How the message names it, such as ``corpus='corpora/mine'``.
        folder: The folder, there already or not.
    """
    nearest = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir():
        raise UserError(f"{what}: {str(nearest)!r} is a file; choose another path")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"{what}: no right to write in {str(nearest)!r}; choose another path")


def replace(path: Path, content: str | bytes) -> None:
    """Write a file atomically and durably: a kill at any moment leaves the old one or the new one."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
