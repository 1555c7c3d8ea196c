"""LeNet-5 (LeCun et al., 1998), with ReLU and max-pooling as in today's reimplementations.

61,706 parameters on 32×32×1 images with 10 classes, 62,006 on 32×32×3.
"""

import jax
from flax import nnx
from jaxtyping import Array, Float

from collect.models.layers import conv, max_pool, scaled


class LeNet(nnx.Module):
    """conv 6 – pool – conv 16 – pool – FC 120 – FC 84 – FC classes; 5×5 kernels without padding."""

    min_size = 32

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: float = 1.0, rngs: nnx.Rngs
    ):
        height, breadth, channels = image_shape
        c1, c2, f1, f2 = (scaled(n, width) for n in (6, 16, 120, 84))
        flat = ((height - 4) // 2 - 4) // 2 * (((breadth - 4) // 2 - 4) // 2) * c2
        self.conv1 = conv(channels, c1, (5, 5), padding="VALID", rngs=rngs)
        self.conv2 = conv(c1, c2, (5, 5), padding="VALID", rngs=rngs)
        self.fc1 = nnx.Linear(flat, f1, rngs=rngs)
        self.fc2 = nnx.Linear(f1, f2, rngs=rngs)
        self.head = nnx.Linear(f2, classes, rngs=rngs)

    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B classes"]:
        """Logits of a batch of images."""
        return self.head(self.features(x))

    def features(self, x: Float[Array, "B height width C"]) -> Float[Array, "B D"]:
        """What the last layer reads: 84 numbers of each image at the published width."""
        x = max_pool(jax.nn.relu(self.conv1(x)))  # 32 → 28 → 14
        x = max_pool(jax.nn.relu(self.conv2(x)))  # 14 → 10 → 5
        x = x.reshape(x.shape[0], -1)
        x = jax.nn.relu(self.fc1(x))
        return jax.nn.relu(self.fc2(x))
