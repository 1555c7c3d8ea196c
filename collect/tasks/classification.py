"""Image classification: a Flax NNX model on a data set, trained with cross-entropy."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import nowcast
from collect.data import Dataset
from collect.data.augment import AUGMENTS, OF_PLAIN_IMAGES
from collect.data.streaming import Streamed
from collect.models import MODELS
from collect.models.start import Start
from collect.tasks.batch_norms import batch_norms, definitions
from collect.tasks.data_keys import images_of
from collect.tasks.protocol import LOSS, Metric, rows
from nowcast.types import PyTree, UserError

EVALUATION_BATCH = {"cpu": 256}
"""Images that are evaluated at once, at most; 1024 on accelerators.

On a CPU those that fit a core's cache are evaluated twice as fast.
"""
ESTIMATION_BATCH = 500
MANY = 100
"""From this number of classes on, top-5 accuracy is measured too."""


class Classification:
    """A :class:`collect.tasks.Task`: one architecture on one data set with one batch size.

    Its splits are ``validation`` and ``test``, or only ``test`` where the data have no other. Where
    there are 100 classes or more, ``top5_accuracy`` is among its metrics.

    Args:
        model: A name of :data:`collect.models.MODELS`.
        data: The images, already of the size the model needs; in memory, or streamed.
        batch_size: Examples a step; the remainder of an epoch is dropped (another one each epoch).
        augment: What happens to training images: a name of :data:`collect.data.augment.AUGMENTS`.
        standardize: Whether the model sees each channel less its mean, over its standard deviation,
            both of the training images.
        center: Whether the model sees images less the mean of the training images, pixel by pixel.
            The mean is subtracted before images are augmented.
        sizes: Arguments of the model: ``width``, ``depth``.
    """

    metrics: Sequence[Metric] = (LOSS, Metric("accuracy", "higher", "difference"))

    def __init__(
        self,
        model: str,
        data: Dataset | Streamed,
        *,
        batch_size: int,
        augment: str = "none",
        standardize: bool = False,
        center: bool = False,
        **sizes: Any,
    ):
        examples = data.examples["train"]
        if not 1 <= batch_size <= examples:
            raise UserError(
                f"batch_size={batch_size}: must be 1 to {examples}, the number of training examples"
            )
        if center and augment in OF_PLAIN_IMAGES:
            raise UserError(
                f"data.center=true: augment={augment} needs images in [0, 1]; leave one of them out"
            )
        self.name = f"{model}{sizes.get('depth', '')}-{data.name}"
        self.batch_size = batch_size
        self.steps_per_epoch = examples // batch_size
        self._examples, self._augment = examples, AUGMENTS[augment]
        if data.classes >= MANY:
            self.metrics = (*self.metrics, Metric("top5_accuracy", "higher", "difference"))
        self._drops = "key" in inspect.signature(MODELS[model].__call__).parameters
        self._start = Start(
            lambda rngs: MODELS[model](data.image_shape, data.classes, **sizes, rngs=rngs)
        )
        self.arrays: PyTree = ()
        self._parts: Callable[[str, int], Iterator[Any]]
        if isinstance(data, Streamed):
            self.stream, self._parts = partial(self._stream, data), data.parts
        else:
            held = {
                s: (jnp.asarray(data.images[s]), jnp.asarray(data.labels[s])) for s in data.images
            }
            self.arrays, self._parts = held["train"], partial(_parts, held)
        self._sizes = data.examples
        self.splits: Sequence[str] = tuple(
            split for split in ("validation", "test") if split in data.examples
        )
        self._mean_and_deviation = data.statistics() if standardize else None
        self._mean_image = data.mean_image() if center else None
        module = self._start.module
        self.labels = nowcast.label_ops(module)
        self.loops = not {"conv", "depthwise_conv"} & set(jax.tree.leaves(self.labels))
        norms = batch_norms(module)
        self._training, self._evaluating, self._estimating = definitions(module)
        self._estimate = jax.jit(self._statistics) if norms else None
        self._first = jnp.asarray(data.first(ESTIMATION_BATCH)) if norms else None
        self._metrics = jax.jit(self._batch_metrics)

    @classmethod
    def configured(cls, model: Any, data: Any, augment: Any, batch_size: int) -> "Classification":
        """The task that ``model=``, ``data=``, ``augment=`` and ``batch_size=`` name."""
        return cls(**cls.arguments(model, data, augment, batch_size))

    @staticmethod
    def arguments(model: Any, data: Any, augment: Any, batch_size: int) -> dict[str, Any]:
        """The arguments that ``model=``, ``data=``, ``augment=`` and ``batch_size=`` are."""
        return {
            "model": model.name,
            "data": images_of(data, MODELS[model.name].min_size),
            "batch_size": batch_size,
            "augment": augment.name,
            "standardize": data.standardize,
            "center": data.center,
            **model.sizes,
        }

    def init(self, seed: int) -> tuple[PyTree, PyTree]:
        """``(params, BatchNorm statistics)`` as pure dicts."""
        return self._start(seed)

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Example indices ``(steps_per_epoch, batch_size)``.

        They depend on seed and epoch only, so that arms are paired.
        """
        shuffled = np.random.default_rng((seed, epoch)).permutation(self._examples)
        return (
            shuffled[: self.steps_per_epoch * self.batch_size]
            .reshape(self.steps_per_epoch, -1)
            .astype(np.int32)
        )

    def _stream(
        self, data: Streamed, seed: int, steps: range
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read the examples that :meth:`order` names for each step, where they are on disk."""
        return data.batches("train", rows(self, seed), steps)

    def batch(
        self, arrays: PyTree, indices: Any, key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """``(images, labels)``, augmented when there is a key.

        A stream has read them already.
        """
        images, labels = (
            (array[indices] for array in arrays) if arrays else map(jnp.asarray, indices)
        )
        images = self._as_float(images)
        return self._standard(images if key is None else self._augment(key, images)), labels

    def loss(
        self, params: PyTree, extra: PyTree, batch: tuple[jax.Array, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, PyTree]:
        """Mean cross-entropy in training mode, and the new BatchNorm statistics.

        The key is for the dropout of models that have some.
        """
        images, labels = batch
        module = nnx.merge(self._training, params, extra)
        logits = module(images, key) if self._drops else module(images)
        _, new_extra = nnx.state(module, nnx.Param, ...)
        loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))
        return loss, nnx.to_pure_dict(new_extra)

    def evaluate(self, params: PyTree, extra: PyTree, split: str) -> dict[str, float]:
        """Mean cross-entropy and accuracy on a whole split, in evaluation mode.

        BatchNorm's statistics are estimated anew, on the first 500 training images, not augmented,
        and for these very weights (as after weight averaging: Izmailov et al., UAI 2018, §3.2;
        "precise BatchNorm": Wu & Johnson, 2021, §3). The running averages in ``extra`` describe
        weights of some ten steps ago: they lag where weights move fast, and after a jump they
        belong to another network. Training does not use them, so only the measure would suffer.
        """
        if self._estimate:
            extra = self._estimate(params, extra, self._first)
        names, count = [metric.name for metric in self.metrics], self._sizes[split]
        sums = np.zeros(len(names))
        most = EVALUATION_BATCH.get(jax.default_backend(), 1024)
        # All parts are of equal size, so that one program computes them.
        size = -(-count // -(-count // most))
        for images, labels in self._parts(split, size):
            sums += np.asarray(self._metrics(params, extra, images, labels))
        return dict(zip(names, map(float, sums / count), strict=True))

    def _statistics(self, params: PyTree, extra: PyTree, images: jax.Array) -> PyTree:
        """``extra`` with BatchNorm statistics of these images under these weights."""
        module = nnx.merge(self._estimating, params, extra)
        module(self._standard(self._as_float(images)))
        return nnx.to_pure_dict(nnx.state(module, nnx.Param, ...)[1])

    def _batch_metrics(
        self, params: PyTree, extra: PyTree, images: jax.Array, labels: jax.Array
    ) -> jax.Array:
        logits = nnx.merge(self._evaluating, params, extra)(self._standard(self._as_float(images)))
        loss = jnp.sum(optax.softmax_cross_entropy_with_integer_labels(logits, labels))
        right = [jnp.argmax(logits, axis=-1) == labels]
        if logits.shape[-1] >= MANY:
            of_label = jnp.take_along_axis(logits, labels[:, None], axis=-1)
            right.append(jnp.sum(~(logits < of_label), axis=-1) <= 5)  # itself among the five
        return jnp.stack([loss, *(jnp.sum(one).astype(loss.dtype) for one in right)])

    def _as_float(self, images: jax.Array) -> jax.Array:
        """Images as float32 in [0, 1], also where they are kept as uint8; less the mean image."""
        images = images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images
        return images if self._mean_image is None else images - self._mean_image

    def _standard(self, images: jax.Array) -> jax.Array:
        if self._mean_and_deviation is None:
            return images
        mean, spread = self._mean_and_deviation
        return (images - mean) / spread


def _parts(
    held: dict[str, tuple[jax.Array, jax.Array]], split: str, size: int
) -> Iterator[tuple[jax.Array, jax.Array]]:
    """A split's images and labels on the device, ``size`` at a time."""
    images, labels = held[split]
    for start in range(0, len(labels), size):
        yield images[start : start + size], labels[start : start + size]
