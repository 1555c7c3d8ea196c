"""Prepared sets that tests read: those beside the project, and small ones that TFDS prepares
without TensorFlow.
"""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETS = Path(os.environ.get("TFDS_DATA_DIR", ROOT.parent / "shared" / "datasets" / "tfds"))
needs_sets = pytest.mark.skipif(
    not all((SETS / name).is_dir() for name in ("mnist", "cifar10", "tiny_shakespeare")),
    reason=f"no prepared mnist, cifar10 and tiny_shakespeare in {SETS}; set TFDS_DATA_DIR",
)
if SETS.is_dir():  # for the commands under test, which read the variable alone
    os.environ["TFDS_DATA_DIR"] = str(SETS)
MADE = """
import io
import sys
import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

class Made(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    SHAPE, SPLITS, LABEL = (8, 6, 3), ("train",), 0
    KIND = tfds.features.ClassLabel(num_classes=4)

    def _info(self):
        image = tfds.features.Image(shape=self.SHAPE, encoding_format="png")
        features = {"image": image, "label": self.KIND}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, manager):
        return {split: self._generate_examples() for split in self.SPLITS}

    def _generate_examples(self):
        for i in range(40):
            file = io.BytesIO()  # encoded here: TFDS would take TensorFlow
            PIL.Image.fromarray(np.full((8, 6, 3), i, np.uint8)).save(file, "png")
            image = io.BytesIO(self.spoilt(i, file.getvalue()))
            yield i, {"image": image, "label": i % 4 or self.LABEL}

    def spoilt(self, i, image):
        return image

class Sized(Made):
    SHAPE = (None, None, 3)

    def spoilt(self, i, image):  # from 8 x 20 to 17 x 11, each third in grey
        file = io.BytesIO()
        shape = (8 + i % 10, 20 - i % 10) if i % 3 == 0 else (8 + i % 10, 20 - i % 10, 3)
        picture = np.random.default_rng(i).integers(0, 256, shape, np.uint8)
        PIL.Image.fromarray(picture).save(file, "png")
        return file.getvalue()

class Hidden(Made):
    def _split_generators(self, manager):
        hidden = ((i, example | {"label": -1}) for i, example in self._generate_examples())
        return {"train": self._generate_examples(), "test": hidden}

class Unlabelled(Made):
    SPLITS, LABEL = ("train", "test"), -1

class Untrained(Made):
    SPLITS = ("test",)

class Counted(Made):
    KIND = tfds.features.Scalar(np.int64)

class Torn(Made):
    def spoilt(self, i, image):
        return image[: len(image) // 2] if i == 7 else image

class Odd(Made):
    def spoilt(self, i, image):
        file = io.BytesIO()
        PIL.Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(file, "png")
        return file.getvalue() if i == 7 else image

class Several(Made):
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=name, version="1.0.0") for name in ("first", "second")
    ]

Several(config="second", data_dir=sys.argv[1], file_format="array_record").download_and_prepare()
for made in (Several, Made, Sized, Hidden, Unlabelled, Untrained, Counted, Torn, Odd):
    made(data_dir=sys.argv[1], file_format="array_record").download_and_prepare()
"""
