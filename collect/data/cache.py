"""Image classification sets that TensorFlow Datasets has prepared, decoded once into arrays that are mapped from disk.

No TensorFlow: the prepared files (array_record) are read through ``tfds.data_source``'s reader. What is decoded lies in
``$XDG_CACHE_HOME/weight-nowcaster`` (``~/.cache/weight-nowcaster``), one folder per set, version and state of the
prepared files::

    train-images.npy        uint8, (examples, height, width, channels); likewise validation- and test-
    train-labels.npy        int32, (examples,)
    classes.json            how many classes
"""

import contextlib
import hashlib
import importlib
import io
import json
import logging
import os
import re
import shlex
import shutil
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from nowcast.paths import check_utf8, check_writable, expanded
from nowcast.types import UserError, first_line

NAME = re.compile(r"\w+(/[\w.+-]+)?(:\d+\.\d+\.\d+)?")
"""A set's name in TFDS: ``mnist``, ``emnist/letters``, ``mnist:3.0.1``."""

BATCH = 500
TENTH = {"validation": 9, "test": 8}
"""The place in each ten training images that stands in for a split the set lacks."""

CURE = "set XDG_CACHE_HOME to a folder that can be written"

Split = dict[str, np.ndarray]
T = TypeVar("T")


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
    given = directory or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    folder = expanded(given, "name the folder of the prepared sets: data.dir=… or TFDS_DATA_DIR=…").absolute()
    check_utf8(f"data.dir={str(folder)!r}", folder)
    with _quiet():
        builder = _builder(name, folder)
        cached = cache_root() / _read(name, builder.data_dir, partial(_identity, builder))
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


def _builder(name: str, folder: Path) -> Any:
    """The reader of a prepared set; prepares it first where it is missing and TFDS can do so without TensorFlow."""
    tfds = importlib.import_module("tensorflow_datasets")
    from tensorflow_datasets.core import read_only_builder

    try:
        return read_only_builder.builder_from_files(name, data_dir=str(folder), file_format="array_record")
    except Exception as error:  # whatever damaged files make TFDS say; or it is not there, or in another format only
        if lies := _lies(name, folder):
            raise _damaged(name, lies, error) from None
    if re.split("[/:]", name)[0] not in tfds.list_builders(with_community_datasets=False):
        raise UserError(
            f"data.name={name!r} is unknown; available: digits, and the image classification sets of TensorFlow "
            f"Datasets, of which {folder} holds {', '.join(_prepared(folder)) or 'none'}"
        )
    try:
        return _prepare(name, folder)
    except Exception as error:  # whatever a missing network, manual download, or TensorFlow makes TFDS say
        reason = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0][:90]
        raise UserError(
            f"data.name={name!r}: not in {folder} (array_record files are wanted) and cannot be downloaded ({reason}…); "
            f"prepare it where there are a network and TensorFlow: {_build(name, folder)}; or name another folder: data.dir=… or TFDS_DATA_DIR=…"
        ) from None


def _build(name: str, folder: Path) -> str:
    """The command that prepares a set."""
    return f"tfds build {name} --file_format=array_record --data_dir={shlex.quote(str(folder))}"


def _lies(name: str, folder: Path) -> Path | None:
    """The folder of a set's newest version, if files of ``array_record`` lie there, or descriptions and no other format.

    A set that comes in several configurations is that of its default one, where no configuration is named.
    """
    base, _, version = name.partition(":")
    metadata = folder / base / ".config" / "metadata.json"
    if "/" not in base and metadata.exists():
        try:
            base = f"{base}/{json.loads(metadata.read_text(encoding='utf-8'))['default_config_name']}"
        except (OSError, ValueError, KeyError, TypeError):
            return metadata.parent
    for place in sorted((folder / base).glob(version or "*.*.*"), reverse=True):
        held = {path.name for path in place.glob("*")}
        described = not held.isdisjoint({"dataset_info.json", "features.json"})
        if (
            not held
            or any(".array_record" in file for file in held)
            or (described and not any(".tfrecord" in file for file in held))
        ):
            return place
    return None


def _damaged(name: str, lies: str | os.PathLike[str], error: Exception | str) -> UserError:
    """The line that says so."""
    place, said = Path(lies), error if isinstance(error, str) else first_line(error)[:120]
    said = re.sub(r" <[^<>]*>", "", said).rstrip(":")  # Python's own names of objects
    alone = "/" not in name and place.parent.name == name.partition(":")[0]  # no folder of a configuration between
    folder = place.parents[1 if alone else 2]
    return UserError(
        f"data.name={name!r}: the prepared set in {str(place)!r} is damaged ({said}); "
        f"remove that folder and prepare it again: {_build(name, folder)}"
    )


def _read(name: str, lies: str | os.PathLike[str], reading: Callable[[], T]) -> T:
    """What is read of a prepared set."""
    try:
        return reading()
    except UserError:
        raise
    except Exception as error:  # whatever a file that is cut, empty or lost makes the readers say
        raise _damaged(name, lies, error) from None


def _prepare(name: str, folder: Path) -> Any:
    """Download and prepare a set, in a temporary folder until all is well. Bars are shown on a terminal only."""
    tfds = importlib.import_module("tensorflow_datasets")
    from tensorflow_datasets.core.download import downloader

    downloader.MAX_RETRIES = 2  # ten of them, the default, take minutes to notice that there is no network
    check_writable(f"data.dir={str(folder)!r}", folder)
    terminal = sys.stderr.isatty()
    with (
        tempfile.TemporaryDirectory(prefix="weight-nowcaster-") as work,
        contextlib.redirect_stdout(sys.stderr if terminal else io.StringIO()),
        contextlib.nullcontext() if terminal else contextlib.redirect_stderr(io.StringIO()),
    ):
        builder = tfds.builder(name, data_dir=f"{work}/sets", file_format="array_record")
        builder.download_and_prepare(download_dir=f"{work}/downloads")
        made = Path(builder.data_dir)
        final = folder / made.relative_to(f"{work}/sets")
        fresh = final.with_name(f"incomplete.{os.getpid()}_{final.name}")  # TFDS's own name for it
        shutil.copytree(made, fresh)
        fresh.rename(final)
    return tfds.builder_from_directory(str(final))


def _decode(builder: Any, cached: Path, name: str) -> None:
    """Write the arrays, all or nothing; of two processes at once the first to finish is kept."""
    splits = builder.info.splits
    shape, classes = _shape(builder.info.features, name)
    if not splits:
        raise _damaged(name, builder.data_dir, "its description names no splits")
    if wrong := [f"{split}: {splits[split].num_examples}" for split in splits if splits[split].num_examples < 1]:
        raise _damaged(name, builder.data_dir, f"its description counts so many images: {', '.join(wrong)}")
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
            records = _read(name, builder.data_dir, partial(builder.as_data_source, split=source))
            for start in range(0, len(owner), BATCH):
                numbers = list(range(start, min(start + BATCH, len(owner))))
                examples = _read(name, builder.data_dir, partial(records.__getitems__, numbers))
                for number, example in zip(numbers, examples, strict=True):
                    if example["image"].shape != shape:
                        odd = f"{source} image {number} is {example['image'].shape}, and {shape} is declared"
                        raise _damaged(name, builder.data_dir, odd)
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
            raise _damaged(
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


def _prepared(folder: Path) -> list[str]:
    """Names of the sets in a folder, those of configurations too."""
    described = [file for depth in ("*/*", "*/*/*") for file in folder.glob(f"{depth}/features.json")]
    return sorted({file.parent.parent.relative_to(folder).as_posix() for file in described})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without TFDS's advice (a missing OpenCV, other versions) and its libraries' deprecation warnings."""
    loggers = [logging.getLogger(name) for name in ("absl", "urllib3", "etils")]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
