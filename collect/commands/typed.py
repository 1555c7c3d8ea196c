"""Arguments as users type them: how a shell and Hydra read them, and what to type for a value."""

import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import is_dataclass
from typing import Any, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

LISTED = ("corpus",)
"""Keys that take a text or a list of texts."""


def argument(key: str, value: str) -> str:
    """``key=value`` as a user would type it in a shell, so that Hydra reads exactly this text.

    Examples:
        >>> print(argument("corpus", "corpora/mine"), argument("corpus", "lr=0.1/x"))
        corpus=corpora/mine 'corpus="lr=0.1/x"'
    """
    plain = f"{key}={value}"
    if "${" not in value and _read(plain) == value:
        return quoted(plain)
    text = value.replace("${", "\\${")  # no reference to another key
    return quoted(f"{key}={QuotedString(text, Quote.double).with_quotes()}")


def fitting(bands: Iterable[int | None]) -> str:
    """The arguments that fit a forecaster to all runs of a corpus.

    ``bands`` are how far the inner products of its runs reach, None for a run that holds weights.

    Examples:
        >>> print(fitting([None, 16]))
        forecaster=gram horizon=12
    """
    reach = [band for band in bands if band is not None]
    if not reach:
        return "forecaster=wnn"
    return f"forecaster=gram horizon={max(1, min(40, min(reach) - 4))}"  # of a window of 5


def quoted(text: str) -> str:
    """``text`` as one word of a shell.

    Where the terminal is not UTF-8, bytes beyond ASCII are written as bash and zsh read them.

    Examples:
        >>> print(quoted("a b"))
        'a b'
    """
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    if text.isascii() or encoding == "utf8":
        return shlex.quote(text)
    plain = [
        chr(byte) if 32 <= byte < 127 and chr(byte) not in "'\\" else f"\\x{byte:02x}"
        for byte in os.fsencode(text)
    ]
    return f"$'{''.join(plain)}'"


def as_text(typed: str, schema: type) -> str:
    """Quote an argument for a key that takes a text, where Hydra would read a number.

    Examples are ``corpus=2024_01`` and ``bundle=1.10``.
    """
    key, _, value = typed.partition("=")
    if takes_text(key.lstrip("+").split("."), schema) and isinstance(
        _read(typed), bool | int | float
    ):
        return f"{key}={QuotedString(value.strip(), Quote.double).with_quotes()}"
    return typed


def takes_text(path: list[str], schema: Any) -> bool:
    """Whether the key at ``path`` below a configuration's dataclass is a text."""
    if not is_dataclass(schema):
        return False
    kind = get_type_hints(schema).get(path[0])
    if len(path) > 1:
        return takes_text(path[1:], kind)
    return kind in (str, str | None) or path[0] in LISTED


def _read(override: str) -> Any:
    """The value that Hydra reads in ``key=value``; None where it reads nothing."""
    try:
        return OverridesParser.create().parse_override(override).value()
    except HydraException:
        return None


def unreadable(override: str) -> str:
    """Say what is wrong with an argument that breaks Hydra's grammar, and the cure."""
    key, equals, value = override.partition("=")
    if _read(f"{key}=0") is None:
        return f"{override}: no key is called {key!r}; --help lists every one"
    if not equals:
        return f"{override}: has no value; give {override}=…"
    if value[:1] in ("[", "{"):
        return (
            f"{override}: check its brackets, braces and commas; a text goes into quotes:"
            f" {argument(key, value)}"
        )
    return f"{override}: a text with such characters goes into quotes: {argument(key, value)}"
