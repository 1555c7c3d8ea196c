"""Fit a forecaster to corpora of weight trajectories: corpora → bundle."""

import sys
from pathlib import Path

# Not this folder: it has files named as packages.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from meta_train.commands import start_meta_train

if __name__ == "__main__":
    start_meta_train()
