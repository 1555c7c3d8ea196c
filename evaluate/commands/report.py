"""Join the reports of several tasks into one: geometric means over tasks, with intervals."""

from pathlib import Path

from collect.commands.cli import command, command_line
from evaluate.config import ReportConfig


def main(config: ReportConfig) -> None:
    """Write the joint report, and print its tables."""
    from evaluate.joining import write  # here: --help needs none of what it imports

    folder = Path(config.report)
    write(folder, [Path(one) for one in config.reports], command_line("report"))
    print((folder / "report.md").read_text(encoding="utf-8"))
    print(
        f"report: {folder / 'report.html'}   numbers: {folder / 'results.json'}   tables:"
        f" {folder / 'report.md'}"
    )
    print(f"next: open {folder / 'report.html'} in a browser")


def start() -> None:
    """Run the command."""
    command("report", ReportConfig, main)
