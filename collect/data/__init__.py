"""Data sets. Texts are in :mod:`collect.data.text`; here are images, as arrays: images, NHWC, uint8 or float32 in [0, 1], and int32 labels.

:class:`collect.tasks.Classification` keeps all of a set in the device's memory (CIFAR-10 as uint8: 184 MB); sets that
do not fit there cannot be trained on.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from collect.data import cache
from nowcast.types import UserError

SPLITS = ("train", "validation", "test")
RESIZE_BATCH = 1000


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels per split. ``validation`` is held out of the training data; ``test`` is read once, at the end."""

    name: str
    classes: int
    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.images["train"].shape[1:]


def load(
    name: str,
    *,
    directory: str | None = None,
    train_size: int | None = None,
    min_size: int = 1,
    validation: bool = True,
) -> Dataset:
    """A data set by name.

    Args:
        name: One of :data:`DATASETS`, or a set of TensorFlow Datasets (:func:`collect.data.cache.load`).
        directory: Where the prepared sets of TensorFlow Datasets lie, if not in the usual place.
        train_size: Use the first so many training examples only.
        min_size: Images smaller than this are resized to it (bilinear; uint8 stays uint8, rounded).
        validation: Whether there is a validation split; if not, its images are for training too.
    """
    data = DATASETS[name]() if name in DATASETS else _prepared(name, directory)
    if not validation:
        for arrays in (data.images, data.labels):
            arrays["train"] = np.concatenate([arrays["train"], arrays.pop("validation")])
    available = len(data.labels["train"])
    if train_size is not None:
        if not 1 <= train_size <= available:
            raise UserError(f"data.train_size={train_size}: {name} has 1 to {available} training examples to give")
        data.images["train"], data.labels["train"] = (
            data.images["train"][:train_size],
            data.labels["train"][:train_size],
        )
    if min(data.image_shape[:2]) < min_size:
        for split, images in data.images.items():
            data.images[split] = _resized(images, min_size)
    return data


def _resized(images: np.ndarray, size: int) -> np.ndarray:
    shape = (size, size, images.shape[-1])
    if images.dtype != np.uint8:
        return np.asarray(jax.image.resize(jnp.asarray(images), (len(images), *shape), "bilinear"))
    resize = jax.jit(
        lambda part: jnp.round(jax.image.resize(part.astype(jnp.float32), (len(part), *shape), "bilinear"))
    )
    resized = np.empty((len(images), *shape), np.uint8)
    for start in range(0, len(images), RESIZE_BATCH):
        part = slice(start, start + RESIZE_BATCH)
        resized[part] = resize(images[part])
    return resized


def _prepared(name: str, directory: str | None) -> Dataset:
    classes, images, labels = cache.load(name, directory)
    return Dataset(name.replace("/", "-").replace(":", "-"), classes, images, labels)


def _digits() -> Dataset:
    """1,797 handwritten 8×8 digits (UCI, Alpaydin & Kaynak 1998), shipped inside scikit-learn.

    Split once and for all by position, so that every writer is in every split: of each seven images the sixth is
    for validation (256), the seventh for the test (256), the others for training (1,285).
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
