"""Expand and check paths to write to, before the work whose result they will hold."""

import os
import sys
import tempfile
from pathlib import Path

from nowcast.types import UserError


def expanded(path: str | os.PathLike[str], cure: str = "write the path in full") -> Path:
    """The path with the home folder in the place of a leading ``~``.

    Raises:
        UserError: No home folder is known, of this user or of the one that is named.

    Examples:
        >>> expanded("bundles/mine").as_posix()
        'bundles/mine'
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{str(path)!r}: no home folder is known for {Path(path).parts[0]}; {cure}"
        ) from None


def at_home(path: str) -> str:
    """The same for a path as text; without a leading ``~`` it stays unchanged."""
    return str(expanded(path)) if path.startswith("~") else path


def check_utf8(what: str, path: Path) -> None:
    """Refuse a path whose name TensorStore and Orbax would not read as Python does.

    They read only UTF-8.

    Raises:
        UserError: The name is not UTF-8, or Python reads names in another encoding; with the cure.

    Examples:
        >>> check_utf8("corpus='naïve'", Path("naïve"))
    """
    name, encoding = os.fsencode(path.absolute()), sys.getfilesystemencoding()
    if encoding != "utf-8" and not name.isascii():
        raise UserError(f"{what}: Python reads names of files as {encoding} here; set PYTHONUTF8=1")
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{what}: the path is not UTF-8; choose another path") from None


def dangling(path: Path) -> str:
    """Say where a link leads to when nothing is there; empty for every other path."""
    if path.is_symlink() and not path.exists():
        return f"{str(path)!r} is a link to {str(path.readlink())!r}, which is not there"
    return ""


def check_writable(what: str, folder: Path, cure: str = "choose another path") -> None:
    """Refuse a folder that could not be made or written to.

    A file or a dangling link may be in its way, or the right to write may be missing.

    Args:
        what: How the message names it, such as ``corpus='corpora/mine'``.
        folder: The folder, there already or not.
        cure: How the message ends.

    Raises:
        UserError: One line with the place in the way, and the cure.
    """
    nearest = folder.absolute()
    while not nearest.exists():
        if lost := dangling(nearest):
            raise UserError(f"{what}: {lost}; make that folder, or {cure}")
        nearest = nearest.parent
    if not nearest.is_dir():
        raise UserError(f"{what}: {str(nearest)!r} is a file; {cure}")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"{what}: no right to write in {str(nearest)!r}; {cure}")
    try:  # some file systems refuse in spite of all rights
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise UserError(
            f"{what}: nothing can be written in {str(nearest)!r} ({error.strerror}); {cure}"
        ) from None
