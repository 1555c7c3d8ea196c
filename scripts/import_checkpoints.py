"""Make a run of a corpus from a series of checkpoints: checkpoints → corpus."""

import sys
from pathlib import Path

# Not this folder: it has files named as packages.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from collect.commands import start_import_checkpoints

if __name__ == "__main__":
    start_import_checkpoints()
