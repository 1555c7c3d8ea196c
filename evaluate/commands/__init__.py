"""Start ``nowcast-evaluate`` and ``nowcast-report``."""

from collect.commands.begin import begin


def start_evaluate() -> None:
    """Compare ways to train, paired by seed, with tuned bases: bundle → report."""
    begin("evaluate.commands.evaluate")


def start_report() -> None:
    """Join the reports of several tasks into one: geometric means over tasks, with intervals."""
    begin("evaluate.commands.report")
