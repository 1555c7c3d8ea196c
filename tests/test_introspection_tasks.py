"""The tasks of Introspection (Sinha et al., ICLR 2017): their networks begin as the paper's, and
their experiments have its optimizers, lengths and jumps.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

import nowcast
from collect.models import MODELS
from collect.models.alexnet import normalised
from collect.models.layers import max_pool_3
from collect.training.optimizers import rates
from evaluate import resolve
from evaluate.commands import products
from evaluate.config import EvaluateConfig
from evaluate.forecasters import of

CONFIGS = str(Path(__file__).resolve().parent.parent / "configs")
IMAGES = {"mnist": 60_000, "cifar10": 50_000, "imagenet2012": 1_153_051}  # nine tenths of it
PAPER = {
    # optimizer, rate, schedule, batch, steps of the paper, and its jumps
    "mnist1": ("sgd", 1e-2, "constant", 50, 20_000, [[3000, 4000, 5000]]),
    "mnist2": ("sgd", 1e-2, "inverse", 64, 10_000, [[2500, 3000]]),
    "mnist3": ("sgd", 5e-3, "constant", 100, 15_000, [[6000, 8000, 10000]]),
    "mnist4": ("adam", 5e-4, "constant", 128, 6_500, [[2000, 3000, 4000]]),
    "cifar1": (
        "sgd",
        0.1,
        "staircase",
        128,
        40_000,
        [[12000, 17000], [15000, 18000], [12000, 15000, 19000], [14000, 17000, 20000]],
    ),
    "alexnet": (
        *("momentum", 1e-2, "tenths", 128, 196_000),
        [[120_000, 130_000, 144_000, 160_000]],
    ),
    "inception": (
        *("rmsprop_1", 1e-2, "inception", 128, 1_500_000),
        [[300_000, 600_000, 900_000, 1_200_000], [200_000, 400_000, 600_000]],
    ),
}
STREAMED = {"alexnet", "inception"}
"""Experiments on ImageNet, each with a small form on CIFAR-10."""


@pytest.fixture(scope="module")
def composed():
    """The configuration of an experiment, checked."""
    products.store()
    ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)

    def make(name, *more):
        with initialize_config_dir(CONFIGS, version_base="1.3"):
            given = [f"experiment=introspection_{name}", "report=mine", *more]
            found = compose("evaluate", given)
        return OmegaConf.to_object(found)

    return make


@pytest.mark.parametrize("name", PAPER)
def test_an_experiment_is_the_papers(composed, name):
    optimizer, rate, schedule, batch, steps, jumps = PAPER[name]
    config = composed(name)
    arms, _ = resolve(config.arm, optimizer=config.optimizer.name, learning_rate=rate)
    base = arms[0]
    assert (base.optimizer, base.schedule, config.batch_size) == (optimizer, schedule, batch)
    assert config.optimizer.learning_rate == base.learning_rate == rate
    length = config.epochs * (IMAGES[config.data.name] // batch)
    assert steps <= length <= 1.1 * steps
    # All training images, and the test set; ImageNet publishes no labels of that.
    assert config.data.validation == (name in STREAMED)
    network = [arm.jump.at for arm in arms if arm.forecaster == "introspection"]
    assert network == jumps
    for arm in arms[1:]:
        # All weights jump that the forecaster has a network for.
        assert arm.jump.min_drift is arm.guard is arm.jump.operations is None
        options = {"forecaster": of(arm).forecaster, "at": arm.jump.at, "aim": arm.jump.aim}
        assert list(nowcast.Jumps(**options).steps(length - 1)) == arm.jump.at
    assert len(rates(base.schedule, rate, length)) == length


def test_mnist_1_has_the_papers_baselines(composed):
    bundles = ["introspection_linear=bundles/linear", "introspection_further=bundles/further"]
    arms = composed("mnist1", *bundles).arm
    found = {(arm.forecaster, arm.jump.aim, arm.jump.damping) for arm in arms.values()}
    assert found == {
        (None, None, 1.0),
        ("introspection", None, 1.0),
        ("bundles/linear", None, 1.0),
        ("bundles/further", None, 1.0),
        ("quadratic", 1.25, 1.0),
        ("quadratic", 1.3, 1.0),
        ("quadratic", 1.4, 1.0),
        ("linear", 1.075, 1.0),
        ("linear", 1.1, 1.0),
        ("noise", None, 1.0),
        ("noise", None, 0.5),
    }
    assert {arm.of for arm in arms.values() if arm.forecaster == "noise"} == {"introspection"}


def test_a_network_of_horizon_12_aims_at_22_times_the_step():
    further = nowcast.forecasters.Introspection(
        params=nowcast.load("introspection").params, horizon=12
    )
    assert nowcast.Jumps(forecaster=further, at=[10], aim=2.2).reader.window == 4
    with pytest.raises(nowcast.UserError, match=r"fitted to forecast 2\.2 times the step only"):
        nowcast.Jumps(forecaster=further, at=[10], aim=2)


def leaves(name, shape):
    params = nnx.state(MODELS[name](shape, 10, rngs=nnx.Rngs(0)), nnx.Param)
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(params)}


@pytest.mark.parametrize(
    ("name", "shape", "deviations", "most"),
    [
        # A normal distribution cut at two deviations has 0.8796 of the deviation.
        ("introspection_mnist1", (28, 28, 1), {"": 0.008796}, 0.02),
        ("introspection_mnist3", (28, 28, 1), {"": 1.0}, 7),
        (
            "introspection_cifar1",
            (32, 32, 3),
            {"conv": 1e-4, "fc": 0.04, "head": 1 / 192},
            0.3,
        ),
    ],
)
def test_kernels_begin_as_the_papers(name, shape, deviations, most):
    for path, leaf in leaves(name, shape).items():
        if "kernel" in path:
            wanted = next(value for part, value in deviations.items() if part in path)
            np.testing.assert_allclose(np.std(leaf), wanted, rtol=0.08, err_msg=path)
            assert np.abs(leaf).max() <= most
        elif "bias" in path and name != "introspection_mnist3":
            np.testing.assert_array_equal(leaf, 0)


def test_mnist_2_begins_as_xavier():
    for path, leaf in leaves("introspection_mnist2", (28, 28, 1)).items():
        if "kernel" in path:
            ends = np.prod(leaf.shape[:-2]) * sum(leaf.shape[-2:])
            np.testing.assert_allclose(np.abs(leaf).max(), np.sqrt(6 / ends), rtol=0.02)


@pytest.mark.parametrize(
    ("shape", "stride", "pads", "padding"),
    [
        ((2, 8, 6, 3), 2, (0, 1), "SAME"),
        ((1, 24, 24, 2), 2, (0, 1), "SAME"),
        ((1, 7, 6, 2), 1, (1, 1), "SAME"),
        ((1, 15, 13, 2), 2, (0, 0), "VALID"),
    ],
)
def test_max_pool_3_is_flax_max_pool_in_value_and_gradient(shape, stride, pads, padding):
    x = jax.nn.relu(jax.random.normal(jax.random.key(0), shape)) + 0.01
    # Distinct values: where several are the largest, the two split a gradient differently.
    x += jnp.arange(x.size).reshape(shape) * 1e-5
    theirs = lambda x: nnx.max_pool(x, (3, 3), strides=(stride, stride), padding=padding)  # noqa: E731
    ours = lambda x: max_pool_3(x, stride, pads)  # noqa: E731
    np.testing.assert_array_equal(ours(x), theirs(x))
    weights = jax.random.normal(jax.random.key(1), theirs(x).shape)
    ours_grad, theirs_grad = (
        jax.grad(lambda x, f=f: jnp.sum(weights * f(x)))(x) for f in (ours, theirs)
    )
    np.testing.assert_allclose(ours_grad, theirs_grad, atol=1e-6)


def test_local_response_normalisation_is_the_papers_formula():
    x = np.random.default_rng(0).normal(size=(1, 2, 1, 8)).astype(np.float32) * 40
    found = np.asarray(normalised(jnp.asarray(x)))
    for place in np.ndindex(x.shape):
        near = x[(*place[:3], slice(max(0, place[3] - 2), place[3] + 3))]
        wanted = x[place] / (2 + 1e-4 * np.sum(np.square(near, dtype=np.float64))) ** 0.75
        np.testing.assert_allclose(found[place], wanted, rtol=1e-5)


def test_cifar_1_sees_the_central_24_pixels():
    model = MODELS["introspection_cifar1"]((32, 32, 3), 10, width=0.05, rngs=nnx.Rngs(0))
    model.eval()
    x = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    np.testing.assert_array_equal(model(x), model(x[:, 4:28, 4:28]))
    edges = x.at[:, 4:28, 4:28].set(0)
    np.testing.assert_array_equal(model(edges), model(jnp.zeros_like(x)))


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER)
def test_an_experiment_runs_in_fast_mode(script, composed, tmp_path, name):
    """On the digits, narrow, one epoch; its arms and jumps, at early steps.

    Inception, which compiles for half a minute, has one of its two sets of jumps.
    """
    left_out = ["~arm.jumps_100_200_300"] if name == "inception" else []
    name += "_small" * (name in STREAMED)
    earlier = {
        arm: [3 + 2 * place for place in range(len(own.jump.at))]
        for arm, own in composed(name, *left_out).arm.items()
        if own.jump.at and own.forecaster
    }
    done = script(
        "evaluate",
        f"experiment=introspection_{name}",
        *left_out,
        "data=digits",
        "data.train_size=null",
        "model.width=0.05",
        "batch_size=64",
        "epochs=1",
        "record_every=5",
        "seeds=1",
        "protocol=paper",
        "target_value=0.01",
        f"report={tmp_path / 'report'}",
        *(f"arm.{arm}.jump.at={steps}".replace(" ", "") for arm, steps in earlier.items()),
    )
    assert done.returncode == 0, done.stderr
    for arm in earlier:
        assert arm in done.stdout
