"""A run's leaves: path, shape, operation, and how many scalars of each are stored.

A leaf has all its scalars in the columns of :attr:`collect.corpus.Run.weights`, or ``sample`` of
them in a run with ``sample=N``. Which ones follows from the leaf alone (:func:`chosen`), so they
are the same in every run that has this leaf.
"""

import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from nowcast.ops import path_name
from nowcast.types import OPERATIONS, PyTree

SEED = 0
"""Seed of the choice of scalars in a run with ``sample=N``."""


@dataclass(frozen=True)
class Leaf:
    """One array of a model's parameters and its columns among the scalars."""

    path: str
    shape: tuple[int, ...]
    op: str
    start: int
    stored: int | None = None
    """How many of its scalars are recorded; None: all."""

    @property
    def size(self) -> int:
        """How many scalars the leaf has."""
        return math.prod(self.shape)

    @property
    def columns(self) -> int:
        """How many of its scalars are recorded."""
        return self.size if self.stored is None else self.stored

    @property
    def scalars(self) -> slice:
        """Its columns in :attr:`collect.corpus.Run.weights`."""
        return slice(self.start, self.start + self.columns)

    @property
    def chosen(self) -> Int[np.ndarray, "columns"]:
        """The places in the flattened leaf of the scalars that its columns hold."""
        return chosen(self.path, self.size, self.columns)


def chosen(path: str, size: int, count: int) -> Int[np.ndarray, "count"]:
    """The places in a leaf of the scalars that are recorded, in order.

    One scalar is drawn from each of ``count`` parts of about equal length, all shifted by the same
    amount. The draw depends on the leaf's path and :data:`SEED`, from a bit generator whose stream
    NumPy promises to keep. Each scalar is equally likely.
    """
    if count >= size:
        return np.arange(size)
    edges = [size * i // count for i in range(count + 1)]
    draws = np.random.PCG64([SEED, zlib.crc32(path.encode()), size]).random_raw(count + 1)
    inside = (draws[1:] % np.diff(edges).astype(np.uint64)).astype(np.int64)
    return np.sort((np.array(edges[:-1]) + inside + int(draws[0]) % size) % size)


def laid_out(described: Iterable[Mapping[str, Any]]) -> list[Leaf]:
    """Lay the described leaves end to end."""
    leaves, start = [], 0
    for leaf in described:
        leaves.append(
            Leaf(leaf["path"], tuple(leaf["shape"]), leaf["op"], start, leaf.get("stored"))
        )
        start += leaves[-1].columns
    return leaves


def scalars(described: Iterable[Mapping[str, Any]]) -> int:
    """How many columns the described leaves have together, one for each recorded scalar."""
    return sum(leaf.get("stored", math.prod(leaf["shape"])) for leaf in described)


def sampled(described: Iterable[Mapping[str, Any]], sample: int | None) -> list[dict[str, Any]]:
    """The same leaves' descriptions with at most ``sample`` recorded scalars each.

    None: all scalars.
    """
    if sample is None:
        return [dict(leaf) for leaf in described]
    return [
        {**leaf, "stored": sample} if math.prod(leaf["shape"]) > sample else dict(leaf)
        for leaf in described
    ]


def wrong(info: Mapping[str, Any]) -> list[str]:
    """The entries of a ``run.json`` whose form is not the one that readers expect."""
    said, statistics = info["config"], info.get("statistics", {"leaves": [], "sha256": None})
    gram = info.get("gram", {"band": 1})
    return [
        name
        for name, right in {
            "config": (
                isinstance(said, dict)
                and isinstance(said.get("task"), str)
                and is_count(said.get("record_every"))
            ),
            "status": isinstance(info["status"], str),
            "snapshots": is_count(info["snapshots"]),
            "leaves": _are_leaves(info["leaves"]),
            "folder": isinstance(info.get("folder", ""), str),
            "statistics": (
                isinstance(statistics, dict)
                and "sha256" in statistics
                and _are_leaves(statistics.get("leaves"))
            ),
            "gram": isinstance(gram, dict) and is_count(gram.get("band")) and gram["band"] >= 1,
        }.items()
        if not right
    ]


def is_count(value: Any) -> bool:
    """Whether a value is a whole number, 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_leaves(leaves: Any) -> bool:
    return isinstance(leaves, list) and all(_is_leaf(leaf) for leaf in leaves)


def _is_leaf(leaf: Any) -> bool:
    return (
        isinstance(leaf, dict)
        and isinstance(leaf.get("path"), str)
        and leaf.get("op") in OPERATIONS
        and isinstance(leaf.get("shape"), list)
        and all(is_count(size) for size in leaf["shape"])
        and is_count(leaf.get("stored", 0))
        and leaf.get("stored", 0) <= math.prod(leaf["shape"])
    )


def describe_leaves(params: PyTree, labels: PyTree) -> list[dict[str, Any]]:
    """Path, shape and operation of every leaf, in flattening order."""
    leaves = jax.tree.flatten_with_path(params)[0]
    ops = jax.tree.leaves(labels)
    return [
        {"path": path_name(path), "shape": list(leaf.shape), "op": op}
        for (path, leaf), op in zip(leaves, ops, strict=True)
    ]
