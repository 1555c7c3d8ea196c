"""Train several networks and record every weight's trajectory: task → corpus."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # not this folder: this file would hide the package

from scripts.memory import large_pages

if __name__ == "__main__":
    large_pages()

from collect.config import CollectConfig
from collect.population import collect_population, estimate
from scripts.cli import argument, command, command_line


def main(config: CollectConfig) -> None:
    if config.dry_run:
        would = estimate(config)
        print(f"would record {would.runs} runs, {would.snapshots:,} snapshots: {would.bytes / 2**30:,.2f} GiB at most")
        print(f"and train for {would.hours:,.2f} hours on this machine, evaluating and writing not counted")
        print("next: the same command without dry_run=true")
        return
    counts = collect_population(config, command_line("collect"))
    said = ", ".join(f"{counts[key]} {key}" for key in ("complete", "diverged", "already", "left") if counts[key])
    print(f"runs: {said}{'; stopped: ' + counts['stopped'] if counts['stopped'] else ''}")
    print(f"corpus: {config.corpus}")
    if counts["left"]:
        print("next: the same command goes on where this one stopped")
        sys.exit(counts["exit_code"])
    else:
        print(
            f"next: python scripts/meta_train.py {argument('corpus', config.corpus)} forecaster=wnn bundle=bundles/mine"
        )


if __name__ == "__main__":
    command("collect", CollectConfig, main)
