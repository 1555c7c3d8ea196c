"""The CNN of CIFAR_1 of Introspection (Sinha et al., ICLR 2017).

It has 1,068,554 parameters on images with 3 channels and 10 classes. It sees the central 24×24
pixels of an image, which give the paper's 2,304 inputs of the first fully connected layer; behind
``augment=crop_flip`` these are the random crops of TensorFlow's CIFAR-10 tutorial, whose sizes,
rate and decay these are. Kernels begin normal: deviation 1e-4 of convolutions, 0.04 of hidden
fully connected layers, 1/192 of the last one; biases at 0. Departures from the tutorial: as in the
paper BatchNorm stands in the place of local response normalisation; there is no weight decay, and
brightness and contrast are not changed.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import conv, max_pool_3, scaled

SEEN = 24
"""Pixels of an image that are seen, in each direction."""


class IntrospectionCIFAR1(nnx.Module):
    """Convolutions 64-64, 5×5, ReLU, 3×3 max-pooling and BatchNorm after each; FC 384; 192; FC."""

    min_size = SEEN

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, rngs: nnx.Rngs
    ):
        channels, f1, f2 = (scaled(n, width) for n in (64, 384, 192))
        tiny, small = nnx.initializers.normal(1e-4), nnx.initializers.normal(0.04)
        last = nnx.initializers.normal(1 / 192)
        self.conv1 = conv(image_shape[-1], channels, (5, 5), kernel_init=tiny, rngs=rngs)
        self.bn1 = nnx.BatchNorm(channels, momentum=0.9, rngs=rngs)
        self.conv2 = conv(channels, channels, (5, 5), kernel_init=tiny, rngs=rngs)
        self.bn2 = nnx.BatchNorm(channels, momentum=0.9, rngs=rngs)
        self.fc1 = nnx.Linear((SEEN // 4) ** 2 * channels, f1, kernel_init=small, rngs=rngs)
        self.fc2 = nnx.Linear(f1, f2, kernel_init=small, rngs=rngs)
        self.head = nnx.Linear(f2, classes, kernel_init=last, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        top, left = ((size - SEEN) // 2 for size in x.shape[1:3])
        x = x[:, top : top + SEEN, left : left + SEEN]
        x = self.bn1(max_pool_3(jax.nn.relu(self.conv1(x))))  # 24 → 12
        x = self.bn2(max_pool_3(jax.nn.relu(self.conv2(x))))  # 12 → 6
        x = jnp.reshape(x, (x.shape[0], -1))
        x = jax.nn.relu(self.fc1(x))
        x = jax.nn.relu(self.fc2(x))
        return self.head(x)
