"""Pose: OpenPose tells where people's joints and limbs are.

Network, loss, rates and data are those of the public Keras port of OpenPose
(github.com/michalfaber/keras_Realtime_Multi-Person_Pose_Estimation, ``training/train_pose.py``):
half of the sum of squares of all cells, maps and stages, the mean over a batch, plus 5e-4 times the
squares of all kernels. As there, the mask of people who do not count is on what the network tells,
and not on what is true. Departures:

- Held-out images are seen straight, centred on the largest person; there, validation is augmented.
- Without a file of the front's weights all kernels start at LeCun's deviation, in place of 0.01.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

import nowcast
from collect.data import coco, crops, figures, text
from collect.data.coco import Example
from collect.models import openpose
from collect.models.openpose import HEATS, OpenPose
from collect.models.start import Start
from collect.tasks.data_keys import NOT_TAKEN, refuse
from collect.tasks.pose_maps import STRIDE, affinity_fields, heat_maps
from collect.tasks.protocol import LOSS, Metric, rows
from nowcast.paths import expanded
from nowcast.types import PyTree, UserError, real, whole

DECAY = 5e-4
"""The weight of the squares of kernels."""
AT_ONCE = 16
"""Images that are evaluated at once."""
AHEAD = 2
"""Steps that are read ahead."""
SHOWN = 6
"""Images in the picture."""
WIDTH, STAGES, SIDE = 0.125, 3, 96
"""The default sizes."""

Batch = tuple[Array, Array, Array]
"""Images, masks and joints, as :func:`collect.data.crops.crop` gives them."""


class Pose:
    """A :class:`collect.tasks.Task`: heat maps of joints and part affinity fields of limbs.

    Images are read and augmented from their files as a run goes on. Metrics:

    - ``loss``: the validation loss, the penalty of kernels included, as Keras reports it;
    - ``map_loss``: without the penalty;
    - ``last_loss``: the part of the last stage alone.

    Args:
        examples: The training and validation images with their people.
        name: The name of the data.
        batch_size: Images a step.
        width: 0.5 makes the network narrower; 1: the published width.
        stages: Stages of the network.
        side: Pixels of a crop's side, a multiple of 8.
        judged: Images of an evaluation at most, spread evenly over all.
        front: The HDF5 file of VGG19's weights that Keras keeps, for width 1; None: all weights
            start at random.

    Raises:
        UserError: A value is out of range, or a file cannot be read.
    """

    metrics: Sequence[Metric] = (LOSS, Metric("map_loss"), Metric("last_loss"))
    splits: Sequence[str] = ("validation",)
    arrays: PyTree = ()

    def __init__(
        self,
        examples: dict[str, list[Example]],
        name: str,
        *,
        batch_size: int,
        width: float = WIDTH,
        stages: int = STAGES,
        side: int = SIDE,
        judged: int = 128,
        front: str | None = None,
    ):
        _check(width, stages, side, judged, front)
        count = len(examples["train"])
        if not 1 <= batch_size <= count:
            raise UserError(
                f"batch_size={batch_size}: must be 1 to {count}, the number of training images"
            )
        self.name = f"{_named(width, stages, side)}-{name}"
        self.batch_size, self.steps_per_epoch = batch_size, count // batch_size
        self._examples, self._side, self._key = examples, side, f"data.name={name}"
        self._people = max(len(each.joints) for own in examples.values() for each in own)
        key = f"task.front={front!r}"
        self._front = None if front is None else openpose.read_front(_file(key, front), key)
        deviation = None if front is None else openpose.DEVIATION
        self._start = Start(
            lambda rngs: OpenPose(width=width, stages=stages, deviation=deviation, rngs=rngs)
        )
        module = self._start.module
        self.labels = nowcast.label_ops(module)
        self._definition = nnx.graphdef(module)
        self.rates = openpose.rates(nnx.to_pure_dict(nnx.state(module, nnx.Param)))
        held = examples["validation"]
        places = np.unique(np.linspace(0, len(held) - 1, judged).astype(int))
        self._judged = [held[place] for place in places]
        self._kept: list[tuple[np.ndarray, ...]] = []
        self._sums, self._tell = jax.jit(self._summed), jax.jit(self._told)

    @classmethod
    def configured(cls, data: Any, batch_size: int, **own: Any) -> "Pose":
        """The task that a configuration's keys name, on its ``data=`` with its ``batch_size=``."""
        refuse(data, NOT_TAKEN, "classes", "standardize", "center", "size", "validation")
        if text.is_path(data.name):
            examples, name = coco.read(data.name), "coco"
        elif data.name == figures.NAME:
            examples, name = coco.read(str(figures.folder()), "data.name=figures"), figures.NAME
        else:
            raise UserError(
                f"data.name={data.name}: has no poses; give figures, or the path of a folder with"
                f" COCO's keypoints: {coco.WHERE}"
            )
        size, count = data.train_size, len(examples["train"])
        if size is not None and not 1 <= size <= count:
            raise UserError(f"data.train_size={size}: {name} has 1 to {count} training images")
        examples["train"] = examples["train"][:size]
        return cls(examples, name, batch_size=batch_size, **own)

    def init(self, seed: int) -> tuple[PyTree, PyTree]:
        """``(params, nothing)``: the network carries nothing else."""
        params, _ = self._start(seed)
        for block, layers in enumerate(self._front or ()):
            for place, layer in enumerate(layers):
                params["front"][block]["convs"][place] = jax.tree.map(jnp.asarray, layer)
        return params, {}

    def order(self, seed: int, epoch: int) -> Int[np.ndarray, "steps B 2"]:
        """``(image, epoch)`` of each step's examples; they depend on seed and epoch only.

        The epoch is there because an image is seen otherwise in each.
        """
        shuffled = np.random.default_rng((seed, epoch)).permutation(len(self._examples["train"]))
        used = shuffled[: self.steps_per_epoch * self.batch_size]
        pairs = np.stack([used, np.full_like(used, epoch)], axis=-1)
        return pairs.reshape(self.steps_per_epoch, -1, 2).astype(np.int32)

    def stream(self, seed: int, steps: range) -> Iterator[tuple[np.ndarray, ...]]:
        """Images, masks and joints of each step, read and augmented ahead."""
        import grain

        if not steps:
            return iter(())
        row, examples = rows(self, seed), self._examples["train"]

        def read(step: int) -> tuple[np.ndarray, ...]:
            views = [
                (examples[place], crops.drawn(np.random.default_rng((seed, epoch, place)), side))
                for place, epoch in row(step).tolist()
            ]
            return self._read(views)

        side = self._side
        reads = grain.MapDataset.range(steps.start, steps.stop).map(read)
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=AHEAD)
        return iter(reads.to_iter_dataset(options))

    def batch(self, arrays: Any, indices: Any, key: Any = None) -> Batch:
        """What :meth:`stream` gave: images as numbers from −0.5 to 0.5, masks and joints.

        Channels are blue, green and red, as VGG19's weights and the port take them.
        """
        images, shown, joints = indices
        normalised = jnp.asarray(images[..., ::-1], jnp.float32) / 256 - 0.5
        return normalised, jnp.asarray(shown), jnp.asarray(joints)

    def loss(
        self, params: PyTree, extra: PyTree, batch: Batch, key: Any = None
    ) -> tuple[Float[Array, ""], PyTree]:
        """The mean of half of the sum of squares, plus the penalty of kernels."""
        errors = jnp.sum(self._squares(params, batch), axis=0)
        return jnp.mean(errors) / 2 + _penalty(params), extra

    def evaluate(self, params: PyTree, extra: PyTree, split: str) -> dict[str, float]:
        """Every metric, of held-out images that are seen straight."""
        if not self._kept:
            views = [(each, crops.STRAIGHT) for each in self._judged]
            parts = range(0, len(views), AT_ONCE)
            self._kept = [self._read(views[start : start + AT_ONCE]) for start in parts]
        sums: Any = 0.0
        for part in self._kept:
            lacking = min(AT_ONCE, len(self._judged)) - len(part[0])  # of the last part
            more = [np.concatenate([each, each[:1].repeat(lacking, 0)]) for each in part]
            counts = np.arange(len(more[0])) < len(part[0])
            sums = sums + np.asarray(self._sums(params, tuple(more), counts))
        stages = sums / len(self._judged) / 2
        maps = float(stages.sum())
        return {
            "loss": maps + float(_penalty(params)),
            "map_loss": maps,
            "last_loss": float(stages[-1]),
        }

    def picture(self, params: PyTree, extra: PyTree) -> Float[np.ndarray, "height width 3"]:
        """Held-out images, below each its true heat maps, and below these what the network tells.

        Each joint has its own colour.
        """
        views = [(each, crops.STRAIGHT) for each in self._judged[:SHOWN]]
        images, shown, joints = self._read(views)
        told = self._tell(params, self.batch((), (images, shown, joints)))
        cells = self._side // STRIDE
        seen = images.astype(np.float32) / 255
        columns = [seen]
        for maps in (heat_maps(jnp.asarray(joints), cells, cells), told):
            columns.append(_shown(seen, np.asarray(maps)[..., : HEATS - 1]))
        return np.concatenate([np.concatenate(list(row), axis=1) for row in columns])

    def _read(self, views: Sequence[tuple[Example, crops.View]]) -> tuple[np.ndarray, ...]:
        """Images, masks and joints of some views, one after another."""
        each = [
            crops.crop(example, self._side, view, self._people, self._key)
            for example, view in views
        ]
        return tuple(np.stack(parts) for parts in zip(*each, strict=True))

    def _squares(self, params: PyTree, batch: Batch) -> Float[Array, "stages B"]:
        """The sum of squares of each stage and image."""
        images, shown, joints = batch
        stages = nnx.merge(self._definition, params)(images)
        height, width = stages[0].shape[1:3]
        true = jnp.concatenate(
            [affinity_fields(joints, height, width), heat_maps(joints, height, width)], axis=-1
        )
        mask = shown[..., None]
        return jnp.stack([jnp.sum((told * mask - true) ** 2, axis=(1, 2, 3)) for told in stages])

    def _summed(
        self, params: PyTree, part: tuple[Array, ...], counts: Array
    ) -> Float[Array, "stages"]:
        squares = self._squares(params, self.batch((), part))
        return jnp.sum(jnp.where(counts, squares, 0), axis=1)

    def _told(self, params: PyTree, batch: Batch) -> Float[Array, "B height width 19"]:
        """The heat maps of the last stage."""
        return nnx.merge(self._definition, params)(batch[0])[-1][..., -HEATS:]


def _penalty(params: PyTree) -> Float[Array, ""]:
    """The weight of all kernels' squares."""
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    return DECAY * sum((jnp.sum(kernel**2) for kernel in kernels), jnp.zeros(()))


def _shown(
    images: Float[np.ndarray, "N side side 3"], maps: Float[np.ndarray, "N cells cells K"]
) -> Float[np.ndarray, "N side side 3"]:
    """Dark images with the joints' maps over them, each in its own colour."""
    import colorsys

    count = maps.shape[-1]
    colours = np.array([colorsys.hsv_to_rgb(number / count, 1, 1) for number in range(count)])
    strong = np.clip(maps, 0, 1)
    lit = np.max(strong[..., None] * colours, axis=-2)
    for axis in (1, 2):
        lit = np.repeat(lit, STRIDE, axis=axis)
    return np.clip(0.4 * images + lit, 0, 1)


def _file(key: str, front: str) -> Any:
    file = expanded(front)
    if not file.is_file():
        raise UserError(f"{key}: is not a file; give {openpose.WHERE}")
    return file


def _named(width: float, stages: int, side: int) -> str:
    sizes = {"w": (width, WIDTH), "t": (stages, STAGES), "s": (side, SIDE)}
    other = [f"{letter}{own:g}" for letter, (own, usual) in sizes.items() if own != usual]
    return "_".join(["openpose", *other])


def _check(width: Any, stages: Any, side: Any, judged: Any, front: Any) -> None:
    rule = "must be above 0 and at most 4; 1: as published"
    if not 0 < real("task.width", width, rule) <= 4:
        raise UserError(f"task.width={width}: {rule}")
    whole("task.stages", stages, "stages")
    whole("task.judged", judged, "images")
    if whole("task.side", side, "pixels") % STRIDE or side < 2 * STRIDE:
        raise UserError(
            f"task.side={side}: must be a multiple of {STRIDE}, 16 or more, such as 368"
        )
    if front is not None and width != 1:
        raise UserError(
            f"task.front={front!r}: has weights for task.width=1, and task.width is {width}; leave"
            " one of them out"
        )
