"""Tables for a terminal."""

import sys
from collections.abc import Sequence


def align(lines: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """A table as text: so many of the first columns to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def printable(text: str) -> str:
    """``text`` with ``x``, ``-`` and ``?`` in the place of characters that the terminal's encoding lacks.

    Example:
        >>> printable("4x3")
        '4x3'
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.replace("×", "x").replace("—", "-").encode(encoding, "replace").decode(encoding)
    return text
