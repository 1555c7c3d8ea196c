"""Files of weights as Celo's authors publish them, with random numbers; a run that they drive."""

import jax
import numpy as np
from flax import serialization

from collect.training.learned.celo_file import TENSORS

SHAPES = {"conv": (3, 3, 2, 3), "square": (3, 3), "wide": (5, 3), "bias": (4,), "scale": ()}
"""Leaves of a short run: two with axes of one length, a vector, a scalar."""
STEPS = 20
LARGE = 1000.0
"""The rule's outputs are so many times larger than its other layers' would be: steps are long."""


def random_tensors(seed=0):
    """Tensors by the names of the file, in the order of :data:`TENSORS`."""
    rng = np.random.default_rng(seed)
    drawn = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in TENSORS.items()}
    drawn["ff_mod_stack/~/w2"] *= LARGE
    return drawn


def write(path, tensors):
    """Write tensors as Flax does: a msgpack of nested dicts."""
    nested = {}
    for name, tensor in tensors.items():
        top, rest = name.split("/", 1)
        layer, _, leaf = rest.rpartition("/")
        inside = nested.setdefault(top, {})
        (inside.setdefault(layer, {}) if layer else inside)[leaf] = tensor
    path.write_bytes(serialization.msgpack_serialize(nested))
    return path


def weights():
    """The first weights of the short run."""
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def gradients_and_losses():
    """``(gradients, loss)`` of every step, which do not depend on the weights.

    Gradients of one step are beyond what Celo clips, and the loss of another one leaps.
    """
    rng = np.random.default_rng(2)
    for step in range(STEPS):
        size = 10.0 ** rng.uniform(-3, 0) * (1e4 if step == 7 else 1)
        grads = {name: size * rng.normal(size=shape) for name, shape in SHAPES.items()}
        loss = 2 * 0.9**step * (1 + 0.1 * rng.normal()) * (20 if step == 5 else 1)
        yield jax.tree.map(np.float32, grads), np.float32(loss)
