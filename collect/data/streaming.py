"""Read images from the prepared files while a network trains on them.

This is for sets that are larger than memory. Grain reads and decodes ahead, in threads, and reads
several small batches at once; the caller gives the order of the examples.
"""

import os
from collections.abc import Callable, Iterator
from itertools import chain

import jax
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from collect.data import resize
from collect.data.images import Images
from collect.data.statistics import Statistics, mean_image, statistics

AHEAD = 2
"""Reads that each thread has ready or in progress."""
READ = 2**20
"""Bytes of images that are read at once, or one batch: even a small read takes 1 ms."""
PART = 256
"""Images that are decoded at once where no batches are asked for."""

Batch = tuple[np.ndarray, np.ndarray]
"""Images and labels."""


def threads() -> int:
    """How many threads decode.

    One on a CPU, whose cores train several runs at a time; one per core beside an accelerator.
    """
    return 1 if jax.default_backend() == "cpu" else os.cpu_count() or 1


class Streamed:
    """A data set like :class:`collect.data.Dataset`, with nothing in memory.

    Args:
        images: The prepared set.
        name: The name of the data set.
        places: The numbers of each split's examples.
        image_shape: The shape of the images that are given; smaller images are enlarged to it.
        new: The new label of each class (:func:`collect.data.subset.relabelling`); None: labels
            stay.
    """

    def __init__(
        self,
        images: Images,
        name: str,
        places: dict[str, np.ndarray],
        image_shape: tuple[int, int, int],
        new: np.ndarray | None = None,
    ):
        self.name, self.image_shape, self._new = name, image_shape, new
        self.classes = images.classes if new is None else int(new.max()) + 1
        self.examples = {split: len(numbers) for split, numbers in places.items()}
        self._images, self._places = images, places
        images.check()

    def batches(
        self, split: str, rows: Callable[[int], np.ndarray], steps: range
    ) -> Iterator[Batch]:
        """The examples ``rows(step)`` of a split, for each step in turn.

        Small batches are read together.

        Args:
            split: The name of the split.
            rows: A function from a step to positions in the split, called in several threads. Only
                the last step may have fewer positions.
            steps: The steps, in ascending order; nothing is read for any other step.
        """
        import grain

        places = self._places[split]
        if not steps:
            return iter(())
        bytes_each = len(rows(steps.start)) * int(np.prod(self.image_shape))
        together = max(1, READ // bytes_each)

        def read(first: int) -> list[Batch]:
            wanted = range(first, min(first + together, steps.stop))
            return self._read([places[rows(step)] for step in wanted])

        reads = grain.MapDataset.range(steps.start, steps.stop, together).map(read)
        options = grain.ReadOptions(num_threads=threads(), prefetch_buffer_size=AHEAD * threads())
        return chain.from_iterable(reads.to_iter_dataset(options))

    def parts(self, split: str, size: int = PART) -> Iterator[Batch]:
        """A whole split in order, ``size`` examples at a time."""
        everything = np.arange(self.examples[split])
        steps = range(-(-len(everything) // size))
        return self.batches(split, lambda part: everything[part * size : (part + 1) * size], steps)

    def first(self, count: int) -> np.ndarray:
        """The first training images."""
        [(images, _)] = self._read([self._places["train"][:count]])
        return images

    def statistics(self) -> Statistics:
        """Mean and deviation of the training images, all of which are read for it."""
        return statistics(self._training("mean and deviation"))

    def mean_image(self) -> Float[np.ndarray, "1 height width C"]:
        """The mean of the training images, pixel by pixel; all of them are read for it."""
        return mean_image(self._training("mean image"))

    def _training(self, what: str) -> Iterator[np.ndarray]:
        """The training images in parts, with a progress bar."""
        total = self.examples["train"]
        with tqdm(total=total, unit="image", desc=what, delay=2, leave=False) as bar:
            for images, _ in self.parts("train"):
                yield images
                bar.update(len(images))

    def _read(self, batches: list[np.ndarray]) -> list[Batch]:
        """Read batches of examples with these numbers, all in one read."""
        ends = np.cumsum([len(numbers) for numbers in batches])[:-1]
        decoded, old = self._images.read(np.concatenate(batches))
        read = decoded, old if self._new is None else self._new[old]
        images, labels = (np.split(arrays, ends) for arrays in read)
        if self._images.shape != self.image_shape:
            images = [resize.enlarged(batch, self.image_shape[0]) for batch in images]
        return list(zip(images, labels, strict=True))
