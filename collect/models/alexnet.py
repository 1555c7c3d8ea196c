"""AlexNet (Krizhevsky et al., NeurIPS 2012), which Introspection (Sinha et al., ICLR 2017) trains.

It has 60,965,224 parameters on 227×227×3 images with 1,000 classes, as Caffe's ``bvlc_alexnet``:
the second, fourth and fifth convolution have two groups, which were once two GPUs. Kernels begin
normal, with a deviation of 0.01; biases begin at 0, or at 1 where the paper says so. Departures:
hidden fully connected layers begin with a deviation of 0.005, as in Caffe; at other widths than 1
all kernels begin from LeCun's normal distribution, since the published deviations are for the
published widths. Weight decay is left to the optimizer.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import conv, dropped, max_pool_3, scaled

POOLED = partial(max_pool_3, pads=(0, 0))
DROPPED = 0.5
"""The share that dropout leaves out, before both hidden fully connected layers."""


class AlexNet(nnx.Module):
    """Convolutions 96, 256, 384, 384, 256; FC 4096, 4096, classes; dropout in training.

    Local response normalisation and max-pooling follow the first two convolutions, max-pooling the
    last one.
    """

    min_size = 67

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, rngs: nnx.Rngs
    ):
        # Even, since two groups share the channels.
        c1, c2, c3, c4, c5 = (2 * scaled(half, width) for half in (48, 128, 192, 192, 128))
        hidden = scaled(4096, width)
        one = nnx.initializers.ones
        lecun, whole = nnx.initializers.lecun_normal(), width == 1
        narrow, wide = (
            nnx.initializers.normal(deviation) if whole else lecun for deviation in (0.01, 0.005)
        )
        made = partial(conv, kernel_init=narrow, rngs=rngs)
        self.conv1 = made(image_shape[-1], c1, (11, 11), strides=4, padding="VALID")
        self.conv2 = made(c1, c2, (5, 5), feature_group_count=2, bias_init=one)
        self.conv3 = made(c2, c3, (3, 3))
        self.conv4 = made(c3, c4, (3, 3), feature_group_count=2, bias_init=one)
        self.conv5 = made(c4, c5, (3, 3), feature_group_count=2, bias_init=one)
        pixels = _left(image_shape[0]) * _left(image_shape[1])
        self.fc1 = nnx.Linear(pixels * c5, hidden, kernel_init=wide, bias_init=one, rngs=rngs)
        self.fc2 = nnx.Linear(hidden, hidden, kernel_init=wide, bias_init=one, rngs=rngs)
        self.head = nnx.Linear(hidden, classes, kernel_init=narrow, rngs=rngs)

    def __call__(
        self, x: Float[Array, "B height width C"], key: Array | None = None
    ) -> Float[Array, "B classes"]:
        """Logits of a batch of images. Without a ``key`` for dropout nothing is dropped."""
        first, second = (None, None) if key is None else jax.random.split(key)
        x = POOLED(normalised(jax.nn.relu(self.conv1(x))))  # 227 → 55 → 27
        x = POOLED(normalised(jax.nn.relu(self.conv2(x))))  # 27 → 13
        x = jax.nn.relu(self.conv3(x))
        x = jax.nn.relu(self.conv4(x))
        x = POOLED(jax.nn.relu(self.conv5(x)))  # 13 → 6
        x = dropped(jnp.reshape(x, (x.shape[0], -1)), DROPPED, first)
        x = dropped(jax.nn.relu(self.fc1(x)), DROPPED, second)
        return self.head(jax.nn.relu(self.fc2(x)))


def normalised(x: Float[Array, "B height width C"]) -> Float[Array, "B height width C"]:
    """Local response normalisation over 5 channels (§3.3): k = 2, α = 1e-4, β = 0.75."""
    squares = jnp.pad(jnp.square(x), ((0, 0), (0, 0), (0, 0), (2, 2)))
    near = sum(squares[..., place : place + x.shape[-1]] for place in range(5))
    return x / (2 + 1e-4 * near) ** 0.75


def _left(size: int) -> int:
    """Pixels that are left of a side before the fully connected layers."""
    size = (size - 11) // 4 + 1
    for _ in range(3):
        size = (size - 3) // 2 + 1
    return size
