"""Say how far a run's learning rate is from its best: corpus or checkpoints → advice."""

import sys
from pathlib import Path

# Not this folder: it has files named as packages.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from collect.commands import start_advise

if __name__ == "__main__":
    start_advise()
