"""An array over the snapshots of one run, read when it is indexed."""

from typing import Any

import numpy as np
import tensorstore as ts
from jaxtyping import Float

from collect.corpus.leaf import Leaf
from collect.corpus.places import (
    CACHED,
    CONTEXT,
    Place,
    Remote,
    is_unreachable,
    kvstore,
    unreachable,
)
from nowcast.types import UserError, first_line


class Trajectory:
    """An array over the snapshots of one run, ``(S, N)``.

    Indexing reads from disk: ``weights[:, 10:20]``.
    """

    def __init__(self, path: Place, snapshots: int, leaves: list[Leaf]):
        self._path = path
        spec = {"driver": "zarr3", "fill_missing_data_reads": False, "recheck_cached_data": "open"}
        context = CACHED if isinstance(path, Remote) else CONTEXT
        try:
            self._store = ts.open(spec, kvstore=kvstore(path), read=True, context=context).result()
        except ValueError as error:
            raise self._refused("cannot open", error) from None
        self.leaves = leaves
        self.shape: tuple[int, int] = (snapshots, self._store.shape[1])
        self.stored: int = self._store.shape[0]
        self.dtype = np.dtype(self._store.dtype.numpy_dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Float[np.ndarray, "..."]:
        try:
            return self._store[_as_numpy(index, self.shape)].read().result()
        except ValueError as error:
            if "OUT_OF_RANGE" in str(error):
                raise IndexError(first_line(error)) from None
            raise self._refused("damaged chunk of", error) from None

    def _refused(self, what: str, error: Exception) -> UserError:
        if is_unreachable(error):
            return unreachable(self._path, error)
        return UserError(
            f"corpus: {what} {self._path} ({first_line(error)}); remove this run's folder and"
            " collect it again"
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


def _as_numpy(index: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Translate an index with NumPy's meaning for tensorstore, which is stricter.

    In NumPy's meaning, ends are clipped and negatives count from the end.
    """
    index = index if isinstance(index, tuple) else (index,)
    if any(part is Ellipsis for part in index):
        place = [part is Ellipsis for part in index].index(True)
        index = index[:place] + (slice(None),) * (len(shape) - len(index) + 1) + index[place + 1 :]
    index += (slice(None),) * (len(shape) - len(index))
    return tuple(_along(part, size) for part, size in zip(index, shape, strict=True))


def _along(part: Any, size: int) -> Any:
    """The index along one axis of this size."""
    if isinstance(part, slice):
        return slice(*part.indices(size))
    if isinstance(part, int):
        return part + size * (part < 0)
    numbers = np.asarray(part)
    if numbers.dtype == bool:
        return np.flatnonzero(numbers)
    return np.where(numbers < 0, numbers + size, numbers)
