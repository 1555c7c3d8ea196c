"""The CNN of NiNo's image tasks (Knyazev et al., ICLR 2025).

It has 14,666 parameters on images with 3 channels and 10 classes. ``width=1`` is the network of
C10-16, ``width=2`` that of C10-32. Weights begin as in the published code, PyTorch's default:
uniform within ±1/√fan-in, biases too.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import conv, scaled


class NiNoCNN(nnx.Module):
    """Convolutions 16-32-32, 3×3, each with ReLU; mean over the image; FC classes.

    The first convolution has stride 2, and none is padded.
    """

    min_size = 8

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, rngs: nnx.Rngs
    ):
        sizes = [image_shape[-1], *(scaled(n, width) for n in (16, 32, 32))]
        self.convs = nnx.List(
            [
                conv(
                    inputs,
                    outputs,
                    (3, 3),
                    strides=1 if place else 2,
                    padding="SAME" if place else "VALID",
                    rngs=rngs,
                    kernel_init=_uniform(9 * inputs),
                    bias_init=_uniform(9 * inputs),
                )
                for place, (inputs, outputs) in enumerate(pairwise(sizes))
            ]
        )
        start = _uniform(sizes[-1])
        self.head = nnx.Linear(sizes[-1], classes, kernel_init=start, bias_init=start, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        for layer in self.convs:
            x = jax.nn.relu(layer(x))  # 32 → 15
        return self.head(jnp.mean(x, axis=(1, 2)))


def _uniform(inputs: int) -> nnx.Initializer:
    bound = 1 / np.sqrt(inputs)
    return lambda key, shape, dtype=jnp.float32, out_sharding=None: jax.random.uniform(
        key, shape, dtype, -bound, bound
    )
