"""Image classification sets that TensorFlow Datasets has prepared, decoded once into arrays that are mapped from disk.

No TensorFlow: the prepared files (array_record) are read through ``tfds.data_source``'s reader. What is decoded lies in
``$XDG_CACHE_HOME/weight-nowcaster`` (``~/.cache/weight-nowcaster``), one folder per set, version and state of the
prepared files::

    train-images.npy        uint8, (examples, height, width, channels); likewise validation- and test-
    train-labels.npy        int32, (examples,)
    classes.json            how many classes
"""

import hashlib
import importlib
import json
import os
import shutil
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from collect.data import prepared
from nowcast.paths import check_writable, expanded
from nowcast.types import UserError

BATCH = 500
TENTH = {"validation": 9, "test": 8}
"""The place in each ten training images that stands in for a split the set lacks."""

KIND = "digits, and the image classification sets"
CURE = "set XDG_CACHE_HOME to a folder that can be written"

Split = dict[str, np.ndarray]


def load(name: str, directory: str | None = None) -> tuple[int, Split, Split]:
    """``(classes, images, labels)`` of a set by its TFDS name, mapped from disk and read-only.

    Splits are fixed once and for all. A ``validation`` or ``test`` split that the set has is used as it is. Otherwise,
    of each ten training images by position in the prepared files (which TFDS has shuffled), the tenth is for
    validation, and the ninth for the test. So MNIST and CIFAR-10 have 54,000 and 45,000 images for training, 6,000
    and 5,000 for validation, and their own 10,000 for the test.

    Args:
        name: Such as ``mnist``, ``cifar10``, ``fashion_mnist``, ``emnist/letters``.
        directory: Where the prepared sets lie; ``$TFDS_DATA_DIR``, then ``~/tensorflow_datasets``, when left out.
    """
    if not prepared.NAME.fullmatch(name):
        raise UserError(
            f"data.name={name!r}: images are in no folder; give digits, or a set's name in TensorFlow Datasets"
        )
    folder = prepared.located(directory)
    with prepared.quiet():
        builder = prepared.builder(name, folder, KIND)
        cached = cache_root() / prepared.read(name, builder.data_dir, partial(_identity, builder))
        if not cached.is_dir():
            _decode(builder, cached, name)
    try:
        classes = json.loads((cached / "classes.json").read_text(encoding="utf-8"))
        images, labels = (
            {split: np.load(cached / f"{split}-{kind}.npy", mmap_mode="r") for split in ("train", *TENTH)}
            for kind in ("images", "labels")
        )
    except (OSError, ValueError, EOFError):
        raise UserError(f"data: the decoded images in {cached} are damaged; remove that folder") from None
    return classes, images, labels


def _decode(builder: Any, cached: Path, name: str) -> None:
    """Write the arrays, all or nothing; of two processes at once the first to finish is kept."""
    splits = builder.info.splits
    shape, classes = _shape(builder.info.features, name)
    if not splits:
        raise prepared.damaged(name, builder.data_dir, "its description names no splits")
    if wrong := [f"{split}: {splits[split].num_examples}" for split in splits if splits[split].num_examples < 1]:
        raise prepared.damaged(name, builder.data_dir, f"its description counts so many images: {', '.join(wrong)}")
    if "train" not in splits:
        raise UserError(f"data.name={name!r}: has no training split, only {', '.join(splits)}")
    lacking = [split for split in TENTH if split not in splits]
    place = np.arange(splits["train"].num_examples) % 10
    owner = np.full(len(place), "train", dtype="<U10")
    for split in lacking:
        owner[place == TENTH[split]] = split
    sources = {"train": owner} | {
        split: np.full(splits[split].num_examples, split) for split in TENTH if split not in lacking
    }
    check_cache()
    fresh = cached.with_name(f".{cached.name}.{uuid.uuid4().hex[:8]}")
    try:
        fresh.mkdir(parents=True)
        _write(builder, fresh, sources, shape, classes, name)
        (fresh / "classes.json").write_text(json.dumps(classes), encoding="utf-8")
        try:
            fresh.rename(cached)
        except OSError:
            if not cached.is_dir():
                raise
    except OSError as error:
        raise UserError(f"cache {str(cached.parent)!r}: cannot be written ({error.strerror}); {CURE}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _write(
    builder: Any, fresh: Path, sources: dict[str, np.ndarray], shape: tuple[int, ...], classes: int, name: str
) -> None:
    owners = np.concatenate(list(sources.values()))
    images, labels = {}, {}
    for split in ("train", *TENTH):
        if not (count := int(np.sum(owners == split))):
            raise UserError(f"data.name={name!r}: there are too few images for a {split} split")
        images[split] = _array(fresh / f"{split}-images.npy", np.uint8, (count, *shape))
        labels[split] = _array(fresh / f"{split}-labels.npy", np.int32, (count,))
    filled = dict.fromkeys(images, 0)
    with tqdm(total=len(owners), unit="image", desc=f"decode {name}") as bar:
        for source, owner in sources.items():
            records = prepared.read(name, builder.data_dir, partial(builder.as_data_source, split=source))
            for start in range(0, len(owner), BATCH):
                numbers = list(range(start, min(start + BATCH, len(owner))))
                examples = prepared.read(name, builder.data_dir, partial(records.__getitems__, numbers))
                for number, example in zip(numbers, examples, strict=True):
                    if example["image"].shape != shape:
                        odd = f"{source} image {number} is {example['image'].shape}, and {shape} is declared"
                        raise prepared.damaged(name, builder.data_dir, odd)
                part = owner[start : start + BATCH]
                for split in set(part.tolist()):
                    mine = [example for example, belongs in zip(examples, part == split, strict=True) if belongs]
                    here = slice(filled[split], filled[split] + len(mine))
                    images[split][here] = [example["image"] for example in mine]
                    labels[split][here] = [example["label"] for example in mine]
                    filled[split] += len(mine)
                bar.update(len(examples))
    for split, values in labels.items():
        if values.min() < 0:
            raise UserError(f"data.name={name!r}: the {split} split has images without a label")
        if values.max() >= classes:
            raise prepared.damaged(
                name, builder.data_dir, f"a {split} label is {values.max()}, and there are {classes} classes"
            )
    for array in (*images.values(), *labels.values()):
        array.flush()


def _array(path: Path, dtype: Any, shape: tuple[int, ...]) -> np.memmap:
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _shape(features: Any, name: str) -> tuple[tuple[int, int, int], int]:
    """``(image shape, classes)``, or a refusal of what is no image classification set."""
    tfds = importlib.import_module("tensorflow_datasets")
    held = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    image, label = held.get("image"), held.get("label")
    if not isinstance(image, tfds.features.Image) or not isinstance(label, tfds.features.ClassLabel):
        kinds = [f"{key} ({type(value).__name__})" for key, value in sorted(held.items())]
        raise UserError(
            f"data.name={name!r}: no image classification set; that takes image (Image) and label (ClassLabel, the number of one of "
            f"some classes), and it has {', '.join(kinds) or type(features).__name__}"
        )
    if image.np_dtype != np.uint8 or None in image.shape:
        raise UserError(
            f"data.name={name!r}: images must be uint8 and all of one size; these are {np.dtype(image.np_dtype)} {image.shape}"
        )
    return image.shape, label.num_classes


def _identity(builder: Any) -> str:
    """Name, version, and a digest of where the prepared files lie, their sizes and their times."""
    folder = Path(builder.data_dir).resolve()
    files = sorted((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir())
    digest = hashlib.sha256(repr((str(folder), files)).encode()).hexdigest()[:12]
    return f"{builder.info.full_name.replace('/', '-')}-{digest}"


def cache_root() -> Path:
    """The folder for what can be made again, and for what is not done yet.

    Raises:
        UserError: ``XDG_CACHE_HOME`` is not set, and no home folder is known.
    """
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache", CURE) / "weight-nowcaster"


def check_cache() -> None:
    """Refuse a cache that cannot be written, by that name."""
    root = cache_root()
    check_writable(f"cache {str(root)!r}", root, CURE)
