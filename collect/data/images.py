"""Read prepared image classification sets: the examples of each split, decoded.

Images kept in memory and streamed images are both read here, so they have the same pixels.
"""

import importlib
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Int, Integer, UInt8

from collect.data import png, prepared, resize
from nowcast.types import UserError

KIND = "digits, and the image classification sets"
TENTH = {"validation": 9, "test": 8}
"""The place in each ten training images that a split gets which the set lacks."""
SPLITS = ("train", *TENTH)


class Images:
    """A prepared set, opened.

    Its examples have numbers: those of its training split come first, then its other splits.

    Args:
        name: The set's name, such as ``mnist``, ``cifar10`` or ``emnist/letters``.
        directory: Where the prepared sets lie; ``$TFDS_DATA_DIR``, then ``~/tensorflow_datasets``,
            when left out.
        size: The shorter side of each image is resized to this, and the centre cut out; None: as
            the images are.
    """

    def __init__(self, name: str, directory: str | None = None, size: int | None = None):
        if not prepared.NAME.fullmatch(name):
            raise UserError(
                f"data.name={name!r}: images are in no folder; give digits, or a set's name in"
                " TensorFlow Datasets"
            )
        self.name, self.size = name, size
        with prepared.without_messages():
            self.builder = prepared.builder(name, prepared.located(directory), KIND)
            self._declared, self.classes = _declared(self.builder.info.features, name, size)
            self._image = self.builder.info.features["image"]
            self._example = importlib.import_module(
                "tensorflow_datasets.proto"
            ).tf_example_pb2.Example
            self._sources = self._read(self._labelled)
            self._records = self._read(partial(self._open, "+".join(self._sources)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of each image."""
        height, width, channels = self._declared
        return (height, width, channels) if self.size is None else (self.size, self.size, channels)

    def places(self) -> dict[str, Int[np.ndarray, "_"]]:
        """The numbers of each split's examples.

        A ``validation`` or ``test`` split that the set has is used as it is. Otherwise, of each ten
        training images by position in the prepared files (which TFDS has shuffled), the tenth is
        for validation, and the ninth for the test.
        """
        numbers = dict(
            zip(
                self._sources,
                np.split(np.arange(len(self._records)), self._ends()[:-1]),
                strict=True,
            )
        )
        lacking = [split for split in TENTH if split not in numbers]
        place = numbers["train"] % 10
        found = {split: numbers["train"][place == TENTH[split]] for split in lacking}
        own = numbers["train"][~np.isin(place, [TENTH[split] for split in lacking])]
        places = numbers | found | {"train": own}
        for split in SPLITS:
            if not len(places[split]):
                raise UserError(
                    f"data.name={self.name!r}: there are too few images for a {split} split"
                )
        return {split: places[split] for split in SPLITS}

    def read(
        self, numbers: Int[np.ndarray, "B"]
    ) -> tuple[UInt8[np.ndarray, "B height width C"], Integer[np.ndarray, "B"]]:
        """``(images, labels)`` of the examples with these numbers, in this order."""
        images = np.empty((len(numbers), *self.shape), np.uint8)
        labels = np.empty(len(numbers), np.int32)
        self._read(partial(self._fill, images, labels, numbers))
        self._check_labels(numbers, labels)
        return images, labels

    def labels(self, numbers: Int[np.ndarray, "B"]) -> Integer[np.ndarray, "B"]:
        """The labels of the examples with these numbers; no image is decoded."""
        records = self._read(partial(self._records.__getitems__, numbers.tolist()))
        labels = np.array([self._label(record) for record in records], np.int32)
        self._check_labels(numbers, labels)
        return labels

    def check(self) -> None:
        """Read the last example of every file, so that a lost, cut or empty file is named early."""
        lengths = [
            length
            for source in self._sources
            for length in self.builder.info.splits[source].shard_lengths
        ]
        last = np.cumsum(lengths) - 1
        self._read(partial(self._records.__getitems__, last.tolist()))

    def _labelled(self) -> dict[str, int]:
        """How many usable examples each split has: none where the first has no label."""
        splits = self.builder.info.splits
        if not splits:
            raise prepared.damaged(
                self.name, self.builder.data_dir, "its description names no splits"
            )
        counts = {split: splits[split].num_examples for split in splits}
        if wrong := [f"{split}: {count}" for split, count in counts.items() if count < 1]:
            said = f"its description counts so many images: {', '.join(wrong)}"
            raise prepared.damaged(self.name, self.builder.data_dir, said)
        if "train" not in splits:
            raise UserError(
                f"data.name={self.name!r}: has no training split, only {', '.join(splits)}"
            )
        labelled = [
            split for split in TENTH if split in splits and self._label(self._open(split)[0]) >= 0
        ]
        return {split: counts[split] for split in ("train", *labelled)}

    def _open(self, split: str) -> Any:
        decode = importlib.import_module("tensorflow_datasets.core.decode")
        return self.builder.as_data_source(
            split=split, deserialize_method=decode.DeserializeMethod.RAW_BYTES
        )

    def _read(self, reading: Any) -> Any:
        return prepared.read(self.name, self.builder.data_dir, reading)

    def _label(self, record: bytes) -> int:
        return self._example.FromString(record).features.feature["label"].int64_list.value[0]

    def _fill(self, images: np.ndarray, labels: np.ndarray, numbers: np.ndarray) -> None:
        """Read examples into arrays; TFDS's reader of whole examples takes much longer."""
        records = self._records.__getitems__(numbers.tolist())
        held = [self._example.FromString(record).features.feature for record in records]
        labels[:] = [features["label"].int64_list.value[0] for features in held]
        files = [features["image"].bytes_list.value[0] for features in held]
        for i in png.fill(images, files) if self.size is None else range(len(files)):
            image = self._decoded(files[i])
            if image.shape != self.shape:
                source = self._source(int(numbers[i]))
                odd = f"{source} is {image.shape}, and {self.shape} is declared"
                raise prepared.damaged(self.name, self.builder.data_dir, odd)
            images[i] = image

    def _decoded(self, file: bytes) -> np.ndarray:
        """Decode an image by Pillow: TFDS's choice depends on what is installed, and is slower."""
        image = self._image.decode_example_np_with_pil(file, self._declared[-1])
        return image if self.size is None else resize.cut(image, self.size, self._declared[-1])

    def _check_labels(self, numbers: np.ndarray, labels: np.ndarray) -> None:
        if (labels < 0).any():
            split = self._source(int(numbers[np.argmin(labels)])).split()[0]
            raise UserError(
                f"data.name={self.name!r}: the {split} split has images without a label"
            )
        if (labels >= self.classes).any():
            split = self._source(int(numbers[np.argmax(labels)])).split()[0]
            said = f"a {split} label is {labels.max()}, and there are {self.classes} classes"
            raise prepared.damaged(self.name, self.builder.data_dir, said)

    def _ends(self) -> np.ndarray:
        return np.cumsum(list(self._sources.values()))

    def _source(self, number: int) -> str:
        """The name of an example in messages: ``train image 7``."""
        ends = self._ends()
        source = int(np.searchsorted(ends, number, side="right"))
        return f"{list(self._sources)[source]} image {number - (ends[source - 1] if source else 0)}"


def _declared(features: Any, name: str, size: int | None) -> tuple[tuple[Any, ...], int]:
    """``(image shape, classes)`` as the set describes itself.

    A set that is no image classification set is refused.
    """
    tfds = importlib.import_module("tensorflow_datasets")
    held = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    image, label = held.get("image"), held.get("label")
    if not isinstance(image, tfds.features.Image) or not isinstance(
        label, tfds.features.ClassLabel
    ):
        kinds = [f"{key} ({type(value).__name__})" for key, value in sorted(held.items())]
        of_texts = any(isinstance(value, tfds.features.Text) for value in held.values())
        raise UserError(
            f"data.name={name!r}: no image classification set; that takes image (Image) and label"
            " (ClassLabel, the number of one of some classes), and it has"
            f" {', '.join(kinds) or type(features).__name__}"
            + "; texts are for task=gpt"
            * of_texts
        )
    if image.np_dtype != np.uint8:
        raise UserError(
            f"data.name={name!r}: images must be uint8, and these are {np.dtype(image.np_dtype)}"
        )
    if size is None and None in image.shape:
        raise UserError(
            f"data.name={name!r}: its images have several sizes; add data.size=224, which resizes"
            " the shorter side of each to 224 pixels and cuts out the centre"
        )
    return image.shape, label.num_classes
