"""The layout of a corpus, schema 1: which files it has, and what they are called.

The files::

    manifest.json          schema, versions, and an index of the runs: task, seed, status, size,
                           configuration
    runs/ID/run.json       one run: its configuration, leaves, status, hash
    runs/ID/weights/       zarr v3 array (snapshots, scalars) float32: blosc-compressed, crc32c
                           per chunk
    runs/ID/gram/          with record=gram, in the place of the weights: inner products, float64
                           (:mod:`collect.corpus.gram`)
    runs/ID/statistics/    where asked for: an array like the weights', of BatchNorm's running
                           mean and variance, which are no parameters
    runs/ID/metrics.jsonl  one line per snapshot: step, epoch, losses, sha256 of the weights (and
                           of the statistics)

All leaves of a model are flattened and laid end to end, in the order of ``leaves``, to the
``scalars`` of one row; with ``sample=N``, at most N scalars of each
(:func:`collect.corpus.leaf.chosen`), and such a leaf says how many are ``stored``. A chunk holds up
to 2¹⁸ scalars of one snapshot, so appending writes only new files, and all snapshots of some
scalars are one small read per snapshot. ``run.json`` is the truth about a run; the manifest repeats
it as an index.

In a store (:mod:`collect.corpus.places`) a run's arrays and metrics lie one folder deeper,
``runs/ID/FOLDER``, which ``run.json`` names, and readers take the runs from the manifest.
"""

from collections.abc import Mapping
from typing import Any

from collect.corpus.leaf import scalars

SCHEMA = "weight-nowcaster/corpus/1"
CHUNK = 1 << 18
FINISHED = ("complete", "diverged")
DIGESTS = {"weights": "sha256", "gram": "sha256", "statistics": "sha256_statistics"}
"""The arrays of a run, and the names of their hashes in a line of ``metrics.jsonl``."""


def width(info: Mapping[str, Any], name: str) -> int:
    """How many columns an array of the described run has."""
    if name == "gram":
        return len(info["leaves"]) * info["gram"]["band"]
    return scalars(info["leaves"] if name == "weights" else info["statistics"]["leaves"])


def hashes(info: Mapping[str, Any]) -> list[str]:
    """The hashes of a run's arrays: of the weights, and of the statistics where it has them."""
    return [info["sha256"], *([info["statistics"]["sha256"]] if "statistics" in info else [])]
