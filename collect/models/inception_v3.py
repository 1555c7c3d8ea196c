"""InceptionV3 without its last layer, from the file of weights that Keras keeps.

The network is by Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR
2016, as ``keras.applications.InceptionV3(include_top=False)`` builds it: 94 convolutions without
bias, each with a BatchNorm without scale and a ReLU. It is used as it is, and never trained.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.keras_file import tensors
from nowcast.types import UserError

FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
WHERE = f"{FILE}, from storage.googleapis.com/tensorflow/keras-applications/inception_v3"
CONVOLUTIONS = 94
SIDE = 75
"""Pixels of the smallest images that the network takes."""
EPSILON = 1e-3
"""Of BatchNorm, Keras's."""
PARTS = {"conv2d": ("kernel",), "batch_normalization": ("beta", "moving_mean", "moving_variance")}


class Layer(NamedTuple):
    """A convolution and its BatchNorm."""

    kernel: Float[Array, "height width C D"]
    beta: Float[Array, "D"]
    moving_mean: Float[Array, "D"]
    moving_variance: Float[Array, "D"]


def read(file: Path, key: str) -> list[Layer]:
    """The layers of a file of weights, in the order in which the network was built.

    Args:
        file: An HDF5 file.
        key: What named it, for messages.

    Raises:
        UserError: The file cannot be read, or is of another network: the first tensor that differs
            is named.
    """
    found: dict[tuple[str, str], dict[int, Any]] = {}
    for path, tensor in tensors(file, key, WHERE).items():
        said = re.search(r"\b(conv2d|batch_normalization)(?:_(\d+))?/(?:.*/)?(\w+)(?::0)?$", path)
        if said:
            found.setdefault((said[1], said[3]), {})[int(said[2] or 0)] = tensor
    columns = []
    for kind, names in PARTS.items():
        for name in names:
            own = found.get((kind, name), {})
            if len(own) != CONVOLUTIONS:
                raise UserError(
                    f"{key}: has {len(own)} tensors {kind}/{name}, and InceptionV3 has"
                    f" {CONVOLUTIONS}; give {WHERE}"
                )
            columns.append([own[number] for number in sorted(own)])
    layers = [Layer(*map(jnp.asarray, each)) for each in zip(*columns, strict=True)]
    _check(layers, key)
    return layers


@jax.jit
def pooled(
    layers: Sequence[Layer], images: Float[Array, "B height width 3"]
) -> Float[Array, "B 2048"]:
    """The mean of each of the last 2,048 channels.

    Args:
        layers: From :func:`read`.
        images: Numbers in [0, 1]; they are resized to 75×75 pixels (bilinear).
    """
    size = (len(images), SIDE, SIDE, 3)
    x = 2 * jax.image.resize(images, size, "bilinear", antialias=False) - 1
    return jnp.mean(_network(_Builder(iter(layers)), x), axis=(1, 2))


class _Builder:
    """Applies the next layer of a list at each call."""

    def __init__(self, layers: Iterator[Layer]):
        self._layers = layers

    def __call__(
        self,
        x: Array,
        filters: int,
        size: tuple[int, int] = (1, 1),
        strides: int = 1,
        padding: str = "SAME",
    ) -> Array:
        layer = next(self._layers)
        expected = (*size, x.shape[-1], filters)
        if layer.kernel.shape != expected:
            raise _Differs(f"kernel {layer.kernel.shape}, and InceptionV3 has {expected}")
        for name, vector in zip(Layer._fields[1:], layer[1:], strict=True):
            if vector.shape != (filters,):
                raise _Differs(f"{name} {vector.shape}, and InceptionV3 has {(filters,)}")
        x = jax.lax.conv_general_dilated(
            x, layer.kernel, (strides, strides), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        scale = jax.lax.rsqrt(layer.moving_variance + EPSILON)
        shift = layer.beta - layer.moving_mean * scale
        return jax.nn.relu(x * scale[None, None, None] + shift[None, None, None])


class _Differs(Exception):
    """A tensor has another shape."""


def _check(layers: Sequence[Layer], key: str) -> None:
    """Refuse weights of another network: trace it, and name the first tensor that differs."""
    count = iter(range(len(layers)))
    current = 0

    def counted() -> Iterator[Layer]:
        nonlocal current
        for layer in layers:
            current = next(count)
            yield layer

    try:
        images = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
        jax.eval_shape(lambda x: _network(_Builder(counted()), x), images)
    except _Differs as error:
        raise UserError(f"{key}: convolution {current + 1} has {error}; give {WHERE}") from None


def _network(conv: _Builder, x: Array) -> Array:
    """The network: stem, eleven blocks of branches; the order is that of Keras's program."""
    x = conv(x, 32, (3, 3), 2, "VALID")
    x = conv(x, 32, (3, 3), 1, "VALID")
    x = _max(conv(x, 64, (3, 3)))
    x = conv(x, 80, (1, 1), 1, "VALID")
    x = _max(conv(x, 192, (3, 3), 1, "VALID"))
    for channels in (32, 64, 64):
        first = conv(x, 64)
        second = conv(conv(x, 48), 64, (5, 5))
        third = conv(conv(conv(x, 64), 96, (3, 3)), 96, (3, 3))
        x = jnp.concatenate([first, second, third, conv(_mean(x), channels)], axis=-1)
    first = conv(x, 384, (3, 3), 2, "VALID")
    second = conv(conv(conv(x, 64), 96, (3, 3)), 96, (3, 3), 2, "VALID")
    x = jnp.concatenate([first, second, _max(x)], axis=-1)
    for inner in (128, 160, 160, 192):
        first = conv(x, 192)
        second = conv(conv(conv(x, inner), inner, (1, 7)), 192, (7, 1))
        third = conv(conv(conv(x, inner), inner, (7, 1)), inner, (1, 7))
        third = conv(conv(third, inner, (7, 1)), 192, (1, 7))
        x = jnp.concatenate([first, second, third, conv(_mean(x), 192)], axis=-1)
    first = conv(conv(x, 192), 320, (3, 3), 2, "VALID")
    second = conv(conv(conv(x, 192), 192, (1, 7)), 192, (7, 1))
    second = conv(second, 192, (3, 3), 2, "VALID")
    x = jnp.concatenate([first, second, _max(x)], axis=-1)
    for _ in range(2):
        first = conv(x, 320)
        second = conv(x, 384)
        parts = [first, conv(second, 384, (1, 3)), conv(second, 384, (3, 1))]
        third = conv(conv(x, 448), 384, (3, 3))
        parts += [conv(third, 384, (1, 3)), conv(third, 384, (3, 1))]
        x = jnp.concatenate([*parts, conv(_mean(x), 192)], axis=-1)
    return x


def _max(x: Array) -> Array:
    return nnx.max_pool(x, (3, 3), (2, 2), "VALID")


def _mean(x: Array) -> Array:
    """3×3 means at stride 1; at an edge, of the pixels that are there."""
    return nnx.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)
