"""Start the commands of ``collect``.

They are ``nowcast-collect``, ``nowcast-inspect``, ``nowcast-import`` and ``nowcast-advise``.
"""

from collect.commands.begin import begin


def start_collect() -> None:
    """Train several networks and record every weight's trajectory: task → corpus."""
    begin("collect.commands.collect")


def start_inspect_corpus() -> None:
    """Show what a corpus holds, check that it is whole, and draw how its weights move."""
    begin("collect.commands.inspect_corpus")


def start_import_checkpoints() -> None:
    """Make a run of a corpus from a series of checkpoints: checkpoints → corpus."""
    begin("collect.commands.import_checkpoints")


def start_advise() -> None:
    """Say how far a run's learning rate is from its best: corpus or checkpoints → advice."""
    begin("collect.commands.advise")
