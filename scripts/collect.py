"""Train several networks and record every weight's trajectory: task → corpus."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # not this folder: this file would hide the package

from collect.config import CollectConfig
from collect.population import collect_population
from scripts.cli import command, command_line


def main(config: CollectConfig) -> None:
    counts = collect_population(config, command_line("collect"))
    said = ", ".join(f"{counts[key]} {key}" for key in ("complete", "diverged", "already", "left") if counts[key])
    print(f"runs: {said}{'; stopped: ' + counts['stopped'] if counts['stopped'] else ''}")
    print(f"corpus: {config.corpus}")
    if counts["left"]:
        print("next: the same command goes on where this one stopped")
        sys.exit(counts["exit_code"])
    else:
        print(f"next: python scripts/meta_train.py corpus={config.corpus} forecaster=wnn bundle=bundles/mine")


if __name__ == "__main__":
    command("collect", CollectConfig, main)
