"""Join the reports of several tasks into one: geometric means over tasks, with intervals."""

import sys
from pathlib import Path

# Not this folder: it has files named as packages.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from evaluate.commands import start_report

if __name__ == "__main__":
    start_report()
