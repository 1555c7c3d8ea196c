"""Hooks of MkDocs: fill the pages of the site that are made from the code.

``mkdocs.yml`` names this file. A page says where its content goes with ``<!-- made: NAME -->``.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Not this folder: its `collect.py` would hide the package.
ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

from collect.commands.choices import choices
from collect.commands.explained import groups_of, keys, said
from collect.config import CollectConfig
from collect.corpus_config import AdviseConfig, ImportCheckpointsConfig, InspectCorpusConfig
from evaluate.commands import products
from evaluate.config import EvaluateConfig, ReportConfig
from meta_train.config import MetaTrainConfig
from meta_train.learners.config import LearnerConfig
from nowcast import text

CONFIGS = ROOT / "configs"
SCHEMAS = {
    "collect": CollectConfig,
    "inspect_corpus": InspectCorpusConfig,
    "import_checkpoints": ImportCheckpointsConfig,
    "advise": AdviseConfig,
    "meta_train": MetaTrainConfig,
    "learner": LearnerConfig,
    "evaluate": EvaluateConfig,
    "report": ReportConfig,
}
"""The configuration of each command, in the order of the pipeline."""
MADE = re.compile(r"^<!-- made: (\w+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page with its content in the places of ``<!-- made: NAME -->``."""
    return MADE.sub(lambda place: PAGES[place[1]](), markdown)


def commands() -> str:
    """Every command with its keys, by the functions that make ``--help``."""
    products.store()
    return "\n\n".join(command(name) for name in SCHEMAS)


def command(name: str) -> str:
    """A section on one command.

    Args:
        name: Of its file in ``scripts``.
    """
    schema, file = SCHEMAS[name], CONFIGS / f"{name}.yaml"
    groups = groups_of(file)
    what, examples, notes = said(schema)
    title = text.INSTALLED.get(name, f"{text.INSTALLED['meta_train']} {name}=")
    told = [f"## {title}", escaped(what)]
    told += ["```bash\n" + "\n".join(" ".join(one.split()) for one in examples) + "\n```"]
    rows = [
        f"| `{key.name}` | {'required' if key.shown == '…' else f'`{key.shown}`'}"
        f" | {escaped(key.says)} |"
        for key in keys(schema, groups)
    ]
    told.append("\n".join(["| key | default | meaning |", "|---|---|---|", *rows]))
    for group in groups:
        names = ", ".join(f"`{one}`" for one in choices(CONFIGS, group))
        told.append(f"`{group}=` takes {names}.")
    return "\n\n".join([*told, *map(escaped, notes)])


def results() -> str:
    """Every key of ``results.json``, from its schemas."""
    return "\n\n".join(
        part
        for name, title in (("results", "One task"), ("joint", "Several tasks"))
        for part in described(name, title)
    )


def described(name: str, title: str) -> Iterator[str]:
    """The sections on one schema: its keys, then its definitions."""
    file = ROOT / "evaluate" / f"{name}.schema.json"
    schema = json.loads(file.read_text(encoding="utf-8"))
    yield f"## {title}"
    yield escaped(schema["description"])
    yield table(schema, name)
    for part, one in sorted(schema.get("$defs", {}).items()):
        yield f"### {part} {{ #{name}-{part} }}"
        yield escaped(one.get("description", ""))
        if rows(one, "", name):
            yield table(one, name)
        else:
            yield f"Type: {kind(one, name)}."


def table(schema: dict[str, Any], name: str) -> str:
    """The keys of an object as a table."""
    return "\n".join(["| key | type | meaning |", "|---|---|---|", *rows(schema, "", name)])


def rows(schema: dict[str, Any], parent: str, name: str) -> list[str]:
    """A row for each key of an object, and for those of the objects in it."""
    found = []
    named = {**schema.get("properties", {}), **schema.get("patternProperties", {})}
    if isinstance(schema.get("additionalProperties"), dict):
        named["NAME"] = schema["additionalProperties"]
    for key, one in named.items():
        shown = f"{parent}{key}"
        found.append(f"| `{shown}` | {kind(one, name)} | {escaped(one.get('description', ''))} |")
        found += rows(one, f"{shown}.", name)
        found += rows(one.get("items", {}), f"{shown}[].", name)
    return found


def kind(schema: dict[str, Any], name: str) -> str:
    """The type of a value in a few words, with a link to its definition."""
    if "$ref" in schema:
        part = schema["$ref"].rpartition("/")[2]
        return f"[{part}](#{name}-{part})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    if "anyOf" in schema and "type" not in schema:
        return " or ".join(dict.fromkeys(kind(one, name) for one in schema["anyOf"]))
    types = schema.get("type", "any")
    said_of = " or ".join([types] if isinstance(types, str) else types)
    items = kind(schema["items"], name) if "items" in schema else ""
    return f"{said_of} of {items}" if items and items != "any" else said_of


def escaped(words: str) -> str:
    """Plain text as Markdown of a table's cell."""
    parts = " ".join(words.split()).split("`")
    parts[::2] = [re.sub(r"([*_<>\[\]{}|~])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


PAGES = {"commands": commands, "results": results}
"""The content of each ``<!-- made: NAME -->``."""
