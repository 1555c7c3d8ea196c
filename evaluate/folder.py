"""Guard a report's folder (one configuration, one process at a time), and write JSON to it."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collect.files import lock, replace
from nowcast.types import UserError

LIST = re.compile(r"\[\n((?:[-+.,\deE\s]|null|true|false)+)\]")
"""A list of numbers over several lines, as :mod:`json` writes it with an indent."""


def claim(folder: Path, described: dict[str, Any]) -> None:
    """Reserve a report's folder for one configuration, and make the folder where it is missing.

    Args:
        folder: The report's folder.
        described: The configuration, as values that JSON takes.

    Raises:
        UserError: The folder holds results of another configuration, or something else.
    """
    file = folder / "configuration.json"
    described = json.loads(json.dumps(described))
    if file.exists():
        try:
            before = dict(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            raise UserError(
                f"report={str(folder)!r}: {file.name} is damaged; choose another folder, or remove"
                " this one"
            ) from None
        changed = [
            key for key in described.keys() | before.keys() if described.get(key) != before.get(key)
        ]
        if changed:
            # What a reader knows a comparison by comes before a hash of its content.
            key = min(changed, key=lambda key: (key != "task", key == "content", key))
            raise UserError(
                f"report={str(folder)!r} holds results of another configuration ({key}:"
                f" {before.get(key)!r} there, {described.get(key)!r} in this command); choose"
                " another folder"
            )
    elif folder.exists() and (
        not folder.is_dir() or any(item.name[0] != "." for item in folder.iterdir())
    ):
        raise UserError(f"report={str(folder)!r} exists and is not a report; choose another folder")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, described)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A context in which no other command can train for this report.

    Raises:
        UserError: Another command is at work there, or the file system has no locks.
    """
    name = f"report={str(folder)!r}"
    taken = f"{name}: another command is at work there; wait for its end, or choose another folder"
    with lock(
        folder / "runs", name, taken=taken, cure="choose a folder on another file system"
    ) as held:
        try:
            yield
        finally:
            Path(held.name).unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically, with each list of numbers on one line.

    JSON has no NaN: numbers that are not finite become null.
    """
    text = json.dumps(without_nan(content), indent=1, allow_nan=False)
    replace(path, LIST.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n")


def without_nan(content: Any) -> Any:
    """A copy of nested content in which None replaces numbers that are not finite."""
    if isinstance(content, Mapping):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def with_nan(content: Any) -> Any:
    """A copy of content from :func:`write_json` in which NaN replaces None in lists."""
    if isinstance(content, Mapping):
        return {key: with_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [math.nan if value is None else value for value in content]
    return content
