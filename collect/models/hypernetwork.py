"""A static hypernetwork: it generates the kernels of convolutions from small embeddings.

Ha, Dai and Le, "HyperNetworks", ICLR 2017, §3.1. Two fully connected layers, shared by all
convolutions of a network, make a *unit*, a small kernel, from an embedding. A larger kernel is laid
out of several units, each with an embedding of its own.

Departure: the paper's code begins with all weights near zero, which BatchNorm makes up for. Here
the embeddings and both layers begin so that a generated kernel has the variance of LeCun's
distribution, 1 / (the inputs of one output), because the small CNN has no BatchNorm.
"""

from collections.abc import Sequence
from math import prod

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from collect.models.convolution import convolve

SIDE = 3
"""Height and width of every kernel."""


class Hypernetwork(nnx.Module):
    """Generates square 3×3 kernels from embeddings, one for each unit of each kernel.

    Args:
        channels: ``(input channels, output channels)`` of every kernel that is to be generated.
        unit: Input channels of a unit, and as many output channels. A kernel takes as many units as
            cover it; what reaches beyond its channels is cut off.
        size: Entries of an embedding, and of what the first layer makes of it for each input
            channel of a unit (the paper's N_z and d).
        rngs: Draws the initial weights.
    """

    def __init__(
        self, channels: Sequence[tuple[int, int]], *, unit: int, size: int, rngs: nnx.Rngs
    ):
        self.unit, self.channels = unit, tuple(channels)
        grids = [tuple(-(-count // unit) for count in pair) for pair in channels]
        self.grids = tuple(grids)
        """Units of each kernel, along its input channels and along its output channels."""
        self.embeddings = nnx.Embed(
            sum(map(prod, grids)), size, embedding_init=nnx.initializers.normal(1.0), rngs=rngs
        )
        self.inner = nnx.Linear(size, unit * size, rngs=rngs)
        to_unit = nnx.initializers.variance_scaling(1 / (unit * SIDE**2), "fan_in", "normal")
        self.outer = nnx.Linear(size, SIDE**2 * unit, kernel_init=to_unit, rngs=rngs)

    def __call__(self) -> list[Float[Array, "3 3 inputs outputs"]]:
        """All kernels, in the order of ``channels``."""
        table = self.embeddings.embedding[...]
        rows = self.inner(table).reshape(table.shape[0], self.unit, -1)
        units = self.outer(rows).reshape(-1, self.unit, SIDE, SIDE, self.unit)
        kernels, first = [], 0
        for (down, across), (inputs, outputs) in zip(self.grids, self.channels, strict=True):
            own = units[first : first + down * across].reshape(down, across, *units.shape[1:])
            first += down * across
            tiled = own.transpose(3, 4, 0, 2, 1, 5).reshape(SIDE, SIDE, down * self.unit, -1)
            kernels.append(tiled[:, :, :inputs, :outputs] / down**0.5)
        return kernels


class Generated(nnx.Module):
    """A convolution whose kernel is given at every call; zeros around images keep their size.

    Args:
        outputs: Output channels.
        stride: The stride of the convolution.
        use_bias: Whether it adds a bias, which begins at zero.
    """

    def __init__(self, outputs: int, stride: int = 1, *, use_bias: bool = False):
        self.stride = stride
        self.bias = nnx.Param(jnp.zeros(outputs)) if use_bias else None

    def __call__(
        self, kernel: Float[Array, "3 3 C D"], x: Float[Array, "B height width C"]
    ) -> Float[Array, "B h w D"]:
        """The convolution of images with this kernel."""
        y = convolve(x, kernel, (self.stride, self.stride), ((1, 1), (1, 1)))
        return y if self.bias is None else y + self.bias[...].reshape(1, 1, 1, -1)
