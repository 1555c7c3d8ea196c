"""WNNs with made-up parameters, and architectures without any: quick to make."""

from functools import lru_cache

import h5py
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from collect.models import MODELS
from nowcast import published
from nowcast.forecasters import WNN
from nowcast.forecasters.wnn import init_network

NETWORKS = ("conv", "fc", "bias")


@lru_cache(maxsize=64)
def shapes_only(name, image_shape=(32, 32, 3), **sizes):
    """The architecture with nothing allocated. Look at it, do not change it."""
    return nnx.eval_shape(lambda: MODELS[name](image_shape, 10, **sizes, rngs=nnx.Rngs(0)))


def random_wnn(seed=0):
    """All parameters are random, biases included, and differ between the networks."""
    rng = np.random.default_rng(seed)

    def draw(leaf):
        return jnp.asarray(rng.normal(size=leaf.shape) / leaf.shape[0] ** 0.5, jnp.float32)

    like = jax.eval_shape(init_network, jax.random.key(0))
    return WNN(params={name: jax.tree.map(draw, like) for name in NETWORKS})


def constant_wnn(value):
    """Every increment is tanh(value) times the window's unit, whatever the window."""
    like = jax.eval_shape(init_network, jax.random.key(0))
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), like)
    params["head"]["bias"] = jnp.full((1,), value, jnp.float32)
    return WNN(params=dict.fromkeys(NETWORKS, params))


def write_published(folder, params):
    """The three files of the WNN authors, with these parameters."""
    for network, name in published.NETWORKS.items():
        with h5py.File(folder / f"NWNN_{name}_13.h5", "w") as file:
            for i, layer in enumerate(published.LAYERS):
                # Numbered as Keras counts, from some number on, across the tens.
                for kind in (
                    "kernel",
                    "bias",
                ):
                    file[f"dense_{i + 5}/dense_{i + 5}/{kind}:0"] = np.asarray(
                        params[network][layer][kind]
                    )
