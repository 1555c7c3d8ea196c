"""Make the text of ``--help``: every key of a configuration, from its dataclass."""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast, get_type_hints

import yaml

from collect.commands.choices import choices
from nowcast import text

COLUMN, WIDTH = 28, 130
COMMANDS = {installed: name for name, installed in text.INSTALLED.items()}


class Key(NamedTuple):
    """A key of a configuration."""

    name: str
    shown: str
    """Its default, as one would type it; ``…`` where it must be given."""
    says: str


def help_text(schema: type, configuration: Path) -> str:
    """The help of a command, as a template of Hydra's.

    The docstring of ``schema`` is the head: its first paragraph, and commands to try. Its other
    paragraphs are the foot. A key's text is the string below it in the dataclass.

    Args:
        schema: The dataclass of the configuration.
        configuration: The file whose list of defaults says which keys are groups.
    """
    groups = groups_of(configuration)
    what, commands, notes = said(schema)
    told = [
        *(textwrap.fill(what, WIDTH), *map(_typed, commands)),
        "\n".join(row for key in keys(schema, groups) for row in _rows(key)),
    ]
    if groups:
        there = [_names(group, choices(configuration.parent, group)) for group in groups]
        told.append("\n".join(there))
    told += [textwrap.fill(one, WIDTH) for one in notes]
    return "\n\n".join(told).replace("$", "$$") + "\n"


def groups_of(configuration: Path) -> dict[str, Any]:
    """The default choice in each group of a command's configuration file."""
    defaults = yaml.safe_load(configuration.read_text(encoding="utf-8"))["defaults"]
    return {key: one[key] for one in defaults if isinstance(one, dict) for key in one}


def said(schema: type) -> tuple[str, list[str], list[str]]:
    """What the docstring of a configuration says: its first paragraph, commands to try, notes."""
    what, *paragraphs = (inspect.getdoc(schema) or "").split("\n\n")
    commands = [one for one in paragraphs if one.startswith("nowcast-")]
    return _line(what), commands, [_line(one) for one in paragraphs if one not in commands]


def _names(group: str, names: list[str]) -> str:
    """A group's names, after its own."""
    said = f"{group}: {', '.join(names)}"
    return textwrap.fill(said, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def keys(schema: type, groups: dict[str, Any], parent: str = "") -> Iterator[Key]:
    """The keys of a configuration, those that must be given first.

    Args:
        schema: The dataclass.
        groups: The default choice in each group of configurations.
        parent: The key of the dataclass itself, with a dot behind it.
    """
    says, kinds = documented(schema), get_type_hints(schema)
    for field in sorted(fields(schema), key=lambda one: _default(one) is not MISSING):
        name, kind = f"{parent}{field.name}", kinds[field.name]
        if name in groups:
            yield Key(name, _shown(groups[name]), says[field.name])
        if is_dataclass(kind):
            yield from keys(cast(type, kind), groups, f"{name}.")
        elif name not in groups and field.name in says:
            yield Key(name, _shown(_default(field)), says[field.name])


def documented(schema: type) -> dict[str, str]:
    """The string below each field of a dataclass, on one line, with those that it inherits."""
    found = {}
    for each in reversed(schema.__mro__):
        if is_dataclass(each):
            [parsed] = ast.parse(textwrap.dedent(inspect.getsource(each))).body
            for field, below in pairwise(getattr(parsed, "body", [])):
                if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                    found[ast.unparse(field.target)] = _line(ast.literal_eval(below.value))
    return found


def _default(field: "Field[Any]") -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _shown(value: Any) -> str:
    if value is MISSING:
        return "…"
    if isinstance(value, list):
        return f"[{','.join(map(_shown, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return value or "''" if isinstance(value, str) else json.dumps(value)


def _rows(key: Key) -> list[str]:
    """A key, its default, and its text beside them or below."""
    first = f"  {key.name}={key.shown}"
    said = textwrap.wrap(_typed(key.says), WIDTH - COLUMN, break_on_hyphens=False)
    if len(first) < COLUMN - 1:
        return [f"{first:<{COLUMN}}{said[0]}", *(" " * COLUMN + line for line in said[1:])]
    return [first, *(" " * COLUMN + line for line in said)]


def _line(paragraph: str) -> str:
    return " ".join(paragraph.split())


def _typed(says: str) -> str:
    """The text with each command as one would type it here."""
    names = "|".join(sorted(COMMANDS, key=len, reverse=True))
    return re.sub(rf"\b({names})\b", lambda found: text.command(COMMANDS[found[0]]), says)
