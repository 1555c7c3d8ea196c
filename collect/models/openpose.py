"""OpenPose (Cao et al., CVPR 2017, arXiv:1611.08050), in the layers of its public Keras port.

The port is github.com/michalfaber/keras_Realtime_Multi-Person_Pose_Estimation, ``cmu_model.py``:
the first ten convolutions of VGG19, two that reduce their 512 channels to 128, then stages. A stage
has two branches, one for part affinity fields and one for heat maps: three 3×3 convolutions and two
1×1 in the first stage, five 7×7 and two 1×1 in the others, which also see what the stage before
gave. 52,311,446 parameters with six stages. Departure: ``width`` scales every layer but the last of
a branch.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from collect.models.convolution import convolve
from collect.models.keras_file import tensors
from collect.models.layers import max_pool, scaled
from nowcast.types import PyTree, UserError

FIELDS, HEATS = 38, 19
"""Maps of a stage: two for each of 19 limbs; one for each of 18 joints, and one for the rest."""
VGG = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512))
"""Channels of VGG19's convolutions, by block; each block but the last is max-pooled."""
REDUCTION = (256, 128)
FIRST = ((3, 128), (3, 128), (3, 128), (1, 512))
LATER = ((7, 128), (7, 128), (7, 128), (7, 128), (7, 128), (1, 128))
"""Kernels and channels of a branch, without its last 1×1 convolution."""
DEVIATION = 0.01
"""Of the first weights, where the front comes from a file."""
FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
WHERE = f"{FILE}, from storage.googleapis.com/tensorflow/keras-applications/vgg19"


class Branch(nnx.Module):
    """Convolutions with ReLU between them."""

    def __init__(
        self, inputs: int, layers: Sequence[tuple[int, int]], *, rngs: nnx.Rngs, **options: Any
    ):
        convs = []
        for kernel, outputs in layers:
            convs.append(
                nnx.Conv(
                    inputs,
                    outputs,
                    (kernel, kernel),
                    conv_general_dilated=convolve,
                    rngs=rngs,
                    **options,
                )
            )
            inputs = outputs
        self.convs = nnx.List(convs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B height width D"]:
        """Maps of the same size."""
        for conv in self.convs[:-1]:
            x = jax.nn.relu(conv(x))
        return self.convs[-1](x)


class Stage(nnx.Module):
    """Two branches that see the same."""

    def __init__(self, inputs: int, layers: Sequence[tuple[int, int]], **options: Any):
        self.fields = Branch(inputs, [*layers, (1, FIELDS)], **options)
        self.heats = Branch(inputs, [*layers, (1, HEATS)], **options)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B height width 57"]:
        """Part affinity fields, then heat maps."""
        return jnp.concatenate([self.fields(x), self.heats(x)], axis=-1)


class OpenPose(nnx.Module):
    """The front and its stages.

    Args:
        width: 0.5 makes every layer narrower; 1: the published width.
        stages: How many stages there are: 6 in the paper.
        deviation: The standard deviation of the first kernels: 0.01 in the port; None: LeCun's,
            one over the root of a kernel's inputs, which serves a network without a trained front.
        rngs: Draws the initial weights.

    Examples:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> net = OpenPose(width=0.05, stages=2, rngs=nnx.Rngs(0))
        >>> print([maps.shape for maps in net(jnp.zeros((1, 32, 48, 3)))])
        [(1, 4, 6, 57), (1, 4, 6, 57)]
    """

    def __init__(
        self, *, width: float, stages: int, deviation: float | None = None, rngs: nnx.Rngs
    ):
        options: dict[str, Any] = {"rngs": rngs}
        if deviation is not None:
            options["kernel_init"] = nnx.initializers.normal(deviation)
        blocks, inputs = [], 3
        for channels in VGG:
            layers = [(3, scaled(outputs, width)) for outputs in channels]
            blocks.append(Branch(inputs, layers, **options))
            inputs = layers[-1][1]
        self.front = nnx.List(blocks)
        layers = [(3, scaled(outputs, width)) for outputs in REDUCTION]
        self.reduction = Branch(inputs, layers, **options)
        seen = layers[-1][1]
        self.stages = nnx.List(
            [
                Stage(
                    seen + FIELDS + HEATS if number else seen,
                    [(k, scaled(outputs, width)) for k, outputs in (LATER if number else FIRST)],
                    **options,
                )
                for number in range(stages)
            ]
        )

    def __call__(
        self, x: Float[Array, "B height width 3"]
    ) -> list[Float[Array, "B height8 width8 57"]]:
        """Fields and heat maps of each stage, at an eighth of the image's size."""
        for number, block in enumerate(self.front):
            x = jax.nn.relu(block(max_pool(x) if number else x))
        seen = jax.nn.relu(self.reduction(x))
        found = [self.stages[0](seen)]
        for stage in self.stages[1:]:
            found.append(stage(jnp.concatenate([found[-1], seen], axis=-1)))
        return found


def rates(params: PyTree) -> PyTree:
    """The factors of the port's rates: 1, and 4 after the first stage; of biases, twice these."""

    def factor(path: Any, leaf: Any) -> float:
        names: list[Any] = [getattr(part, "key", None) for part in path]
        later = names[0] == "stages" and names[1] > 0
        return (4.0 if later else 1.0) * (2.0 if names[-1] == "bias" else 1.0)

    return jax.tree_util.tree_map_with_path(factor, params)


def read_front(file: Path, key: str) -> list[list[dict[str, np.ndarray]]]:
    """Kernels and biases of VGG19's first ten convolutions, by block.

    Args:
        file: The HDF5 file of weights that Keras keeps.
        key: What named it, for messages.

    Raises:
        UserError: The file cannot be read, or is of another network: the first tensor that differs
            is named.
    """
    found: dict[tuple[str, int], np.ndarray] = {}
    for path, held in tensors(file, key, WHERE).items():
        if said := re.search(r"(block\d_conv\d)", path):
            found[said[1], held.ndim] = held.astype(np.float32)
    blocks, inputs = [], 3
    for block, channels in enumerate(VGG, 1):
        layers = []
        for place, outputs in enumerate(channels, 1):
            name, layer = f"block{block}_conv{place}", {}
            for kind, shape in (("kernel", (3, 3, inputs, outputs)), ("bias", (outputs,))):
                tensor = found.get((name, len(shape)))
                if tensor is None or tensor.shape != shape:
                    has = "is missing" if tensor is None else f"has the shape {tensor.shape}"
                    raise UserError(
                        f"{key}: {name}/{kind} {has}, and VGG19 has {shape}; give {WHERE}"
                    )
                layer[kind] = tensor
            layers.append(layer)
            inputs = outputs
        blocks.append(layers)
    return blocks
