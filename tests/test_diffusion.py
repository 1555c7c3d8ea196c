"""The diffusion task: the network, the sampler and the measures against others, its data."""

import itertools
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

import nowcast
from collect.commands.cli import CONFIGS
from collect.config import DataConfig
from collect.data import Dataset
from collect.models.unet import UNet, doubled, embedding
from collect.tasks import Diffusion, Task, check, diffusion, features
from collect.tasks.names import names
from collect.tasks.sampling import kernel_distance, rates, sample
from evaluate.commands import products
from evaluate.config import EvaluateConfig
from nowcast.types import UserError

SIZES = {"widths": (2, 3, 4, 5), "depth": 1, "judged": 8}
GIVEN = OmegaConf.to_container(OmegaConf.load(f"{CONFIGS}/task/ddim.yaml"))


def dataset(side=28, channels=1, number=24, dtype=np.uint8):
    rng = np.random.default_rng(side)
    images = {
        split: rng.integers(0, 256, (size, side, side, channels)).astype(np.uint8)
        for split, size in (("train", number), ("validation", 10), ("test", 10))
    }
    if dtype != np.uint8:
        images = {split: (each / 255).astype(dtype) for split, each in images.items()}
    labels = {split: np.zeros(len(each), np.int32) for split, each in images.items()}
    return Dataset("noise", 1, images, labels)


def made(data=None, **own):
    return Diffusion(data or dataset(), **({"batch_size": 4} | SIZES | own))


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def test_the_published_network_has_1_950_627_parameters_and_all_train():
    net = nnx.eval_shape(lambda: UNet(3, (32, 64, 96, 128), 2, rngs=nnx.Rngs(0)))
    params, rest = nnx.state(net, nnx.Param, ...)
    assert count(params) == 1_950_627
    # A mean and a variance of each channel that a block reads: 2,880 that do not train.
    inputs = [64, 32, 32, 64, 64, 96, 96, 128, 224, 192, 160, 128, 96, 64]
    assert count(rest) == 2 * sum(inputs)


def test_an_image_is_doubled_as_jax_does():
    x = jax.random.normal(jax.random.key(0), (2, 5, 3, 4))
    expected = jax.image.resize(x, (2, 10, 6, 4), "bilinear")
    np.testing.assert_allclose(doubled(x), expected, rtol=1e-5, atol=1e-6)


def test_the_embedding_is_that_of_the_example():
    variances = np.array([0.0, 0.1, 0.98])
    speeds = 2 * math.pi * 1000 ** (np.arange(16) / 15)
    angles = variances[:, None] * speeds
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    found = embedding(jnp.asarray(variances, jnp.float32).reshape(3, 1, 1, 1))
    np.testing.assert_allclose(found[:, 0, 0], expected, atol=2e-3)


def test_rates_go_along_a_cosine_from_95_to_2_percent():
    times = jnp.linspace(0, 1, 7)
    noise, signal = rates(times)
    start, end = math.acos(0.95), math.acos(0.02)
    np.testing.assert_allclose(signal, np.cos(start + times * (end - start)), rtol=1e-5)
    np.testing.assert_allclose(noise**2 + signal**2, 1, rtol=1e-6)


@pytest.mark.parametrize("spread", [1.0, 0.3])
@pytest.mark.parametrize("steps", [1, 5, 20])
def test_samples_of_a_perfect_denoiser_of_a_gaussian_are_the_closed_form(spread, steps):
    """Of images N(0, s²), E[noise | noisy] = b·noisy / (a²s² + b²), so each step is a factor."""

    def perfect(noisy, noise, signal):
        noises = noise * noisy / (signal**2 * spread**2 + noise**2)
        return noises, (noisy - noise * noises) / signal

    start = jax.random.normal(jax.random.key(steps), (2, 3, 3, 1))
    found, factor = sample(perfect, start, steps), 1.0
    angles = np.linspace(math.acos(0.02), math.acos(0.95), steps + 1)
    for now, then in itertools.pairwise(angles[:-1]):
        variance = (spread * math.cos(now)) ** 2 + math.sin(now) ** 2
        both = math.cos(now) * math.cos(then) * spread**2 + math.sin(now) * math.sin(then)
        factor *= both / variance
    now = angles[-2]
    factor *= spread**2 * math.cos(now) / ((spread * math.cos(now)) ** 2 + math.sin(now) ** 2)
    np.testing.assert_allclose(found, factor * start, rtol=2e-3, atol=1e-5)


def test_the_kernel_distance_is_the_unbiased_double_loop():
    rng = np.random.default_rng(3)
    real, made = rng.normal(size=(7, 5)), rng.normal(0.5, 2, size=(6, 5))

    def kernel(x, y):
        return (sum(a * b for a, b in zip(x, y, strict=True)) / 5 + 1) ** 3

    total = 0.0
    for rows in (real, made):
        pairs = [kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]
        total += sum(pairs) / len(pairs)
    cross = [kernel(x, y) for x in real for y in made]
    expected = total - 2 * sum(cross) / len(cross)
    found = kernel_distance(jnp.asarray(real, jnp.float32), jnp.asarray(made, jnp.float32))
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_the_kernel_distance_of_one_distribution_is_0_in_the_mean():
    keys = jax.random.split(jax.random.key(1), 200)
    each = jax.vmap(lambda key: kernel_distance(*jax.random.normal(key, (2, 20, 4))))(keys)
    assert abs(float(each.mean())) < 3 * float(each.std()) / math.sqrt(200)
    assert float(each.min()) < 0


@pytest.mark.parametrize("dtype", [np.uint8, pytest.param(np.float32, marks=pytest.mark.slow)])
def test_images_are_padded_and_normalised_and_the_loss_is_that_of_the_noise(dtype, unchecked):
    task = made(dataset(dtype=dtype))
    images, noises, times = task.batch(task.arrays, jnp.arange(24), jax.random.key(0))
    assert images.shape == noises.shape == (24, 32, 32, 1)
    assert np.ptp(images[:, :2]) == 0  # rows of padding
    assert (float(images.mean()), float(images.std())) == pytest.approx((0, 1), abs=2e-3)
    assert (times >= 0).all()
    assert (times < 1).all()
    params, extra = task.init(0)
    loss, new = jax.jit(task.loss)(params, extra, (images, noises, times), None)
    # The last layer begins with zeros: the noise is told to be 0.
    assert float(loss) == pytest.approx(float(jnp.abs(noises).mean()), rel=1e-5)
    assert float(loss) == pytest.approx(math.sqrt(2 / math.pi), rel=0.02)
    first = next(key for key in new["down"][0]["bn"] if key == "mean")
    assert np.any(new["down"][0]["bn"][first] != extra["down"][0]["bn"][first])


def test_an_epoch_reads_each_image_as_often_as_it_repeats():
    order = made(repeats=3).order(1, 4)
    assert order.shape == (18, 4)
    assert set(np.bincount(order.ravel(), minlength=24).tolist()) == {3}
    np.testing.assert_array_equal(order, made(repeats=3).order(1, 4))
    assert not np.array_equal(order, made(repeats=3).order(1, 5))


def test_pooled_splits_are_80_percent_of_each_and_the_rest():
    data = dataset(side=32)
    task = made(data, pooled=True)
    assert task.splits == ("validation",)
    assert len(task.arrays) == 19 + 8 + 8
    held = np.concatenate([data.images[split] for split in ("train", "validation", "test")])
    np.testing.assert_array_equal(task.arrays[:19], held[:19])
    np.testing.assert_array_equal(task._kept["validation"][0], held[19])


def test_evaluations_are_the_same_each_time_and_do_not_depend_on_running_statistics():
    task = made()
    params, extra = task.init(0)
    params = jax.tree.map(lambda leaf: leaf + 0.05, params)
    found = task.evaluate(params, extra, "validation")
    other = jax.tree.map(lambda leaf: 3 * leaf + 1, extra)
    assert task.evaluate(params, other, "validation") == found
    assert set(found) == {metric.name for metric in task.metrics}
    assert all(math.isfinite(value) for value in found.values())
    picture = task.picture(params, extra)
    assert picture.shape == (3 * 32, 6 * 32, 1)
    assert 0 <= picture.min() <= picture.max() <= 1
    assert len({picture[:32, at : at + 32].tobytes() for at in range(0, 192, 32)}) == 6


def test_it_is_a_task_and_every_leaf_has_an_operation(unchecked):
    task = made()
    assert isinstance(task, Task)
    check.check(task, "Diffusion")
    params, _ = task.init(0)
    assert set(jax.tree.leaves(task.labels)) == {"conv", "bias"}
    assert task.labels == nowcast.label_ops(params)
    assert task.name == "ddim_w2x3x4x5_d1-noise"
    own = names({"task": task.name, "task_config": {"_target_": "collect.tasks.Diffusion"}})
    assert {"ddim", "ddim_w2x3x4x5_d1", "ddim-noise"} <= own


def test_the_shipped_features_tell_digits_from_noise():
    seen = features.load("mnist", (32, 32, 1))
    noise = jax.random.uniform(jax.random.key(0), (64, 32, 32, 1))
    assert seen(noise).shape == (64, 84)
    again = jax.random.uniform(jax.random.key(1), (64, 32, 32, 1))
    black = jnp.zeros((64, 32, 32, 1))
    assert float(kernel_distance(seen(noise), seen(again))) < 0.5
    assert float(kernel_distance(seen(noise), seen(black))) > 0.5


@pytest.fixture(scope="module")
def keras_inception(tmp_path_factory):
    """Keras's InceptionV3 with random weights, and the path of its file."""
    with warnings.catch_warnings(action="ignore"):  # Keras's own, of NumPy 2 and of the format
        import keras

        net = keras.applications.InceptionV3(
            include_top=False, weights=None, input_shape=(75, 75, 3), pooling="avg"
        )
        rng = np.random.default_rng(0)
        for layer in net.layers:
            if "batch_normalization" in layer.name:
                shape = layer.beta.shape
                layer.beta.assign(rng.normal(0.1, 0.3, shape))
                layer.moving_mean.assign(rng.normal(0, 0.3, shape))
                layer.moving_variance.assign(rng.uniform(0.5, 2, shape))
        file = tmp_path_factory.mktemp("inception") / "inception.h5"
        net.save(file)
    return net, file


@pytest.mark.slow
def test_inceptions_features_are_those_of_keras(keras_inception):
    net, file = keras_inception
    images = np.random.default_rng(1).uniform(size=(2, 64, 64, 3)).astype(np.float32)
    seen = features.load(str(file), (64, 64, 3))(jnp.asarray(images))
    larger = jax.image.resize(images, (2, 75, 75, 3), "bilinear")
    expected = np.asarray(net(2 * np.asarray(larger) - 1, training=False))
    assert seen.shape == (2, 2048)
    np.testing.assert_allclose(seen, expected, rtol=2e-3, atol=2e-3 * expected.std())


@pytest.mark.slow
def test_weights_of_another_network_are_refused_by_the_first_tensor_that_differs(
    keras_inception, tmp_path
):
    import h5py

    net, file = keras_inception
    other = tmp_path / "other.h5"
    other.write_bytes(file.read_bytes())
    with h5py.File(other, "a") as held:
        [path] = [
            path
            for path in _datasets(held)
            if path.endswith("kernel") and f"/{net.layers[4].name}/" in path
        ]
        del held[path]
        held[path] = np.zeros((3, 3, 32, 30), np.float32)
    with pytest.raises(
        UserError, match=r"convolution 2 has kernel \(3, 3, 32, 30\), and Inception"
    ):
        features.load(str(other), (64, 64, 3))
    with h5py.File(other, "a") as held:
        del held[path]
    with pytest.raises(UserError, match=r"has 93 tensors conv2d/kernel, and InceptionV3 has 94"):
        features.load(str(other), (64, 64, 3))


def _datasets(held):
    found = []
    held.visit(found.append)
    return found


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"widths": (8,)}, "task.widths=(8,): must be a list of two sizes or more"),
        ({"widths": "8"}, "task.widths='8': must be a list of two sizes or more"),
        ({"depth": 0}, "task.depth=0 must be a whole number of blocks"),
        ({"judged": 1}, "task.judged=1: must be 2 images or more, such as 256"),
        ({"repeats": 0}, "task.repeats=0 must be a whole number of readings"),
        ({"pooled": "yes"}, "task.pooled='yes': must be true or false"),
        ({"batch_size": 25}, "batch_size=25: must be 1 to 24, the number of training images"),
        (
            {"features": "mine.h5"},
            "task.features='mine.h5': is not a file; give mnist, or the file",
        ),
        ({"features": __file__, "data": dataset(16, 3)}, "is not an HDF5 file ("),
        ({"features": __file__}, "InceptionV3 takes images of three channels, and these have 1"),
        ({"data": dataset(16, 3)}, "task.features=mnist: takes grey images of 32×32 pixels"),
    ],
)
def test_a_value_out_of_range_is_named_in_one_line(unchecked, own, said):
    with pytest.raises(UserError) as caught:
        made(**own)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_full_experiment_is_the_published_recipe():
    ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)
    products.store()
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        found = compose("evaluate", ["experiment=table5_ddim", "report=mine"])
    assert found.task.widths == [32, 64, 96, 128]
    assert (found.task.depth, found.task.repeats, found.task.pooled) == (2, 5, True)
    assert (found.data.name, found.data.size, found.batch_size) == ("oxford_flowers102", 64, 64)
    assert (found.optimizer.name, found.optimizer.learning_rate) == ("adamw_1e-4", 1e-3)
    assert found.arm.ema.average == {"kind": "ema", "decay": 0.999} | {
        key: value for key, value in found.arm.ema.average.items() if key not in ("kind", "decay")
    }
    assert (found.epochs, found.target_metric, found.target_value) == (60, "kid", 0.2)
    # Oxford Flowers has 1,020, 1,020 and 6,149 images.
    kept = [round(diffusion.SHARE * size) for size in (1020, 1020, 6149)]
    assert (sum(kept), 8189 - sum(kept)) == (6551, 1638)
    assert found.task.judged == 1638


def test_a_configuration_may_ask_for_some_classes(monkeypatch):
    monkeypatch.setattr(features, "load", lambda *_: lambda images: images.reshape(len(images), -1))
    every, some = (
        Diffusion.configured(DataConfig("digits", classes=classes), 4, **SIZES)
        for classes in (None, [0, 1])
    )
    assert (some.name, every.name) == ("ddim_w2x3x4x5_d1-digits-0to1", "ddim_w2x3x4x5_d1-digits")
    assert 4 * len(some.arrays) < len(every.arrays)
