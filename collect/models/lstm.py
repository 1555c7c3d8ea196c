"""LSTM that reads an image row by row: MNIST₄ of Introspection (Sinha et al., ICLR 2017).

It has 128 units: 81,674 parameters on 28×28×1 images with 10 classes, 71,434 on 8×8×1.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import scaled


class LSTM(nnx.Module):
    """One LSTM layer over the rows; FC from its last state."""

    min_size = 1

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, rngs: nnx.Rngs
    ):
        _, breadth, channels = image_shape
        self.units = scaled(128, width)
        self.cell = nnx.OptimizedLSTMCell(breadth * channels, self.units, rngs=rngs)
        self.head = nnx.Linear(self.units, classes, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        rows = x.reshape(*x.shape[:2], -1)
        carry = (jnp.zeros((x.shape[0], self.units)), jnp.zeros((x.shape[0], self.units)))
        for i in range(rows.shape[1]):
            carry, _ = self.cell(carry, rows[:, i])
        return self.head(carry[1])
