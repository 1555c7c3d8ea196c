"""Segmentation: DeepLabV3+ tells the class of every pixel.

The network is in :mod:`collect.models.deeplab_v3_plus`. The loss is the mean cross-entropy of the
pixels of a batch whose class is said. Images are normalised to [−1, 1], and augmented as in the
authors' program (github.com/tensorflow/models, ``research/deeplab``): a scale from 0.5 to 2 in
steps of 0.25, a crop of the image's own size, a mirror image half of the time. Departures:

- The weights start at random. There, those of the backbone come from ImageNet.
- An evaluation estimates BatchNorm's means and variances anew for the weights it judges.
- Masks follow the nearest pixel, images the bilinear filter without averaging as they shrink.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8

import nowcast
from collect.data import masks, text
from collect.data.masks import VOID, Masked
from collect.models.deeplab_v3_plus import STRIDES, DeepLabV3Plus
from collect.models.start import Start
from collect.tasks.batch_norms import definitions
from collect.tasks.data_keys import NOT_TAKEN, in_memory, refuse
from collect.tasks.protocol import LOSS, Metric
from collect.tasks.regions import coloured, confusion, jaccard, rescaled
from nowcast.types import PyTree, UserError, real, whole

AT_ONCE = {"cpu": 1 << 17}
"""Pixels that are evaluated at once, at most; 2²² on accelerators."""
ESTIMATION = 256, 1 << 22
"""Images, and their pixels, at most, that BatchNorm's statistics are of."""
SHOWN = 6
"""Scenes in the picture."""
WIDTH, STRIDE, RATES = 0.25, 8, (1, 2, 3)
"""The default sizes of the network."""


class Segmentation:
    """A :class:`collect.tasks.Task`: the class of every pixel of an image.

    Metrics are of all pixels of a split whose class is said:

    - ``jaccard``: the mean over classes of intersection over union, from one confusion matrix of
      the whole split; a class that neither occurs nor is predicted does not count;
    - ``loss``: the mean cross-entropy, in nats;
    - ``accuracy``: the share of pixels whose class is right.

    Args:
        data: Images and masks.
        batch_size: Images a step.
        width: 0.5 makes the network narrower; 1: the published width.
        output_stride: How many times smaller than the image the backbone's last features are.
        rates: The atrous rates of the pyramid.
        judged: Images of an evaluation at most, spread evenly over a split.
        augmented: Whether training images are scaled, cropped and mirrored.

    Raises:
        UserError: A value is out of range.

    Examples:
        >>> import numpy as np
        >>> each = {split: np.zeros((4, 32, 32), np.uint8) for split in ("train", "validation")}
        >>> images = {split: mask[..., None] for split, mask in each.items()}
        >>> task = Segmentation(Masked("blank", 2, images, each), batch_size=2)
        >>> print(task.name, task.steps_per_epoch)
        deeplab-blank 2
    """

    metrics = (
        Metric("jaccard", "higher", "difference"),
        LOSS,
        Metric("accuracy", "higher", "difference"),
    )

    def __init__(
        self,
        data: Masked,
        *,
        batch_size: int,
        width: float = WIDTH,
        output_stride: int = STRIDE,
        rates: Sequence[int] = RATES,
        judged: int = 256,
        augmented: bool = False,
    ):
        rates = _checked(width, output_stride, rates, augmented)
        judged = whole("task.judged", judged, "images")
        examples = len(data.masks["train"])
        if not 1 <= batch_size <= examples:
            raise UserError(
                f"batch_size={batch_size}: must be 1 to {examples}, the number of training images"
            )
        self.name = f"{_named(width, output_stride, rates)}-{data.name}"
        self.batch_size, self._examples = batch_size, examples
        self.steps_per_epoch = examples // batch_size
        held = {split: (data.images[split], data.masks[split]) for split in data.images}
        self.arrays = tuple(map(jnp.asarray, held.pop("train")))
        self.splits: tuple[str, ...] = tuple(held)
        self._kept = {
            split: tuple(jnp.asarray(each[_spread_over(len(each), judged)]) for each in pair)
            for split, pair in held.items()
        }
        self._classes, self._augmented = data.classes, augmented
        self._start = Start(
            lambda rngs: DeepLabV3Plus(
                data.images["train"].shape[-1],
                data.classes,
                width=width,
                output_stride=output_stride,
                rates=rates,
                rngs=rngs,
            )
        )
        module = self._start.module
        self.labels = nowcast.label_ops(module)
        self._training, self._evaluating, self._estimating = definitions(module)
        self._estimate = jax.jit(self._statistics)
        self._judge, self._predict = jax.jit(self._judged), jax.jit(self._predicted)

    @classmethod
    def configured(
        cls, data: Any, batch_size: int, *, objects: int = 4, **own: Any
    ) -> "Segmentation":
        """The task that a configuration's keys name, on its ``data=`` with its ``batch_size=``."""
        objects = whole("task.objects", objects, "images in a scene")
        refuse(data, NOT_TAKEN, "standardize", "center", "size")
        if text.is_path(data.name):
            refuse(data, NOT_TAKEN, "classes", "validation")
            return cls(masks.voc(data.name, data.train_size), batch_size=batch_size, **own)
        images = in_memory(data, "a larger budget")
        return cls(masks.scenes(images, objects), batch_size=batch_size, **own)

    def init(self, seed: int) -> tuple[PyTree, PyTree]:
        """``(params, BatchNorm statistics)`` as pure dicts."""
        return self._start(seed)

    def order(self, seed: int, epoch: int) -> Int[np.ndarray, "steps B"]:
        """The images of each step; they depend on seed and epoch only."""
        shuffled = np.random.default_rng((seed, epoch)).permutation(self._examples)
        used = self.steps_per_epoch * self.batch_size
        return shuffled[:used].reshape(self.steps_per_epoch, -1).astype(np.int32)

    def batch(
        self, arrays: tuple[Array, Array], indices: Any, key: Any = None
    ) -> tuple[Float[Array, "B height width C"], UInt8[Array, "B height width"]]:
        """Normalised images and their masks; the key decides how they are augmented."""
        images, own = (array[indices] for array in arrays)
        normalised = _normalised(images)
        return rescaled(key, normalised, own) if self._augmented else (normalised, own)

    def loss(
        self, params: PyTree, extra: PyTree, batch: tuple[Array, Array], key: Any = None
    ) -> tuple[Float[Array, ""], PyTree]:
        """The mean cross-entropy of pixels that are not void, and the new BatchNorm statistics."""
        images, own = batch
        module = nnx.merge(self._training, params, extra)
        said = own != VOID
        errors = jnp.where(said, _errors(module(images), own), 0)
        _, new = nnx.state(module, nnx.Param, ...)
        return jnp.sum(errors) / jnp.maximum(jnp.sum(said), 1), nnx.to_pure_dict(new)

    def evaluate(self, params: PyTree, extra: PyTree, split: str) -> dict[str, float]:
        """Every metric, of a whole split, with BatchNorm statistics of these weights."""
        extra = self._estimated(params, extra)
        images, own = self._kept[split]
        most = AT_ONCE.get(jax.default_backend(), 1 << 22) // int(np.prod(own.shape[1:]))
        counts, errors = np.zeros((self._classes, self._classes)), 0.0
        for start in range(0, len(own), max(1, most)):
            part = slice(start, start + max(1, most))
            more, error = self._judge(params, extra, images[part], own[part])
            counts += np.asarray(more)
            errors += float(error)
        judged = max(1.0, counts.sum())
        return {
            "jaccard": jaccard(counts),
            "loss": float(errors / judged),
            "accuracy": float(np.trace(counts) / judged),
        }

    def picture(self, params: PyTree, extra: PyTree) -> Float[np.ndarray, "height width 3"]:
        """Held-out images, below each its classes, and below these what the network tells.

        Colours are those of VOC's palette; void pixels are white.
        """
        extra = self._estimated(params, extra)
        images, own = (array[:SHOWN] for array in self._kept[self.splits[0]])
        told = np.asarray(self._predict(params, extra, images))
        real = np.repeat(np.asarray(images) / 255, 3 // images.shape[-1], axis=-1)
        rows = (real, coloured(np.asarray(own)), coloured(told))
        return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])

    def _estimated(self, params: PyTree, extra: PyTree) -> PyTree:
        """BatchNorm statistics of these weights, on training images spread over all of them."""
        number, pixels = ESTIMATION
        number = max(1, min(number, pixels // int(np.prod(self.arrays[1].shape[1:]))))
        places = _spread_over(self._examples, number)
        return self._estimate(params, extra, self.arrays[0][places])

    def _statistics(self, params: PyTree, extra: PyTree, images: Array) -> PyTree:
        module = nnx.merge(self._estimating, params, extra)
        module(_normalised(images))
        return nnx.to_pure_dict(nnx.state(module, nnx.Param, ...)[1])

    def _predicted(self, params: PyTree, extra: PyTree, images: Array) -> Array:
        logits = nnx.merge(self._evaluating, params, extra)(_normalised(images))
        return jnp.argmax(logits, axis=-1)

    def _judged(
        self, params: PyTree, extra: PyTree, images: Array, own: Array
    ) -> tuple[Float[Array, "K K"], Float[Array, ""]]:
        """The confusion matrix of some images, and the sum of their pixels' errors."""
        logits = nnx.merge(self._evaluating, params, extra)(_normalised(images))
        errors = jnp.where(own != VOID, _errors(logits, own), 0)
        return confusion(own, jnp.argmax(logits, axis=-1), self._classes), jnp.sum(errors)


def _spread_over(count: int, number: int) -> Int[np.ndarray, "_"]:
    """The places of so many of ``count`` images, evenly over all; all where there are fewer."""
    return np.unique(np.linspace(0, count - 1, number).astype(int))


def _normalised(images: UInt8[Array, "B height width C"]) -> Float[Array, "B height width C"]:
    return images.astype(jnp.float32) / 127.5 - 1


def _errors(logits: Array, own: Array) -> Float[Array, "B height width"]:
    """The cross-entropy of each pixel; of a void one, that of some class."""
    known = jnp.where(own == VOID, 0, own).astype(jnp.int32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, known)


def _named(width: float, output_stride: int, rates: Sequence[int]) -> str:
    parts = ["deeplab"]
    if width != WIDTH:
        parts.append(f"w{width:g}")
    if output_stride != STRIDE:
        parts.append(f"s{output_stride}")
    if tuple(rates) != RATES:
        parts.append(f"r{'x'.join(map(str, rates))}")
    return "_".join(parts)


def _checked(width: Any, output_stride: Any, rates: Any, augmented: Any) -> tuple[int, ...]:
    if not 0 < real("task.width", width, "must be above 0 and at most 4") <= 4:
        raise UserError(f"task.width={width}: must be above 0 and at most 4; 1: as published")
    if isinstance(output_stride, bool) or output_stride not in STRIDES:
        raise UserError(f"task.output_stride={output_stride!r}: must be 8 or 16")
    if not isinstance(augmented, bool):
        raise UserError(f"task.augmented={augmented!r}: must be true or false")
    if not isinstance(rates, Sequence) or isinstance(rates, str) or not rates:
        raise UserError(f"task.rates={rates!r}: must be a list of atrous rates, such as [6,12,18]")
    return tuple(whole("task.rates", rate, "pixels") for rate in rates)
