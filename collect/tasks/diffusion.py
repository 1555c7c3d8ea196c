"""Diffusion: a U-Net that learns to tell the noise in images, and draws new ones from noise.

Network, loss, rates and measures are those of keras.io/examples/generative/ddim (Béres, 2022),
which the WNN paper's program ``Diffusion/WNN_training.py`` (github.com/jjh6297/WNN) is made of. The
loss is the mean absolute error of the noise. Departures:

- An evaluation estimates BatchNorm's means and variances anew for the weights it judges. There, a
  moving average of them is judged.
- Noises, times and images of an evaluation are the same at every evaluation, and the kernel
  inception distance is one estimate over all samples. There, it is the mean over batches of 64.
- An average of the weights (the arm's ``average``) begins without the first weights.
- Each image comes once in each part of an epoch. There, a shuffle of 640 examples mixes the parts.
- Adam's ε is 1e-8, in place of Keras's 1e-7.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

import nowcast
from collect.data import Dataset
from collect.data.statistics import statistics
from collect.data.streaming import PART
from collect.models.start import Start
from collect.models.unet import UNet
from collect.tasks import features as known
from collect.tasks.batch_norms import definitions
from collect.tasks.data_keys import NOT_TAKEN, in_memory, refuse
from collect.tasks.protocol import Metric
from collect.tasks.sampling import kernel_distance, rates, sample
from nowcast.types import PyTree, UserError, whole

AT_ONCE = 64
"""Images that are evaluated at once."""
ESTIMATION = 512
"""Images that BatchNorm's statistics are of."""
KEYS = 0xD1FF
"""The root of the noises and times of evaluations."""
STEPS, SHOWN_STEPS, SHOWN = 5, 20, (3, 6)
"""Steps of a measured sample, of one in the picture, and the picture's rows and columns."""
SHARE = 0.8
"""The share of each of a set's splits that is for training, where they are pooled."""
WIDTHS, DEPTH = (8, 16, 24, 32), 2
"""The default sizes of the network."""


class Diffusion:
    """A :class:`collect.tasks.Task`: a denoising diffusion implicit model of images.

    Images are normalised to mean 0 and deviation 1 by channel. A side that cannot be halved as
    often as the network halves it is padded with 0, evenly: MNIST's 28 pixels become 32. Metrics:

    - ``kid``: the kernel inception distance of samples in 5 steps from held-out images, by the
      unbiased estimate, which may be below 0; compared by difference;
    - ``noise_loss``, ``image_loss``: the mean absolute error of the noise and of the image.

    Args:
        data: The images.
        batch_size: Images a step.
        widths: Channels of the network's blocks at each size, the largest size first.
        depth: Blocks of each size, each way.
        features: Where samples are compared: ``mnist``, or the file of InceptionV3's weights
            (:func:`collect.tasks.features.load`).
        judged: Images, and samples, of an evaluation at most.
        repeats: How often an epoch reads each image.
        pooled: Whether the first 80 % of each of the set's splits are for training, and all else
            for validation, with no test.

    Raises:
        UserError: A value is out of range, or the features do not fit the images.
    """

    metrics = (
        Metric("kid", "lower", "difference"),
        Metric("noise_loss"),
        Metric("image_loss"),
    )

    def __init__(
        self,
        data: Dataset,
        *,
        batch_size: int,
        widths: Sequence[int] = WIDTHS,
        depth: int = DEPTH,
        features: str = known.MNIST,
        judged: int = 256,
        repeats: int = 1,
        pooled: bool = False,
    ):
        widths = _checked(widths, depth, judged, repeats, pooled)
        images = _pooled(data.images) if pooled else data.images
        self.splits: tuple[str, ...] = tuple(
            split for split in ("validation", "test") if split in images
        )
        examples = len(images["train"])
        if not 1 <= batch_size <= examples:
            raise UserError(
                f"batch_size={batch_size}: must be 1 to {examples}, the number of training images"
            )
        images = {split: _padded(each, 2 ** (len(widths) - 1)) for split, each in images.items()}
        self._shape = images["train"].shape[1:]
        self._features = known.load(features, self._shape)
        self.name = f"{_named(widths, depth)}-{data.name}"
        self.batch_size, self._examples, self._repeats = batch_size, examples, repeats
        self.steps_per_epoch = repeats * examples // batch_size
        self.arrays = jnp.asarray(images["train"])
        self._mean, self._spread = statistics(
            _bytes(images["train"][start : start + PART]) for start in range(0, examples, PART)
        )
        self._kept = {
            split: jnp.asarray(_spread_over(images[split], judged)) for split in self.splits
        }
        self._real: dict[str, Array] = {}
        self._start = Start(lambda rngs: UNet(self._shape[-1], widths, depth, rngs=rngs))
        module = self._start.module
        self.labels = nowcast.label_ops(module)
        self._training, self._evaluating, self._estimating = definitions(module)
        self._estimate = jax.jit(self._statistics)
        self._tell, self._errors = jax.jit(self._told), jax.jit(self._error)

    @classmethod
    def configured(cls, data: Any, batch_size: int, **own: Any) -> "Diffusion":
        """The task that a configuration's keys name, on its ``data=`` with its ``batch_size=``."""
        if data.standardize:
            raise UserError("data.standardize=true: this task always does so; leave it out")
        refuse(data, NOT_TAKEN, "center")
        images = in_memory(data, "a larger budget, or a smaller data.size")
        return cls(images, batch_size=batch_size, **own)

    def init(self, seed: int) -> tuple[PyTree, PyTree]:
        """``(params, BatchNorm statistics)`` as pure dicts."""
        return self._start(seed)

    def order(self, seed: int, epoch: int) -> Int[np.ndarray, "steps B"]:
        """The images of each step; they depend on seed and epoch only."""
        generator = np.random.default_rng((seed, epoch))
        each = [generator.permutation(self._examples) for _ in range(self._repeats)]
        used = self.steps_per_epoch * self.batch_size
        return np.concatenate(each)[:used].reshape(self.steps_per_epoch, -1).astype(np.int32)

    def batch(self, arrays: Array, indices: Any, key: jax.Array) -> tuple[Array, Array, Array]:
        """``(images, noises, times)``: normalised images, and what the key draws for each."""
        return self._drawn(arrays[indices], key)

    def loss(
        self, params: PyTree, extra: PyTree, batch: tuple[Array, Array, Array], key: Any = None
    ) -> tuple[Float[Array, ""], PyTree]:
        """The mean absolute error of the noise, and the new BatchNorm statistics."""
        images, noises, times = batch
        noise, signal = rates(times)
        module = nnx.merge(self._training, params, extra)
        told = module(signal * images + noise * noises, noise**2)
        _, new = nnx.state(module, nnx.Param, ...)
        return jnp.mean(jnp.abs(noises - told)), nnx.to_pure_dict(new)

    def evaluate(self, params: PyTree, extra: PyTree, split: str) -> dict[str, float]:
        """Every metric on held-out images, the same ones and with the same noises every time."""
        extra = self._estimated(params, extra)
        kept, noise_key = self._kept[split], jax.random.key(KEYS)
        if split not in self._real:
            self._real[split] = self._seen(_as_float(kept))
        made = self._seen(self._samples(params, extra, len(kept), STEPS, noise_key))
        sums = np.zeros(2)
        for start in range(0, len(kept), AT_ONCE):
            part = kept[start : start + AT_ONCE]
            batch = self._drawn(part, jax.random.fold_in(noise_key, 1 + start))
            sums += len(part) * np.asarray(self._errors(params, extra, batch))
        noise_loss, image_loss = (sums / len(kept)).tolist()
        kid = float(kernel_distance(self._real[split], made))
        return {"kid": kid, "noise_loss": noise_loss, "image_loss": image_loss}

    def picture(self, params: PyTree, extra: PyTree) -> Float[np.ndarray, "height width C"]:
        """18 samples in 20 steps, three rows of six, always from the same noise."""
        rows, columns = SHOWN
        key = jax.random.key(KEYS)
        extra = self._estimated(params, extra)
        made = self._samples(params, extra, rows * columns, SHOWN_STEPS, key)
        height, width, channels = self._shape
        tiles = np.asarray(made).reshape(rows, columns, height, width, channels)
        return tiles.swapaxes(1, 2).reshape(rows * height, columns * width, channels)

    def _drawn(self, images: Array, key: jax.Array) -> tuple[Array, Array, Array]:
        noisy, when = jax.random.split(key)
        normalised = (_as_float(images) - self._mean) / self._spread
        noises = jax.random.normal(noisy, normalised.shape)
        return normalised, noises, jax.random.uniform(when, (len(images), 1, 1, 1))

    def _estimated(self, params: PyTree, extra: PyTree) -> PyTree:
        """BatchNorm statistics of these weights, on noisy training images."""
        images = _spread_over(self.arrays, ESTIMATION)
        return self._estimate(params, extra, self._drawn(images, jax.random.key(KEYS + 1)))

    def _statistics(self, params: PyTree, extra: PyTree, batch: tuple[Array, ...]) -> PyTree:
        images, noises, times = batch
        noise, signal = rates(times)
        module = nnx.merge(self._estimating, params, extra)
        module(signal * images + noise * noises, noise**2)
        return nnx.to_pure_dict(nnx.state(module, nnx.Param, ...)[1])

    def _told(
        self, params: PyTree, extra: PyTree, noisy: Array, noise: Array, signal: Array
    ) -> tuple[Array, Array]:
        """``(noises, images)`` in noisy images, in evaluation mode."""
        noises = nnx.merge(self._evaluating, params, extra)(noisy, noise**2)
        return noises, (noisy - noise * noises) / signal

    def _error(self, params: PyTree, extra: PyTree, batch: tuple[Array, ...]) -> Float[Array, "2"]:
        images, noises, times = batch
        noise, signal = rates(times)
        told = self._told(params, extra, signal * images + noise * noises, noise, signal)
        pairs = zip((noises, images), told, strict=True)
        return jnp.stack([jnp.mean(jnp.abs(true - own)) for true, own in pairs])

    def _samples(
        self, params: PyTree, extra: PyTree, number: int, steps: int, key: jax.Array
    ) -> Float[Array, "N height width C"]:
        """New images, numbers in [0, 1]; their noises follow from the key."""
        noise = jax.random.normal(key, (number, *self._shape))
        made = [
            sample(
                lambda *given: self._tell(params, extra, *given),
                noise[start : start + AT_ONCE],
                steps,
            )
            for start in range(0, number, AT_ONCE)
        ]
        return jnp.clip(self._mean + self._spread * jnp.concatenate(made), 0, 1)

    def _seen(self, images: Float[Array, "N height width C"]) -> Float[Array, "N D"]:
        """The features of images."""
        parts = range(0, len(images), AT_ONCE)
        return jnp.concatenate([self._features(images[at : at + AT_ONCE]) for at in parts])


def _named(widths: Sequence[int], depth: int) -> str:
    parts = ["ddim"]
    if tuple(widths) != WIDTHS:
        parts.append(f"w{'x'.join(map(str, widths))}")
    if depth != DEPTH:
        parts.append(f"d{depth}")
    return "_".join(parts)


def _pooled(images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The first 80 % of every split for training, the others for validation."""
    cuts = {split: round(SHARE * len(each)) for split, each in images.items()}
    return {
        "train": np.concatenate([each[: cuts[split]] for split, each in images.items()]),
        "validation": np.concatenate([each[cuts[split] :] for split, each in images.items()]),
    }


def _padded(images: np.ndarray, factor: int) -> np.ndarray:
    """Images whose sides are multiples of a factor, with zeros around, as few as possible."""
    lacking = [-side % factor for side in images.shape[1:3]]
    if not any(lacking):
        return images
    around = [(more // 2, more - more // 2) for more in lacking]
    return np.pad(images, [(0, 0), *around, (0, 0)])


def _spread_over(images: Any, number: int) -> Any:
    """So many images, evenly over all of them; all where there are fewer."""
    return images[np.unique(np.linspace(0, len(images) - 1, number).astype(int))]


def _as_float(images: Array) -> Array:
    """Images as float32 in [0, 1], also where they are kept as uint8."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images


def _bytes(images: np.ndarray) -> np.ndarray:
    return images if images.dtype == np.uint8 else np.round(255 * images).astype(np.uint8)


def _checked(widths: Any, depth: Any, judged: Any, repeats: Any, pooled: Any) -> tuple[int, ...]:
    rule = "must be a list of two sizes or more, such as [8,16,24,32]"
    listed = isinstance(widths, Sequence) and not isinstance(widths, str) and len(widths) > 1
    if not listed:
        raise UserError(f"task.widths={widths!r}: {rule}")
    whole("task.depth", depth, "blocks")
    whole("task.repeats", repeats, "readings of each image")
    if whole("task.judged", judged, "images") < 2:
        raise UserError(f"task.judged={judged}: must be 2 images or more, such as 256")
    if not isinstance(pooled, bool):
        raise UserError(f"task.pooled={pooled!r}: must be true or false")
    return tuple(whole("task.widths", width, "channels") for width in widths)
