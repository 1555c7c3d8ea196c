"""Make a run of a corpus from a series of checkpoints: checkpoints → corpus."""

from collect.commands.cli import command, command_line
from collect.commands.typed import argument
from collect.corpus_config import ImportCheckpointsConfig
from nowcast import text
from nowcast.types import UserError


def main(config: ImportCheckpointsConfig) -> None:
    """Write the run, and print its content."""
    # Here: --help needs none of what this imports.
    from collect.corpus.importing import (
        import_checkpoints,
    )

    if config.corpus.startswith("memory://"):
        raise UserError(
            f"corpus={config.corpus}: what lies in memory is gone with this command; give a folder"
            " or a store"
        )
    done = import_checkpoints(
        config.checkpoints,
        config.corpus,
        run=config.run,
        task=config.task,
        operations=config.operations,
        prefix=config.prefix,
        sample=config.sample,
        kind=config.record,
        band=config.band,
        command=command_line("import_checkpoints"),
    )
    leaves = ", ".join(f"{count} {operation}" for operation, count in done.operations.items())
    print(f"{config.run}: {done.snapshots} snapshots, {done.every} steps apart; leaves: {leaves}")
    for note in done.notes:
        print(note)
    print(f"corpus: {config.corpus}")
    print(f"next: {text.command('inspect_corpus')} {argument('corpus', config.corpus)}")


def start() -> None:
    """Run the command."""
    command("import_checkpoints", ImportCheckpointsConfig, main)
