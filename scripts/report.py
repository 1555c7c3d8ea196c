"""Join the reports of several tasks into one: geometric means over tasks, with intervals."""

import json
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # not this folder: its `collect.py` would hide the package

from collections.abc import Sequence

from collect.comparison import write_json
from collect.config import ReportConfig
from nowcast.evaluation import joint
from nowcast.paths import check_writable, replace
from nowcast.types import UserError
from scripts.cli import command


def check(folder: Path) -> None:
    """Refuse a folder that holds anything but a joint report and reports of tasks."""
    check_writable(f"report={str(folder)!r}", folder)
    held = [item for item in folder.iterdir() if item.name[0] != "."] if folder.exists() else []
    if any(item.name == "configuration.json" for item in held):
        raise UserError(f"report={str(folder)!r} holds a report of one task; choose another folder")
    try:
        ours = json.loads((folder / "results.json").read_text())["schema"] == joint.JOINT
    except (OSError, ValueError, TypeError, KeyError):
        ours = False
    if not ours and not all((item / "configuration.json").exists() for item in held):
        raise UserError(f"report={str(folder)!r} exists and is no report; choose another folder")


def write(folder: Path, reports: Sequence[Path]) -> None:
    """The joint report of these folders, in a folder."""
    if len({one.resolve() for one in reports}) < len(reports):
        raise UserError(f"reports=[{','.join(map(str, reports))}]: a folder is there twice; give each once")
    results = [joint.read(one) for one in reports]
    joined = joint.join(results)
    check(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "results.json", joined)
    replace(folder / "report.md", joint.markdown(joined))
    replace(folder / "report.html", joint.page(joined, results))


def main(config: ReportConfig) -> None:
    folder = Path(config.report)
    write(folder, [Path(one) for one in config.reports])
    print((folder / "report.md").read_text())
    print(f"report: {folder / 'report.html'}   numbers: {folder / 'results.json'}   tables: {folder / 'report.md'}")
    print(f"next: open {folder / 'report.html'} in a browser")


if __name__ == "__main__":
    command("report", ReportConfig, main)
