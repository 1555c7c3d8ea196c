"""Train tasks and record every weight's trajectory into a corpus; :func:`collect.record` does so
with a loop of one's own.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collect import corpus
    from collect.corpus.recording import record

__all__ = ["corpus", "record"]


def __getattr__(name: str) -> Any:
    """Import what is asked for: a command's ``--help`` needs none of it."""
    import importlib

    if name == "corpus":
        return importlib.import_module("collect.corpus")
    if name == "record":
        return importlib.import_module("collect.corpus.recording").record
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
