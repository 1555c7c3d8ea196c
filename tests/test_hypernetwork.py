"""Generated kernels: formula of the paper, their variance, and gradients of all that makes them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from collect.models import MODELS
from collect.models.hypernetwork import Generated, Hypernetwork


def by_the_papers_formula(network):
    """Kernels as Ha et al. write them, unit by unit and input channel by input channel (§3.1)."""
    unit, z = network.unit, np.asarray(network.embeddings.embedding[...])
    inner, outer = (
        (np.asarray(layer.kernel[...]), np.asarray(layer.bias[...]))
        for layer in (network.inner, network.outer)
    )
    size, place, kernels = z.shape[1], 0, []
    for inputs, outputs in network.channels:
        down, across = -(-inputs // unit), -(-outputs // unit)
        kernel = np.zeros((3, 3, down * unit, across * unit))
        for i in range(down):
            for j in range(across):
                for channel in range(unit):
                    own = slice(channel * size, (channel + 1) * size)
                    a = z[place] @ inner[0][:, own] + inner[1][own]
                    made = (a @ outer[0] + outer[1]).reshape(3, 3, unit)
                    kernel[:, :, i * unit + channel, j * unit : (j + 1) * unit] = made
                place += 1
        kernels.append(kernel[:, :, :inputs, :outputs] / np.sqrt(down))
    assert place == len(z)
    return kernels


@pytest.mark.parametrize("channels", [[(4, 4)], [(4, 8), (8, 8)], [(3, 5), (9, 4)]])
def test_kernels_are_those_of_the_papers_formula(channels):
    network = Hypernetwork(channels, unit=4, size=6, rngs=nnx.Rngs(1))
    network.inner.bias[...] = jax.random.normal(jax.random.key(2), network.inner.bias.shape)
    network.outer.bias[...] = jax.random.normal(jax.random.key(3), network.outer.bias.shape)
    kernels = network()
    assert [kernel.shape[2:] for kernel in kernels] == channels
    for kernel, expected in zip(kernels, by_the_papers_formula(network), strict=True):
        np.testing.assert_allclose(kernel, expected, rtol=1e-4, atol=1e-5)


def test_a_kernel_begins_with_the_variance_of_lecuns_distribution():
    drawn = [
        Hypernetwork([(16, 16), (64, 32)], unit=16, size=64, rngs=nnx.Rngs(seed))()
        for seed in range(12)
    ]
    for kernels, inputs in zip(zip(*drawn, strict=True), (16, 64), strict=True):
        assert np.var(kernels) * 9 * inputs == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_layer_is_the_convolution_with_the_kernel_that_it_is_given(stride):
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 5))
    layer = Generated(5, stride, use_bias=True)
    layer.bias[...] = jnp.arange(5.0)
    expected = lax.conv_general_dilated(
        x, kernel, (stride, stride), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    expected += np.arange(5.0).reshape(1, 1, 1, 5)
    np.testing.assert_allclose(layer(kernel, x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["hyper_cnn", pytest.param("hyper_resnet", marks=pytest.mark.slow)]
)
def test_the_loss_reaches_every_weight_that_makes_a_kernel(name):
    depth = {"depth": 8} if name == "hyper_resnet" else {}
    model = MODELS[name]((16, 16, 3), 10, width=0.5, rngs=nnx.Rngs(0), **depth)
    x = jax.random.normal(jax.random.key(0), (4, 16, 16, 3))
    gradient = nnx.jit(nnx.grad(lambda model: jnp.sum(model(x)[:, 0] ** 2)))(model)
    for leaf in jax.tree.leaves(gradient["kernels"]):
        assert np.all(np.isfinite(leaf))
        assert np.mean(leaf != 0) > 0.9
