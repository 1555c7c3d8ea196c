"""Image data sets: NHWC, uint8 or float32 in [0, 1], and int32 labels.

Texts are in :mod:`collect.data.text`. :class:`collect.tasks.Classification` keeps a set in the
device's memory (CIFAR-10 as uint8: 184 MB) if it is smaller than a budget; a larger one is
:class:`collect.data.streaming.Streamed` from the prepared files.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from collect.data import cache, prepared, resize, subset
from collect.data.images import SPLITS as SPLITS
from collect.data.images import Images
from collect.data.statistics import Statistics, mean_image, shaped, statistics
from collect.data.streaming import PART, Streamed
from nowcast.types import UserError

IN_MEMORY = 4.0
"""GB of images that are kept in memory by default."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels per split.

    ``validation`` is held out of the training data; ``test`` is read once, at the end.
    """

    name: str
    classes: int
    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.images["train"].shape[1:]

    @property
    def examples(self) -> dict[str, int]:
        """How many examples each split has."""
        return {split: len(labels) for split, labels in self.labels.items()}

    def first(self, count: int) -> np.ndarray:
        """The first training images."""
        return self.images["train"][:count]

    def statistics(self) -> Statistics:
        """Mean and deviation of each channel of the training images, as numbers in [0, 1]."""
        images = self.images["train"]
        if images.dtype == np.uint8:
            return statistics(self._parts())
        return shaped(*(f((0, 1, 2), np.float64) for f in (images.mean, images.std)))

    def mean_image(self) -> Float[np.ndarray, "1 height width C"]:
        """The mean of the training images, pixel by pixel, as numbers in [0, 1]."""
        images = self.images["train"]
        if images.dtype == np.uint8:
            return mean_image(self._parts())
        return images.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)

    def _parts(self) -> Iterator[np.ndarray]:
        images = self.images["train"]
        return (images[start : start + PART] for start in range(0, len(images), PART))


def load(
    name: str,
    *,
    directory: str | None = None,
    train_size: int | None = None,
    min_size: int = 1,
    validation: bool = True,
    size: int | None = None,
    in_memory: float = IN_MEMORY,
    classes: Sequence[int] | None = None,
) -> Dataset | Streamed:
    """Load a data set by name.

    Args:
        name: One of :data:`DATASETS`, or a set of TensorFlow Datasets
            (:class:`collect.data.images.Images`).
        directory: Where the prepared sets of TensorFlow Datasets lie, if not in the usual place.
        train_size: Use the first so many training examples only.
        min_size: Images smaller than this are resized to it (bilinear; uint8 stays uint8, rounded).
        validation: Whether there is a validation split; if not, its images are for training too.
        size: The shorter side of each image is resized to this, and the centre cut out; None: as
            the images are.
        in_memory: GB; a prepared set whose images take more is streamed from its files, to the same
            numbers.
        classes: Keep the examples of these classes only, and number the classes from 0 in this
            order, which must ascend; None: all. ``train_size`` counts examples that are kept;
            ``in_memory`` is compared with the images of all classes.

    Raises:
        UserError: There is no such set, it cannot be read, or it lacks one of the classes.

    Examples:
        >>> digits = load("digits", classes=[3, 8])
        >>> digits.name, digits.classes, sorted(set(digits.labels["test"].tolist()))
        ('digits-3_8', 2, [0, 1])
    """
    if name not in DATASETS:
        images = Images(name, directory, size)
        return _prepared(images, train_size, min_size, validation, in_memory, classes)
    if size is not None:
        raise UserError(
            f"data.size={size}: {name} has images of one size and keeps it; leave this key out"
        )
    data = DATASETS[name]()
    return _trimmed(data, name, train_size, min_size, validation, classes)


def _trimmed(
    data: Dataset,
    name: str,
    train_size: int | None,
    min_size: int,
    validation: bool,
    classes: Sequence[int] | None,
) -> Dataset:
    """The used part of a set in memory, in the size that is asked for."""
    if not validation:
        for arrays in (data.images, data.labels):
            arrays["train"] = np.concatenate([arrays["train"], arrays.pop("validation")])
    if classes is not None:
        data = _of_classes(data, name, classes)
    _check_size(name, train_size, len(data.labels["train"]))
    for arrays in (data.images, data.labels):
        arrays["train"] = arrays["train"][:train_size]
    if min(data.image_shape[:2]) < min_size:
        for split, images in data.images.items():
            data.images[split] = resize.enlarged(images, min_size)
    return data


def _of_classes(data: Dataset, name: str, classes: Sequence[int]) -> Dataset:
    """The examples of some classes, with new labels."""
    new = subset.relabelling(name, classes, data.classes)
    masks = {split: subset.kept(labels, new) for split, labels in data.labels.items()}
    return replace(
        data,
        name=subset.named(data.name, classes),
        classes=len(classes),
        images={split: images[masks[split]] for split, images in data.images.items()},
        labels={split: new[labels[masks[split]]] for split, labels in data.labels.items()},
    )


def _prepared(
    images: Images,
    train_size: int | None,
    min_size: int,
    validation: bool,
    in_memory: float,
    classes: Sequence[int] | None,
) -> Dataset | Streamed:
    """A prepared set, in memory if the used part of it fits there."""
    places = images.places()
    if not validation:
        places["train"] = np.concatenate([places["train"], places.pop("validation")])
    if classes is None:
        places["train"] = _first(images.name, places["train"], train_size)
    height, width, channels = images.shape
    shape = (min_size, min_size, channels) if min(height, width) < min_size else images.shape
    name = prepared.short(images.name)
    if sum(map(len, places.values())) * int(np.prod(shape)) > in_memory * 1e9:
        if classes is None:
            return Streamed(images, name, places, shape)
        new = subset.relabelling(images.name, classes, images.classes)
        places = subset.kept_places(images, places, new)
        places["train"] = _first(images.name, places["train"], train_size)
        return Streamed(images, subset.named(name, classes), places, shape, new)
    data = Dataset(name, images.classes, *cache.load(images))
    return _trimmed(data, images.name, train_size, min_size, validation, classes)


def _first(name: str, numbers: np.ndarray, train_size: int | None) -> np.ndarray:
    _check_size(name, train_size, len(numbers))
    return numbers[:train_size]


def _check_size(name: str, train_size: int | None, available: int) -> None:
    if train_size is not None and not 1 <= train_size <= available:
        raise UserError(
            f"data.train_size={train_size}: {name} has 1 to {available} training examples to give"
        )


def _digits() -> Dataset:
    """1,797 handwritten 8×8 digits (UCI, Alpaydin & Kaynak 1998), shipped inside scikit-learn.

    Split once and for all by position, so that every writer is in every split: of each seven images
    the sixth is for validation (256), the seventh for the test (256), the others for training
    (1,285).
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    place = np.arange(len(labels)) % 7
    masks = {"train": place < 5, "validation": place == 5, "test": place == 6}
    return Dataset(
        name="digits",
        classes=10,
        images={split: images[mask] for split, mask in masks.items()},
        labels={split: labels[mask].astype(np.int32) for split, mask in masks.items()},
    )


DATASETS: dict[str, Callable[[], Dataset]] = {"digits": _digits}
