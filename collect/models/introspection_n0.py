"""The MNIST network N₀ on whose weights Introspection was trained (Sinha et al., ICLR 2017).

551,818 parameters on 28×28×1 images with 10 classes, 552,218 on 32×32×3. Departure from the paper:
no dropout before the last layer, so that a run is determined by its first weights and its data
order alone.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import conv, max_pool, scaled


class IntrospectionN0(nnx.Module):
    """Convolutions 8-16-32, 5×5, ReLU and 2×2 max-pooling after each; FC 1024; FC classes."""

    min_size = 16

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, rngs: nnx.Rngs
    ):
        height, breadth, channels = image_shape
        c1, c2, c3, hidden = (scaled(n, width) for n in (8, 16, 32, 1024))
        self.conv1 = conv(channels, c1, (5, 5), padding=2, rngs=rngs)
        self.conv2 = conv(c1, c2, (5, 5), padding=2, rngs=rngs)
        self.conv3 = conv(c2, c3, (5, 5), padding=2, rngs=rngs)
        # 512 inputs for 28×28 images, and 1024 outputs.
        self.fc = nnx.Linear(-(-height // 8) * -(-breadth // 8) * c3, hidden, rngs=rngs)
        self.head = nnx.Linear(hidden, classes, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        for layer in (self.conv1, self.conv2, self.conv3):
            x = jax.nn.relu(layer(x))
            odd = ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0))
            x = max_pool(jnp.pad(x, odd))  # 28 → 14 → 7 → 4: zeros change no maximum after ReLU
        x = x.reshape(x.shape[0], -1)
        return self.head(jax.nn.relu(self.fc(x)))
