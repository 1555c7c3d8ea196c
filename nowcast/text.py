"""Text for a terminal: tables, and the names of the commands."""

import os
import sys
from collections.abc import Sequence
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
