"""Read the JSON files of a corpus; name the file, and the cure, where one is damaged."""

import json
from typing import Any

from collect.corpus.layout import SCHEMA
from collect.corpus.places import Place
from nowcast import text
from nowcast.types import UserError, first_line


def read_manifest(path: Place) -> dict[str, Any]:
    """Read the manifest; refuse one of another schema."""
    return check_schema(path, read_json(path / "manifest.json"))


def check_schema(path: Place, manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest; refuse one of another schema, or without its list of runs."""
    if manifest.get("schema") != SCHEMA:
        raise UserError(
            f"corpus={str(path)!r} has schema {manifest.get('schema')!r}, and this version reads"
            f" {SCHEMA!r}; collect into another folder"
        )
    if not isinstance(manifest.get("runs"), dict):
        raise UserError(
            f"corpus: {path}/manifest.json is damaged (it lists no runs);"
            f" {_cure(path / 'manifest.json')}"
        )
    return manifest


def read_json(path: Place) -> dict[str, Any]:
    """Read a JSON object, or raise an error that names the file."""
    try:
        return parse(path, path.read_bytes())
    except OSError as error:
        raise UserError(
            f"corpus: {path} cannot be read ({first_line(error)}); check its rights"
        ) from None


def parse(path: Place, content: bytes) -> dict[str, Any]:
    """Parse the content that :func:`read_json` reads."""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"corpus: {path} is damaged ({first_line(error)}); {_cure(path)}") from None
    if not isinstance(parsed, dict):
        raise UserError(f"corpus: {path} is damaged (not a JSON object); {_cure(path)}")
    return parsed


def _cure(path: Place) -> str:
    if path.name == "manifest.json":
        return (
            f"remove this file alone: {text.command('collect')}, given its command again, writes it"
            " anew from the runs"
        )
    return "remove its folder and collect it again"


def read_metrics(run: Place) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl``, without a last line that a kill cut short."""
    try:
        content = (run / "metrics.jsonl").read_bytes()
    except FileNotFoundError:
        return []
    rows = []
    for line in content.decode(errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict):
            break
        rows.append(row)
    return rows
