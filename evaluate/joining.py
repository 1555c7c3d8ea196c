"""Read the reports of several tasks from their folders, and write the joint report."""

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from collect.files import replace
from evaluate import joint, joint_report, older, older_keys
from evaluate.folder import write_json
from evaluate.summary import SCHEMA
from nowcast import text
from nowcast.paths import check_writable, dangling, expanded
from nowcast.types import UserError


def read(folder: Path) -> dict[str, Any]:
    """Read the results in a report's folder; the intervals of older results are computed anew.

    Raises:
        UserError: The folder has no results, or they are damaged or of another schema.
    """
    folder = expanded(folder)
    file = folder / "results.json"
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        schema = results["schema"]
    except OSError:
        if lost := dangling(folder):
            raise UserError(f"reports: {lost}; give a report's folder") from None
        raise UserError(
            f"reports: {str(folder)!r} has no results.json; {text.command('evaluate')} writes one"
        ) from None
    except (ValueError, TypeError, KeyError):
        raise UserError(
            f"reports: {str(file)!r} is damaged; give the command that wrote it again"
        ) from None
    if schema != SCHEMA:
        raise UserError(
            f"reports: {str(file)!r} has schema {schema}, and this version reads {SCHEMA}; give the"
            " command that wrote it again"
        )
    results = older_keys.results_of(results)
    required = json.loads(
        (resources.files("evaluate") / "results.schema.json").read_text(encoding="utf-8")
    )["required"]
    if lacks := [key for key in required if key not in results]:
        raise UserError(
            f"reports: {str(file)!r} is damaged: it lacks {', '.join(lacks)}; give the command that"
            " wrote it again"
        )
    return older.recounted(results)


def is_joint(folder: Path) -> bool:
    """Whether a folder holds the results of a joint report."""
    try:
        return bool(
            json.loads((folder / "results.json").read_text(encoding="utf-8"))["schema"]
            == joint.JOINT
        )
    except (OSError, ValueError, TypeError, KeyError):
        return False


def check(folder: Path) -> None:
    """Refuse a folder that holds anything but a joint report and the reports of its tasks.

    Raises:
        UserError: The folder holds something else, or cannot be written.
    """
    check_writable(f"report={str(folder)!r}", folder)
    held = [item for item in folder.iterdir() if item.name[0] != "."] if folder.exists() else []
    if any(item.name == "configuration.json" for item in held):
        raise UserError(f"report={str(folder)!r} holds a report of one task; choose another folder")
    if not is_joint(folder) and not all((item / "configuration.json").exists() for item in held):
        raise UserError(f"report={str(folder)!r} exists and is not a report; choose another folder")


def write(folder: Path, reports: Sequence[Path], command: str | None = None) -> None:
    """Write the joint report of several reports: ``report.html``, ``report.md``, ``results.json``.

    Args:
        folder: The folder to write to.
        reports: The folders of the reports.
        command: The command that joins them, for the report.

    Raises:
        UserError: A report is given twice or has no results; ``folder`` holds something else; or
            :func:`evaluate.joint.join` refuses the results.
    """
    folder, reports = expanded(folder), [expanded(one) for one in reports]
    if len({one.resolve() for one in reports}) < len(reports):
        raise UserError(
            f"reports=[{','.join(map(str, reports))}]: a folder is given twice; give each once"
        )
    results = [read(one) for one in reports]
    joined = joint.join(results)
    check(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "results.json", joined)
    replace(folder / "report.md", joint_report.markdown(joined))
    replace(folder / "report.html", joint_report.page(joined, results, command))
