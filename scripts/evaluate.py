"""Compare ways to train, paired and on a tuned base too: bundle → report."""

import sys
from pathlib import Path

# Not this folder: it has files named as packages.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from evaluate.commands import start_evaluate

if __name__ == "__main__":
    start_evaluate()
