"""Print on any terminal: a character that its encoding lacks is replaced.

Without this a command would end with an error.
"""

import codecs
import sys
import unicodedata

LIKE = {
    "×": "x",
    "→": "->",
    "←": "<-",
    "…": "...",
    "−": "-",
    "–": "-",
    "—": "-",
    "·": ".",
    "≥": ">=",
    "≤": "<=",
    "±": "+-",
    "≈": "~",
    "½": "1/2",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "°": " deg",
    "█": "#",
    "▏": ".",
}
"""The replacements of characters that we print."""
HANDLER = "like"


def print_anything() -> None:
    """Replace characters that the terminal lacks in all that is printed from now on."""
    codecs.register_error(HANDLER, _replacement)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not what a test or a notebook put there
            stream.reconfigure(errors=HANDLER)


def _replacement(error: UnicodeError) -> tuple[str | bytes, int]:
    """A replacement for the part that cannot be encoded, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    first = error.object[error.start]
    # A byte of a path or an argument that Python could not read is printed as it was typed.
    if "\udc80" <= first <= "\udcff":
        return bytes([ord(first) - 0xDC00]), error.start + 1
    plain = (
        LIKE.get(first) or unicodedata.normalize("NFKD", first).encode("ascii", "ignore").decode()
    )
    return plain or "?", error.start + 1
