"""The CNN of MNIST_2 of Introspection (Sinha et al., ICLR 2017): Caffe's LeNet.

It has 431,080 parameters on 28×28×1 images with 10 classes. Kernels begin from Xavier's (Glorot's)
uniform distribution, and biases at 0. As in Caffe's example ``lenet_train_test.prototxt``, whose
sizes and learning rates these are, the only ReLU follows the first fully connected layer.
"""

import jax
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import conv, max_pool, scaled

XAVIER = nnx.initializers.glorot_uniform()


class IntrospectionMNIST2(nnx.Module):
    """Convolutions 20-50, 5×5 without padding, 2×2 max-pooling after each; FC 500; FC classes."""

    min_size = 16

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, rngs: nnx.Rngs
    ):
        height, breadth, channels = image_shape
        c1, c2, hidden = (scaled(n, width) for n in (20, 50, 500))
        self.conv1 = conv(channels, c1, (5, 5), padding="VALID", kernel_init=XAVIER, rngs=rngs)
        self.conv2 = conv(c1, c2, (5, 5), padding="VALID", kernel_init=XAVIER, rngs=rngs)
        flat = ((height - 4) // 2 - 4) // 2 * (((breadth - 4) // 2 - 4) // 2) * c2
        self.fc = nnx.Linear(flat, hidden, kernel_init=XAVIER, rngs=rngs)
        self.head = nnx.Linear(hidden, classes, kernel_init=XAVIER, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        x = max_pool(self.conv1(x))  # 28 → 24 → 12
        x = max_pool(self.conv2(x))  # 12 → 8 → 4
        x = x.reshape(x.shape[0], -1)
        return self.head(jax.nn.relu(self.fc(x)))
