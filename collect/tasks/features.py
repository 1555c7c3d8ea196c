"""Features of images, in which samples are compared with real images.

Two networks give them: Keras's InceptionV3, whose weights a user names, and a LeNet that this
project trained on MNIST's training images and ships (``python -m scripts.train_features``).
"""

from collections.abc import Callable
from functools import lru_cache
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from collect.models import inception_v3
from collect.models.lenet import LeNet
from nowcast.paths import expanded
from nowcast.types import PyTree, UserError

MNIST = "mnist"
"""The name of the shipped network."""
SHIPPED = "lenet_mnist.npz"
SIDE = 32
"""Pixels of the images that the shipped network takes."""

Features = Callable[[Float[Array, "B height width C"]], Float[Array, "B D"]]
"""A function from images, numbers in [0, 1], to their features."""


def load(name: str, image_shape: tuple[int, int, int]) -> Features:
    """The function that gives the features of images.

    Args:
        name: ``mnist``, the 84 features before the last layer of the shipped LeNet, over their root
            mean square on MNIST's training images; or the path of the file of InceptionV3's weights
            without its last layer that Keras keeps
            (``inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5``): the means of its 2,048
            last channels, of images resized to 75×75 (bilinear), as in Keras's example.
        image_shape: Height, width and channels.

    Raises:
        UserError: The network does not take such images, or the file cannot be read.

    Examples:
        >>> import jax.numpy as jnp
        >>> print(load("mnist", (32, 32, 1))(jnp.zeros((2, 32, 32, 1))).shape)
        (2, 84)
    """
    if name == MNIST:
        if image_shape != (SIDE, SIDE, 1):
            height, width, channels = image_shape
            raise UserError(
                f"task.features={name}: takes grey images of {SIDE}×{SIDE} pixels, and these are"
                f" {height}×{width}×{channels}; give data=mnist, or the file of InceptionV3's"
                f" weights: {inception_v3.WHERE}"
            )
        return _shipped
    file = expanded(name)
    if not file.is_file():
        raise UserError(
            f"task.features={name!r}: is not a file; give mnist, or the file of InceptionV3's"
            f" weights: {inception_v3.WHERE}"
        )
    if image_shape[-1] != 3:
        raise UserError(
            f"task.features={name!r}: InceptionV3 takes images of three channels, and these have"
            f" {image_shape[-1]}; give task.features=mnist with data=mnist"
        )
    params = inception_v3.read(file, f"task.features={name!r}")
    return lambda images: inception_v3.pooled(params, images)


@lru_cache(maxsize=1)
def _weights() -> tuple[PyTree, float]:
    """The shipped weights as a pure dict, and what features are divided by."""
    with resources.files("collect").joinpath("pretrained", SHIPPED).open("rb") as file:
        held = dict(np.load(file))
    scale = float(held.pop("scale"))
    params: PyTree = {}
    for name, values in held.items():
        layer, kind = name.split("/")
        params.setdefault(layer, {})[kind] = values.astype(np.float32)
    return params, scale


@jax.jit
def _shipped(images: Float[Array, "B 32 32 1"]) -> Float[Array, "B 84"]:
    params, scale = _weights()
    net = nnx.eval_shape(lambda: LeNet((SIDE, SIDE, 1), 10, rngs=nnx.Rngs(0)))
    net = nnx.merge(nnx.graphdef(net), jax.tree.map(jnp.asarray, params))
    return net.features(images) / scale
