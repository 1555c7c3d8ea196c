"""Read the tensors of a PyTorch file without PyTorch, and run nothing that the file says.

``torch.save`` writes a zip with one pickle, ``NAME/data.pkl``, and the numbers of each tensor in a
file of their own, ``NAME/data/0``, ``NAME/data/1``, … A pickle may name any function to call. The
reader here knows three names (a tensor, a kind of number, an ordered dict) and refuses all others.
"""

import math
import os
import pickle
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np

from nowcast.paths import expanded
from nowcast.types import UserError, first_line

NUMBERS = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
}
"""The kinds of numbers that a tensor may have, by PyTorch's names."""
LARGEST_PICKLE = 10_000_000
"""Bytes of ``data.pkl``: it holds names and shapes, and no numbers of tensors."""


class Damaged(ValueError):
    """The file's parts do not fit together."""


def read_tensors(file: str | os.PathLike[str]) -> Any:
    """The object that was saved to a PyTorch file, with NumPy arrays for its tensors.

    Args:
        file: What ``torch.save`` wrote (PyTorch 1.6 or later): dicts, lists, numbers, texts and
            tensors.

    Returns:
        The same dicts, lists, numbers and texts; each tensor as an array of its shape and dtype.

    Raises:
        UserError: The file is not there, is not such a zip file, is damaged, or names anything but
            tensors.

    Examples:
        >>> from nowcast.torch_file import read_tensors
        >>> saved = read_tensors("downloads/nino_mlp.pt")  # doctest: +SKIP
        >>> saved["state_dict"]["layer_embed.weight"].shape  # doctest: +SKIP
        (15, 128)

    Source: the format of ``torch.save`` (PyTorch, "Serialization semantics").
    """
    path, cure = expanded(file), "give a file that torch.save wrote, such as nino_mlp.pt"
    try:
        with zipfile.ZipFile(path) as content:
            return _read(content)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} {first_line(error)}; {cure}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); {cure}") from None
    except zipfile.BadZipFile:
        raise UserError(f"{path} is not a zip file, as PyTorch writes since 1.6; {cure}") from None
    # A damaged pickle raises whatever its broken instructions meet.
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError) as error:
        raise UserError(f"{path} is damaged ({first_line(error)}); {cure}") from None


def _read(content: zipfile.ZipFile) -> Any:
    inside = {item.filename: item for item in content.infolist()}
    pickles = [name for name in inside if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise pickle.UnpicklingError("holds no data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if inside[pickles[0]].file_size > LARGEST_PICKLE:
        raise Damaged(f"data.pkl has {inside[pickles[0]].file_size} bytes")
    if any(item.compress_type != zipfile.ZIP_STORED for item in inside.values()):
        raise Damaged("it is compressed, and PyTorch's files are not")
    big = f"{folder}byteorder" in inside and content.read(f"{folder}byteorder") == b"big"

    def storage(kind: Any, key: Any, size: Any) -> np.ndarray:
        dtype = np.dtype(kind).newbyteorder(">" if big else "<")
        numbers = np.frombuffer(content.read(f"{folder}data/{key}"), dtype)
        if len(numbers) != size:
            raise Damaged(f"data/{key} holds {len(numbers)} numbers, not {size}")
        return numbers.astype(kind)

    with content.open(pickles[0]) as stream:
        return _Unpickler(stream, storage).load()


class _Unpickler(pickle.Unpickler):
    """Knows tensors and the containers around them, and refuses every other name."""

    def __init__(self, stream: Any, storage: Any):
        super().__init__(stream)
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for."""
        if module == "torch" and name in NUMBERS:
            return NUMBERS[name]
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("collections", "OrderedDict"): OrderedDict,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"holds {module}.{name}, which is not a tensor")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """The numbers that a tensor refers to."""
        what, kind, key, _, size = pid
        if what != "storage" or kind not in NUMBERS.values():
            raise Damaged(f"it refers to {what!r}")
        return self._storage(kind, key, size)


def _tensor(
    numbers: np.ndarray, start: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> np.ndarray:
    """The tensor with these strides, counted in numbers, from ``start`` on."""
    counts = [start, *shape, *strides]
    if not isinstance(numbers, np.ndarray) or len(shape) != len(strides) or min(counts) < 0:
        raise Damaged(f"a tensor of shape {shape} has strides {strides} from {start}")
    last = start + sum((n - 1) * by for n, by in zip(shape, strides, strict=True))
    if (math.prod(shape) and last >= len(numbers)) or math.prod(shape) > len(numbers):
        raise Damaged(f"a tensor of shape {shape} needs more than its {len(numbers)} numbers")
    steps = [by * numbers.itemsize for by in strides]
    return np.lib.stride_tricks.as_strided(numbers[start:], shape, steps).copy()
