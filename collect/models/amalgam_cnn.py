"""The CNN on which L2O-Amalgam is meta-trained (Huang et al., ICLR 2022).

It has 18,122 parameters on 28×28×1 images with 10 classes. Kernels begin from Glorot's uniform
distribution, and biases at 0, as in the published code (``conv_train``).
"""

import jax
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import conv, max_pool, scaled

GLOROT = nnx.initializers.glorot_uniform()


class AmalgamCNN(nnx.Module):
    """Convolutions 16, 3×3, and 32, 5×5, without padding, ReLU and max-pooling after each; FC."""

    min_size = 14

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, rngs: nnx.Rngs
    ):
        height, breadth, channels = image_shape
        c1, c2 = scaled(16, width), scaled(32, width)
        self.conv1 = conv(channels, c1, (3, 3), padding="VALID", kernel_init=GLOROT, rngs=rngs)
        self.conv2 = conv(c1, c2, (5, 5), padding="VALID", kernel_init=GLOROT, rngs=rngs)
        flat = ((height - 2) // 2 - 4) // 2 * (((breadth - 2) // 2 - 4) // 2) * c2
        self.head = nnx.Linear(flat, classes, kernel_init=GLOROT, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        x = max_pool(jax.nn.relu(self.conv1(x)))  # 28 → 26 → 13
        x = max_pool(jax.nn.relu(self.conv2(x)))  # 13 → 9 → 4
        return self.head(x.reshape(x.shape[0], -1))
