"""Write an array of a run, a row for each snapshot."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorstore as ts
from jaxtyping import Float

from collect.corpus.layout import CHUNK
from collect.corpus.leaf import chosen
from collect.corpus.places import CONTEXT
from nowcast.types import PyTree, UserError, first_line


def picks(described: list[dict[str, Any]]) -> list[tuple[np.ndarray, ...] | None]:
    """The indices of the recorded scalars of each leaf; None: all of them."""
    return [
        (
            np.unravel_index(
                chosen(leaf["path"], int(np.prod(leaf["shape"])), leaf["stored"]), leaf["shape"]
            )
            if "stored" in leaf
            else None
        )
        for leaf in described
    ]


def row(tree: PyTree, picked: list[tuple[np.ndarray, ...] | None]) -> Float[np.ndarray, "N"]:
    """The recorded scalars of all leaves, end to end.

    A sample is taken where the leaf lies, before it is copied.
    """
    leaves = jax.tree.leaves(tree)
    return np.concatenate(
        [
            np.asarray(leaf if of is None else leaf[of], np.float32).ravel()
            for leaf, of in zip(leaves, picked, strict=True)
        ]
    )


class Rows:
    """An array that is written row by row.

    Args:
        path: The folder of the array.
        width: The length of a row.
        rows: How many there will be. None: unknown; the array grows, and :meth:`cut` gives it its
            length.
        dtype: The type of its values.
    """

    def __init__(self, path: Path, width: int, rows: int | None, dtype: str = "float32"):
        self.path, self._grows = path, rows is None
        try:
            if self._grows and (path / "zarr.json").exists():
                rows = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["shape"][0]
            self._array = ts.open(
                _spec(path, (rows or 1, width), dtype), open=True, create=True, context=CONTEXT
            ).result()
        except (ValueError, KeyError, TypeError) as error:
            reason = first_line(error)
            raise UserError(
                f"corpus: cannot open {path} ({reason}); remove that run's folder"
            ) from None

    def write(self, number: int, values: Float[np.ndarray, "N"]) -> None:
        """Write a row; it is on disk when this returns."""
        try:
            if self._grows and number >= self._array.shape[0]:
                self._resize(2 * number)
            self._array[number].write(values).result()
        except ValueError as error:
            reason = first_line(error)
            raise UserError(
                f"corpus: cannot write to {self.path.parent} ({reason}); make room and give the"
                " command again"
            ) from None

    def read(self, first: int, end: int) -> Float[np.ndarray, "some N"]:
        """Rows that were written, ``first`` to ``end``."""
        try:
            return self._array[first:end].read().result()
        except ValueError as error:
            raise UserError(
                f"corpus: {self.path} is damaged ({first_line(error)}); remove that run's folder"
                " and record it again"
            ) from None

    def cut(self, rows: int) -> None:
        """End an array that grows after ``rows`` rows."""
        if self._grows and rows != self._array.shape[0]:
            self._resize(rows)

    def _resize(self, rows: int) -> None:
        self._array = self._array.resize(exclusive_max=[rows, None]).result()


def _spec(path: Path, shape: tuple[int, int], dtype: str) -> dict[str, Any]:
    size = np.dtype(dtype).itemsize
    return {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(path.resolve())},
        "store_data_equal_to_fill_value": True,  # what is missing is damaged
        "metadata": {
            "shape": shape,
            "data_type": dtype,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [1, max(1, min(shape[1], CHUNK))]},
            },
            "codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {
                    "name": "blosc",
                    "configuration": {
                        "cname": "zstd",
                        "clevel": 1,
                        "shuffle": "shuffle",
                        "typesize": size,
                    },
                },
                {"name": "crc32c"},
            ],
            "fill_value": "NaN",
        },
    }
