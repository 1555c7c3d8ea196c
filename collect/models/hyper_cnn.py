"""The CNN of WNN's Table 4 with generated kernels: its row "HyperNetworks".

The paper (Jang et al., ICML 2023) names no sizes for that row, so these are ours: units of 8×8
channels from embeddings of 26. Every convolution but the first has a generated kernel. It has
17,446 parameters on 32×32×3 images with 10 classes; the plain CNN has 24,186.
"""

from itertools import pairwise

import jax
from flax import nnx
from jaxtyping import Array, Float

from collect.models.hypernetwork import Generated, Hypernetwork
from collect.models.layers import conv, max_pool, scaled


class HyperCNN(nnx.Module):
    """As :class:`collect.models.vanilla_cnn.VanillaCNN`: convolutions 8-16-32-32, FC 64."""

    min_size = 16

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, rngs: nnx.Rngs
    ):
        height, breadth, channels = image_shape
        sizes = [scaled(n, width) for n in (8, 16, 32, 32)]
        self.stem = conv(channels, sizes[0], (3, 3), padding="SAME", rngs=rngs)
        self.kernels = Hypernetwork(
            list(pairwise(sizes)), unit=sizes[0], size=scaled(26, width), rngs=rngs
        )
        self.convs = nnx.List([Generated(size, use_bias=True) for size in sizes[1:]])
        self.fc = nnx.Linear(
            height // 16 * (breadth // 16) * sizes[-1], scaled(64, width), rngs=rngs
        )
        self.head = nnx.Linear(scaled(64, width), classes, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        x = max_pool(jax.nn.relu(self.stem(x)))
        for layer, kernel in zip(self.convs, self.kernels(), strict=True):
            x = max_pool(jax.nn.relu(layer(kernel, x)))
        x = x.reshape(x.shape[0], -1)
        return self.head(jax.nn.relu(self.fc(x)))
