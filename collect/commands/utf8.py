"""File names in UTF-8, whatever the locale: TensorStore and Orbax take no others."""

import os
import sys

SWITCH = "PYTHONUTF8"


def in_utf8() -> None:
    """Start this command anew in Python's UTF-8 mode where its inputs need it.

    That is where the locale has another encoding and an input is not ASCII: Python would read such
    arguments, paths and variables in the locale's encoding, and TensorStore would write to another
    path.
    """
    given = [*sys.argv[1:], *os.environ.values(), _here()]
    if (
        os.environ.get(SWITCH) == "1"
        or sys.getfilesystemencoding() == "utf-8"
        or all(map(str.isascii, given))
    ):
        return
    os.environ[SWITCH] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:  # the folder was removed
        return ""
