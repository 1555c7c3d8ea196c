"""Make a run of a corpus from a series of checkpoints: checkpoints → corpus."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # not this folder: its `collect.py` would hide the package

from collect.config import ImportCheckpointsConfig
from nowcast.types import UserError
from scripts.cli import command, command_line
from scripts.typed import argument


def main(config: ImportCheckpointsConfig) -> None:
    from collect.corpus.importing import import_checkpoints  # here: --help needs none of what this imports

    if config.corpus.startswith("memory://"):
        raise UserError(
            f"corpus={config.corpus}: what lies in memory is gone with this command; give a folder or a store"
        )
    done = import_checkpoints(
        config.checkpoints, config.corpus, run=config.run, task=config.task, operations=config.operations, prefix=config.prefix,
        sample=config.sample, kind=config.record, band=config.band, command=command_line("import_checkpoints"),
    )  # fmt: skip
    leaves = ", ".join(f"{count} {operation}" for operation, count in done.operations.items())
    print(f"{config.run}: {done.snapshots} snapshots, {done.every} steps apart; leaves: {leaves}")
    for note in done.notes:
        print(note)
    print(f"corpus: {config.corpus}")
    print(f"next: python scripts/inspect_corpus.py {argument('corpus', config.corpus)}")


if __name__ == "__main__":
    command("import_checkpoints", ImportCheckpointsConfig, main)
