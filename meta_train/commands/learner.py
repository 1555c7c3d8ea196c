"""Meta-train a learned optimizer: task → bundle."""

import sys
from pathlib import Path

from collect.commands.cli import command, command_line
from collect.commands.typed import argument
from meta_train.learners.config import LearnerConfig
from nowcast import text


def main(config: LearnerConfig) -> None:
    """Run one job: make one bundle, and print what it was judged by."""
    from collect.tasks import build  # here: --help needs none of what these import
    from meta_train.learners.making import meta_train

    with build.failures_in_one_line(config):
        card, stop = meta_train(config, command_line("meta_train"))
    if card is None:
        print(f"stopped: {stop.reason}\nnext: the same command goes on where this one stopped")
        sys.exit(stop.exit_code)
    kept = sum(one["kept"] for one in card["history"])
    print(
        f"judged: {card['judged']:.4g} ({card['rounds']} rounds, {kept} kept,"
        f" {card['hours']:.2f} hours)"
    )
    print(f"bundle: {config.bundle}   curve: {Path(config.bundle) / 'loss.png'}")
    learned = argument(f"arm.{config.kind}.learned", config.bundle)
    print(
        f"next: {text.command('evaluate')} 'arm=[cosine,{config.kind}]' {learned} model=mlp"
        " data=digits seeds=3 epochs=20 report=reports/mine"
    )


def start() -> None:
    """Run the command."""
    command("learner", LearnerConfig, main)
