"""Text for a terminal: tables, and the names of the commands."""

import os
import sys
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path

INSTALLED = {
    "collect": "nowcast-collect",
    "inspect_corpus": "nowcast-inspect",
    "import_checkpoints": "nowcast-import",
    "advise": "nowcast-advise",
    "meta_train": "nowcast-meta-train",
    "evaluate": "nowcast-evaluate",
    "report": "nowcast-report",
}
"""The commands by their names in ``scripts``: what they are called where they are installed."""
MOST = 20
"""The most names that a message lists."""
SHOWN = 80
"""The most characters of a value that a message shows."""
ROOT = Path(__file__).resolve().parent.parent


def command(name: str) -> str:
    """What the reader types to start a command.

    Args:
        name: Of its file in ``scripts``.

    Returns:
        ``python scripts/collect.py`` in a clone of the project, ``nowcast-collect`` where it was
        installed or was started by that name.
    """
    begun_as = os.path.basename(sys.argv[0]) if sys.argv else ""
    if begun_as not in INSTALLED.values() and (ROOT / "scripts" / f"{name}.py").is_file():
        return f"python scripts/{name}.py"
    return INSTALLED[name]


def choice(name: str, names: Collection[str], listed_by: str = "") -> str:
    """The end of a message about a wrong name: the nearest name, then all names.

    Args:
        name: The wrong one.
        names: Those that exist.
        listed_by: What lists them, where they are too many for a message (more than 20).

    Examples:
        >>> choice("mnits", ["digits", "mnist"])
        'the nearest is mnist; there are digits, mnist'
        >>> choice("constat", ["constant", *map(str, range(20))], "--help")
        'the nearest is constant; --help lists all 21'
    """
    near = get_close_matches(name, names, 1)
    many = len(names) > MOST and listed_by
    rest = f"{listed_by} lists all {len(names)}" if many else f"there are {', '.join(names)}"
    return "; ".join([*(f"the nearest is {one}" for one in near), rest])


def brief(value: object) -> str:
    """A value as a message shows it: as Python writes it, or what it is where that is long.

    Examples:
        >>> brief([1, 2]), brief(list(range(100)))
        ('[1, 2]', 'a list')
    """
    said = repr(value)
    return said if len(said) <= SHOWN and "\n" not in said else f"a {type(value).__name__}"


def align(lines: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """A table as text, with the first ``left`` columns aligned left and the others right."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def printable(text: str) -> str:
    """Replace characters that the terminal's encoding lacks by ``x``, ``-`` and ``?``.

    Examples:
        >>> printable("4x3")
        '4x3'
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.replace("×", "x").replace("—", "-").encode(encoding, "replace").decode(encoding)
    return text
