"""Train several networks and record every weight's trajectory: task → corpus."""

import sys
from pathlib import Path

# Not this folder: it has files named as packages.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from collect.commands import start_collect

if __name__ == "__main__":
    start_collect()
