"""Say how far a run's learning rate is from its best: corpus or checkpoints → advice."""

import sys
from pathlib import Path

sys.path[0] = str(
    Path(__file__).resolve().parent.parent
)  # not this folder: it has files named as packages

from collect.commands import start_advise

if __name__ == "__main__":
    start_advise()
