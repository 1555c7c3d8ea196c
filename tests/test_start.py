"""The first weights of a model, against the same model built layer by layer."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import nnx

import nowcast
from collect.models import MODELS
from collect.models.gpt import GPT
from collect.models.start import Start

BUILDS = {
    "lenet": lambda rngs: MODELS["lenet"]((8, 8, 1), 10, rngs=rngs),
    "hyper_cnn": lambda rngs: MODELS["hyper_cnn"]((32, 32, 3), 10, rngs=rngs),
    "resnet": lambda rngs: MODELS["resnet"]((8, 8, 1), 10, depth=8, width=0.25, rngs=rngs),
    "gpt": lambda rngs: GPT(11, layers=1, heads=2, width=8, context=8, rngs=rngs),
}


def both(name, seed):
    """The state drawn by one program, and that of single operations."""
    build = BUILDS[name]
    parts = nnx.state(build(nnx.Rngs(seed)), nnx.Param, ...)
    return Start(build)(seed), tuple(map(nnx.to_pure_dict, parts))


@pytest.mark.parametrize("name", BUILDS)
def test_the_first_weights_are_those_of_single_operations(name):
    def close(got, expected):  # to rounding: tests compile without optimization
        np.testing.assert_allclose(got, expected, rtol=3e-7, atol=1e-8)

    jax.tree.map(close, *both(name, 1001))


@pytest.mark.slow
def test_compiled_as_in_the_commands_they_are_equal_bit_for_bit():
    code = (
        "import jax, numpy as np, test_start as t\n"
        "for name in t.BUILDS: jax.tree.map(np.testing.assert_array_equal, *t.both(name, 7))"
    )
    folder = os.path.dirname(__file__)
    path = os.pathsep.join([folder, os.path.dirname(folder)])
    usual = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    subprocess.run([sys.executable, "-c", code], env=usual | {"PYTHONPATH": path}, check=True)


def test_the_module_has_shapes_alone():
    start = Start(BUILDS["lenet"])
    leaves = jax.tree.leaves(nnx.state(start.module, nnx.Param))
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)
    assert nowcast.label_ops(start.module)["head"] == {"kernel": "fc", "bias": "bias"}
