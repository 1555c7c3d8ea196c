"""Train tasks and record every weight's trajectory into a corpus.

:func:`collect.record` records a loop of your own.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collect import corpus
    from collect.corpus.recording import record

__all__ = ["corpus", "record"]


def __getattr__(name: str) -> Any:
    """Import a name when it is used, so that a command's ``--help`` imports nothing."""
    import importlib

    if name == "corpus":
        return importlib.import_module("collect.corpus")
    if name == "record":
        return importlib.import_module("collect.corpus.recording").record
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
