"""Look at a corpus: what it holds, whether it is whole, and pictures of how its weights move."""

import sys
from pathlib import Path

# Not this folder: it has files named as packages.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from collect.commands import start_inspect_corpus

if __name__ == "__main__":
    start_inspect_corpus()
