"""The CNN of MNIST_1 of Introspection (Sinha et al., ICLR 2017).

It has 3,274,634 parameters on 28×28×1 images with 10 classes. Kernels begin as a normal
distribution of deviation 0.01, cut at two deviations, and biases at 0. The paper says that the
first convolution has 8 outputs, and gives the second one 32 inputs: here it has 32, which the
inputs of the second and of the fully connected layer need. Departure from the paper: no dropout
before the last layer, so that a run is determined by its first weights and its data order alone.
"""

import jax
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import conv, max_pool, scaled

SMALL = nnx.initializers.truncated_normal(0.01)


class IntrospectionMNIST1(nnx.Module):
    """Convolutions 32-64, 5×5, ReLU and 2×2 max-pooling after each; FC 1024; FC classes."""

    min_size = 16

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, rngs: nnx.Rngs
    ):
        height, breadth, channels = image_shape
        c1, c2, hidden = (scaled(n, width) for n in (32, 64, 1024))
        self.conv1 = conv(channels, c1, (5, 5), padding=2, kernel_init=SMALL, rngs=rngs)
        self.conv2 = conv(c1, c2, (5, 5), padding=2, kernel_init=SMALL, rngs=rngs)
        flat = height // 4 * (breadth // 4) * c2
        self.fc = nnx.Linear(flat, hidden, kernel_init=SMALL, rngs=rngs)
        self.head = nnx.Linear(hidden, classes, kernel_init=SMALL, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        for layer in (self.conv1, self.conv2):
            x = max_pool(jax.nn.relu(layer(x)))  # 28 → 14 → 7
        x = x.reshape(x.shape[0], -1)
        return self.head(jax.nn.relu(self.fc(x)))
