"""Multi-layer perceptron.

With two hidden layers of 256 it has 269,322 parameters on 28×28×1 images with 10 classes, and
85,002 on 8×8×1.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import scaled


class MLP(nnx.Module):
    """Flatten, then fully connected layers with ReLU."""

    min_size = 1
    drawn: ClassVar[Mapping[str, Any]] = {}
    """The initializers of its layers; empty: Flax's own."""

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, rngs: nnx.Rngs
    ):
        height, breadth, channels = image_shape
        hidden = scaled(256, width)
        self.fc1 = nnx.Linear(height * breadth * channels, hidden, rngs=rngs, **self.drawn)
        self.fc2 = nnx.Linear(hidden, hidden, rngs=rngs, **self.drawn)
        self.head = nnx.Linear(hidden, classes, rngs=rngs, **self.drawn)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        x = x.reshape(x.shape[0], -1)
        x = jax.nn.relu(self.fc1(x))
        x = jax.nn.relu(self.fc2(x))
        return self.head(x)
