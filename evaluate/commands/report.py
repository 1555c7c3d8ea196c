"""Join the reports of several tasks into one: geometric means over tasks, with intervals."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # not this folder: its `collect.py` would hide the package

from evaluate.config import ReportConfig
from scripts.cli import command, command_line


def main(config: ReportConfig) -> None:
    from evaluate.joining import write  # here: --help needs none of what it imports

    folder = Path(config.report)
    write(folder, [Path(one) for one in config.reports], command_line("report"))
    print((folder / "report.md").read_text(encoding="utf-8"))
    print(f"report: {folder / 'report.html'}   numbers: {folder / 'results.json'}   tables: {folder / 'report.md'}")
    print(f"next: open {folder / 'report.html'} in a browser")


if __name__ == "__main__":
    command("report", ReportConfig, main)
