"""Find the folder of a bundle, by a shipped forecaster's name or by a path."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nowcast import text
from nowcast.forecasters import LEARNED
from nowcast.paths import dangling, expanded
from nowcast.rate_forecaster import Rate
from nowcast.types import UserError

PRETRAINED = Path(__file__).parent / "pretrained"
"""A bundle for each forecaster that comes with the library."""


def shipped() -> list[str]:
    """The names of the forecasters that come with the library, meta-trained."""
    return sorted(card.parent.name for card in PRETRAINED.glob("*/card.json"))


def kinds() -> dict[str, Any]:
    """What a bundle may hold: forecasters of weights, and the one of learning rates."""
    return {**LEARNED, Rate.name: Rate}


def folder_of(name_or_path: str | os.PathLike[str], names: Sequence[str]) -> Path:
    """The folder of a bundle by its shipped name or its path.

    A string is a name if a shipped forecaster has it; ``./NAME`` is the path of a folder. A message
    lists ``names``.
    """
    if isinstance(name_or_path, str) and name_or_path in shipped():
        return PRETRAINED / name_or_path
    if not _is_folder(name_or_path):
        if lost := _lost(name_or_path):
            raise UserError(
                f"forecaster {str(name_or_path)!r}: {lost}; give the folder of a bundle"
            )
        kind = f"forecaster={name_or_path} " if str(name_or_path) in kinds() else ""
        raise UserError(
            f"forecaster {str(name_or_path)!r} is neither a name nor a bundle's folder;"
            f" {text.choice(str(name_or_path), names)}; {text.command('meta_train')} {kind}makes a"
            " bundle"
        )
    return expanded(name_or_path)


def _is_folder(path: Any) -> bool:
    try:
        return isinstance(path, (str, os.PathLike)) and path != "" and expanded(path).is_dir()
    except UserError:
        raise
    except (OSError, ValueError):  # a name too long, or with a null byte
        return False


def _lost(path: Any) -> str:
    """The target of a path that is a link to nothing, in words; otherwise an empty text."""
    try:
        return (
            dangling(expanded(path)) if isinstance(path, (str, os.PathLike)) and path != "" else ""
        )
    except (OSError, ValueError):
        return ""
