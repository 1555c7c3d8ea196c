"""The small CNN of WNN's Table 4 (Jang et al., ICML 2023).

It has 24,186 parameters on 32×32×3 images with 10 classes. Departure: kernels begin as Flax's do,
from LeCun's normal distribution; :mod:`collect.models.vanilla_cnn_glorot` begins as published.
"""

from functools import partial
from itertools import pairwise

import jax
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import conv, max_pool, scaled


class VanillaCNN(nnx.Module):
    """Convolutions 8-16-32-32, 3×3, ReLU and 2×2 max-pooling after each; FC 64; FC classes."""

    min_size = 16
    kernel_init = staticmethod(nnx.initializers.lecun_normal())

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, rngs: nnx.Rngs
    ):
        height, breadth, channels = image_shape
        sizes = [channels, *(scaled(n, width) for n in (8, 16, 32, 32))]
        self.convs = nnx.List(
            [
                conv(i, o, (3, 3), kernel_init=self.kernel_init, rngs=rngs)
                for i, o in pairwise(sizes)
            ]
        )
        dense = partial(nnx.Linear, kernel_init=self.kernel_init, rngs=rngs)
        self.fc = dense(height // 16 * (breadth // 16) * sizes[-1], scaled(64, width))
        self.head = dense(scaled(64, width), classes)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        for layer in self.convs:
            x = max_pool(jax.nn.relu(layer(x)))  # 32 → 16 → 8 → 4 → 2
        x = x.reshape(x.shape[0], -1)
        return self.head(jax.nn.relu(self.fc(x)))
