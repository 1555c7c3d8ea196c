"""Fit a forecaster to a corpus of weight trajectories: corpus → bundle."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # not this folder: this file would hide the package

from scripts.memory import large_pages

if __name__ == "__main__":
    large_pages()

from meta_train import validate
from meta_train.config import MetaTrainConfig
from meta_train.fitting import meta_train
from scripts.cli import argument, command, command_line


def main(config: MetaTrainConfig) -> None:
    card = meta_train(config, command_line("meta_train"))
    print(f"errors on {len(card['corpus']['validation_runs'])} runs kept out:")
    print(validate.table(card["validation"]))
    print(f"bundle: {config.bundle}   curves: {Path(config.bundle) / 'loss.png'}")
    print(
        f"next: python scripts/evaluate.py {argument('forecaster', config.bundle)} model=resnet20 data=digits seeds=5 epochs=20 report=reports/mine"
    )


if __name__ == "__main__":
    command("meta_train", MetaTrainConfig, main)
