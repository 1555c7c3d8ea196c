"""Decode prepared image sets once, into arrays that are mapped from disk.

TensorFlow is not needed: :mod:`collect.data.images` reads the files (array_record) that TensorFlow
Datasets has prepared. The arrays lie in ``$XDG_CACHE_HOME/weight-nowcaster``
(``~/.cache/weight-nowcaster``), in one folder per set, version and state of the prepared files::

    train-images.npy  uint8, (examples, height, width, channels); likewise validation- and test-
    train-labels.npy  int32, (examples,)
"""

import hashlib
import os
import shutil
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from collect.data import prepared
from collect.data.images import SPLITS, Images
from nowcast.paths import check_writable, expanded
from nowcast.types import UserError

BATCH = 500
CURE = "set XDG_CACHE_HOME to a folder that can be written"


def load(images: Images) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """``(images, labels)`` of each split of a prepared set, mapped from disk and read-only.

    So MNIST and CIFAR-10 have 54,000 and 45,000 images for training, 6,000 and 5,000 for
    validation, and their own 10,000 for the test (:meth:`collect.data.images.Images.places`).
    """
    with prepared.without_messages():
        cached = cache_root() / prepared.read(
            images.name, images.builder.data_dir, partial(_identity, images)
        )
        if not cached.is_dir():
            _decode(images, cached)
    try:
        held, labels = (
            {split: np.load(cached / f"{split}-{kind}.npy", mmap_mode="r") for split in SPLITS}
            for kind in ("images", "labels")
        )
    except (OSError, ValueError, EOFError):
        raise UserError(
            f"data: the decoded images in {cached} are damaged; remove that folder"
        ) from None
    return held, labels


def _decode(images: Images, cached: Path) -> None:
    """Write the arrays, all or nothing; if two processes do so, the first to finish is kept."""
    check_cache()
    fresh = cached.with_name(f".{cached.name}.{uuid.uuid4().hex[:8]}")
    try:
        fresh.mkdir(parents=True)
        _write(images, fresh)
        try:
            fresh.rename(cached)
        except OSError:
            if not cached.is_dir():
                raise
    except OSError as error:
        raise UserError(
            f"cache {str(cached.parent)!r}: cannot be written ({error.strerror}); {CURE}"
        ) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _write(images: Images, fresh: Path) -> None:
    places = images.places()
    with tqdm(
        total=sum(map(len, places.values())), unit="image", desc=f"decode {images.name}"
    ) as bar:
        for split, numbers in places.items():
            kept = _array(fresh / f"{split}-images.npy", np.uint8, (len(numbers), *images.shape))
            labels = _array(fresh / f"{split}-labels.npy", np.int32, (len(numbers),))
            for start in range(0, len(numbers), BATCH):
                part = slice(start, start + BATCH)
                kept[part], labels[part] = images.read(numbers[part])
                bar.update(len(numbers[part]))
            kept.flush()
            labels.flush()


def _array(path: Path, dtype: Any, shape: tuple[int, ...]) -> np.memmap:
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _identity(images: Images) -> str:
    """A text that identifies a set's prepared files and the size of the images.

    It holds the name, the version, and a digest of the files' folder, sizes and times.
    """
    folder = Path(images.builder.data_dir).resolve()
    files = sorted(
        (path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir()
    )
    digest = hashlib.sha256(repr((str(folder), files)).encode()).hexdigest()[:12]
    size = "" if images.size is None else f"-{images.size}px"
    return f"{images.builder.info.full_name.replace('/', '-')}-{digest}{size}"


def cache_root() -> Path:
    """The folder for what can be made again, and for unfinished work.

    Raises:
        UserError: ``XDG_CACHE_HOME`` is not set, and no home folder is known.
    """
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache", CURE) / "weight-nowcaster"


def check_cache() -> None:
    """Refuse a cache that cannot be written, and name it."""
    root = cache_root()
    check_writable(f"cache {str(root)!r}", root, CURE)
