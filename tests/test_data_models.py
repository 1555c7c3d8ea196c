"""Data sets and architectures: sizes known from elsewhere, and every one of them trains."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from networks import shapes_only
from sklearn.datasets import load_digits

import nowcast
from collect import data
from collect.config import DataConfig, ModelConfig
from collect.data import Dataset
from collect.data.augment import AUGMENTS
from collect.models import MODELS
from collect.models.layers import max_pool
from collect.population import make_task
from collect.tasks import Classification
from collect.training import optimizers
from collect.training.loop import Loop

SPLITS = ("train", "validation", "test")


def test_digits_are_those_of_scikit_learn_each_in_one_split():
    digits = data.load("digits")
    # Of 1797 = 7·256 + 5 places, 5 of each seven are for training, and so are the last 5.
    sizes = {split: len(labels) for split, labels in digits.labels.items()}
    assert sizes == {"train": 5 * 256 + 5, "validation": 256, "test": 256}
    together = {
        (image.tobytes(), int(label))
        for split in data.SPLITS
        for image, label in zip(digits.images[split], digits.labels[split], strict=True)
    }
    images, labels = load_digits(return_X_y=True)
    scaled = (images / 16).astype(np.float32)
    originals = {(image.tobytes(), int(label)) for image, label in zip(scaled, labels, strict=True)}
    assert together == originals
    assert len(originals) == 1797  # no image is there twice, so none is in two splits


def test_digits_are_images_between_0_and_1_of_ten_classes():
    digits = data.load("digits")
    assert digits.image_shape == (8, 8, 1)
    for split in data.SPLITS:
        assert digits.images[split].dtype == np.float32
        assert (digits.images[split].min(), digits.images[split].max()) == (0, 1)
        assert set(digits.labels[split]) == set(range(10))
        assert np.bincount(digits.labels[split]).min() > 15


def test_small_images_are_resized_for_the_networks_that_need_it():
    small, large = data.load("digits"), data.load("digits", min_size=32)
    assert large.image_shape == (32, 32, 1)
    for split in data.SPLITS:
        shrunk = large.images[split].reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4))
        assert np.corrcoef(shrunk.ravel(), small.images[split].ravel())[0, 1] > 0.95
        np.testing.assert_array_equal(large.labels[split], small.labels[split])


def test_train_size_takes_the_first_training_examples_and_leaves_the_other_splits():
    some, everything = data.load("digits", train_size=100), data.load("digits")
    np.testing.assert_array_equal(some.images["train"], everything.images["train"][:100])
    np.testing.assert_array_equal(some.labels["train"], everything.labels["train"][:100])
    assert len(some.labels["validation"]) == 256
    assert len(data.load("digits").labels["train"]) == 1285  # the next one is not cut


@pytest.mark.parametrize("size", [0, -1, 1286])
def test_a_train_size_that_the_data_cannot_give_is_refused(size):
    with pytest.raises(nowcast.UserError, match=f"data.train_size={size}.* 1 to 1285"):
        data.load("digits", train_size=size)


def test_an_unknown_data_set_is_refused_with_those_that_exist():
    with pytest.raises(nowcast.UserError, match="'mnits' is unknown; give digits"):
        data.load("mnits")


@pytest.mark.parametrize(
    ("name", "image_shape", "sizes", "published"),
    [
        ("lenet", (32, 32, 1), {}, 61_706),
        ("lenet", (32, 32, 3), {}, 62_006),
        ("vanilla_cnn", (32, 32, 3), {}, 24_186),
        ("vanilla_cnn_glorot", (32, 32, 3), {}, 24_186),
        ("resnet", (32, 32, 3), {"depth": 20}, 269_722),
        ("resnet", (32, 32, 3), {"depth": 32}, 464_154),
        ("resnet", (32, 32, 3), {"depth": 44}, 658_586),
        ("resnet", (32, 32, 3), {"depth": 56}, 853_018),
        ("mlp", (28, 28, 1), {}, 784 * 256 + 256 + 256 * 256 + 256 + 2570),
        ("mlp", (8, 8, 1), {}, 85_002),
        ("lstm", (28, 28, 1), {}, 4 * 128 * (28 + 128 + 1) + 1290),
        ("lstm", (8, 8, 1), {}, 71_434),
        # Embeddings of 2 + 8 + 16 units, both layers, and what is not generated: the first
        # convolution, biases, FC.
        ("hyper_cnn", (32, 32, 3), {}, 26 * 26 + 26 * 208 + 208 + 26 * 72 + 72 + 9_210),
        # Embeddings of 6 + 22 + 88 units of 16x16x3x3 (Ha et al.: 64 entries), and both layers.
        ("hyper_resnet", (32, 32, 3), {"depth": 20}, 116 * 64 + 65 * 1024 + 65 * 144 + 2_458),
    ],
)
def test_parameter_counts_are_the_published_ones(name, image_shape, sizes, published):
    model = nnx.eval_shape(lambda: MODELS[name](image_shape, 10, **sizes, rngs=nnx.Rngs(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))) == published


@pytest.mark.parametrize("name", MODELS)
def test_width_makes_a_network_narrower(name):
    depth = {"depth": 10} if name == "densenet" else {}

    def count(width):
        model = shapes_only(name, **({} if width == 1 else {"width": width}), **depth)
        return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))

    assert count(0.01) < count(0.5) < 0.6 * count(1.0)


@pytest.mark.parametrize("depth", [0, -4, 7, 21])
def test_a_resnet_of_impossible_depth_is_refused(depth):
    with pytest.raises(nowcast.UserError, match=f"model.depth={depth}"):
        MODELS["resnet"]((32, 32, 3), 10, depth=depth, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (1, 5, 7, 2)])
def test_max_pool_is_flax_max_pool_in_value_and_gradient(shape):
    x = jax.random.normal(jax.random.key(0), shape)
    weights = jax.random.normal(
        jax.random.key(1), (shape[0], shape[1] // 2, shape[2] // 2, shape[3])
    )
    theirs = lambda x: nnx.max_pool(x, (2, 2), strides=(2, 2))  # noqa: E731
    np.testing.assert_array_equal(max_pool(x), theirs(x))
    ours_grad, theirs_grad = (
        jax.grad(lambda x, f=f: jnp.sum(weights * f(x)))(x) for f in (max_pool, theirs)
    )
    np.testing.assert_array_equal(ours_grad, theirs_grad)
    assert np.count_nonzero(ours_grad) == weights.size


@pytest.mark.parametrize(
    "name",  # others: test_architectures.py
    [
        "lenet",
        "lstm",
        "mlp",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet", "vanilla_cnn")),
    ],
)
def test_a_small_architecture_learns(name):
    depth = {"depth": 8} if name == "resnet" else {}
    task = make_task(ModelConfig(name, width=0.25, **depth), DataConfig(train_size=64), 32)
    loop = Loop(task, optimizers.make("adam"))
    losses = [snapshot.train_loss for snapshot in loop.run(0, np.full(10, 3e-3, np.float32))][1:]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def test_batch_norm_statistics_change_in_training_and_not_in_evaluation():
    task = make_task(ModelConfig("resnet", width=0.25, depth=8), DataConfig(train_size=64), 32)
    params, extra = task.init(0)
    batch = task.batch(task.arrays, task.order(0, 0)[0])
    _, after = jax.jit(task.loss)(params, extra, batch, jax.random.key(0))
    assert jax.tree.structure(after) == jax.tree.structure(extra)
    assert np.abs(after["bn"]["mean"] - extra["bn"]["mean"]).max() > 1e-4
    first, second = (task.evaluate(params, e, "validation") for e in (extra, after))
    assert first == second  # evaluation estimates its own


def test_evaluation_uses_the_statistics_that_training_would_converge_to():
    task = make_task(ModelConfig("resnet", width=0.25, depth=8), DataConfig(train_size=64), 64)
    params, extra = task.init(0)
    params = jax.tree.map(lambda leaf: 1.3 * leaf, params)  # the weights have just jumped
    everything = task.batch(task.arrays, task.order(0, 0)[0])
    loss = jax.jit(task.loss)
    for _ in range(200):  # the running averages of Flax, with weights and batch held still
        _, extra = loss(params, extra, everything, jax.random.key(0))
    digits = data.load("digits")
    images, labels = jnp.asarray(digits.images["validation"]), digits.labels["validation"]
    module = MODELS["resnet"]((8, 8, 1), 10, width=0.25, depth=8, rngs=nnx.Rngs(0))
    nnx.update(module, params, extra)
    module.eval()
    logits = nnx.jit(lambda module: module(images))(module)
    expected = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))
    assert task.evaluate(params, task.init(0)[1], "validation")["loss"] == pytest.approx(
        float(expected), rel=1e-4
    )


def test_top_5_accuracy_is_measured_from_100_classes_on():
    rng = np.random.default_rng(0)
    images = {split: rng.uniform(size=(100, 4, 4, 1)).astype(np.float32) for split in SPLITS}
    labels = {split: np.arange(100, dtype=np.int32) for split in SPLITS}
    task = Classification("mlp", Dataset("noise", 100, images, labels), batch_size=10, width=0.1)
    params, extra = task.init(0)
    logits = nnx.merge(task._evaluating, params, extra)(jnp.asarray(images["test"]))
    for spoilt in (np.nan, 0.0):  # no network that tells nothing is right
        ruined = jax.tree.map(lambda leaf, value=spoilt: jnp.full_like(leaf, value), params)
        assert task.evaluate(ruined, extra, "test")["top5_accuracy"] == 0
    best = np.argsort(-np.asarray(logits), axis=1)[:, :5]
    found = task.evaluate(params, extra, "test")
    assert list(found) == ["loss", "accuracy", "top5_accuracy"]
    assert found["accuracy"] == pytest.approx(np.mean(best[:, 0] == labels["test"]))
    assert found["top5_accuracy"] == pytest.approx(
        np.mean((best == labels["test"][:, None]).any(1))
    )


def test_dropout_follows_the_key_in_training_and_is_off_in_evaluation():
    rng = np.random.default_rng(0)
    images = {split: rng.uniform(size=(8, 67, 67, 3)).astype(np.float32) for split in SPLITS}
    labels = {split: np.arange(8, dtype=np.int32) for split in SPLITS}
    noise = Dataset("noise", 8, images, labels)
    task = Classification("alexnet", noise, batch_size=8, width=0.03)
    params, extra = task.init(0)
    batch = task.batch(task.arrays, jnp.arange(8))
    loss = jax.jit(lambda key: task.loss(params, extra, batch, key)[0])
    first, again, other = (float(loss(jax.random.key(seed))) for seed in (0, 0, 1))
    assert first == again != other
    logits = nnx.merge(task._evaluating, params, extra)(jnp.asarray(images["test"]))
    plain = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, jnp.arange(8)))
    assert task.evaluate(params, extra, "test")["loss"] == pytest.approx(float(plain), rel=1e-5)


def test_evaluation_is_the_mean_over_the_whole_split():
    task = make_task(ModelConfig("mlp", width=0.1), DataConfig(), 32)
    params, extra = task.init(0)
    digits = data.load("digits")
    images, labels = digits.images["test"], digits.labels["test"]
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    x = images.reshape(len(images), -1).astype(np.float64)
    for name in ("fc1", "fc2"):
        x = np.maximum(x @ p[name]["kernel"] + p[name]["bias"], 0)
    logits = x @ p["head"]["kernel"] + p["head"]["bias"]
    right = logits[np.arange(len(labels)), labels]
    got = task.evaluate(params, extra, "test")
    assert got["loss"] == pytest.approx(
        np.mean(np.log(np.exp(logits).sum(axis=1)) - right), rel=1e-5
    )
    assert got["accuracy"] == pytest.approx(np.mean(logits.argmax(axis=1) == labels), abs=1e-6)


def test_standardized_images_have_mean_0_and_deviation_1_of_the_training_set():
    task = make_task(ModelConfig("mlp"), DataConfig("digits", standardize=True), 1285)
    images, _ = task.batch(task.arrays, np.arange(1285))
    plain = data.load("digits").images
    np.testing.assert_allclose(np.asarray(images).mean(), 0, atol=1e-5)
    np.testing.assert_allclose(np.asarray(images).std(), 1, atol=1e-5)
    np.testing.assert_allclose(
        images, (plain["train"] - plain["train"].mean()) / plain["train"].std(), atol=1e-5
    )


def test_what_is_evaluated_is_standardized_alike():
    """The network that undoes it in its first layer has the same losses."""
    plain, standard = (
        make_task(ModelConfig("mlp"), DataConfig("digits", standardize=s), 64)
        for s in (False, True)
    )
    params, extra = plain.init(0)
    images = data.load("digits").images["train"]
    first = params["fc1"]
    kernel = first["kernel"]
    first["bias"] = first["bias"] + images.mean() * kernel.sum(0)
    first["kernel"] = kernel * images.std()
    undone = standard.evaluate(params, extra, "validation")
    assert undone == pytest.approx(plain.evaluate(*plain.init(0), "validation"), rel=1e-5)


def test_a_channel_that_is_the_same_everywhere_is_left_at_0():
    images = np.zeros((8, 4, 4, 2), np.uint8)
    images[:4, ..., 0] = 255
    labels = np.zeros(8, np.int32)
    same = data.Dataset(
        "same", 2, {"train": images, "test": images}, {"train": labels, "test": labels}
    )
    task = Classification("mlp", same, batch_size=8, standardize=True)
    batch, _ = task.batch(task.arrays, np.arange(8))
    np.testing.assert_array_equal(np.asarray(batch)[:, 0, 0], [[1, 0]] * 4 + [[-1, 0]] * 4)


def test_a_network_with_batch_norm_sees_centred_images_everywhere():
    rng = np.random.default_rng(0)
    images = {s: rng.integers(0, 256, (12, 24, 24, 3)).astype(np.uint8) for s in SPLITS}
    labels = {s: np.arange(12, dtype=np.int32) % 10 for s in SPLITS}
    mean = images["train"].mean(axis=0) / 255
    less = {s: (images[s] / 255 - mean).astype(np.float32) for s in SPLITS}
    ours, theirs = (
        Classification(
            "introspection_cifar1",
            Dataset("noise", 10, these, labels),
            batch_size=4,
            width=0.05,
            center=center,
        )
        for these, center in ((images, True), (less, False))
    )
    start = ours.init(0)
    expected = theirs.evaluate(*start, "test")
    assert ours.evaluate(*start, "test") == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kept", [np.uint8, np.float32])
def test_centred_images_are_less_the_mean_training_image_before_they_are_augmented(kept):
    rng = np.random.default_rng(0)
    images = {split: rng.integers(0, 256, (600, 8, 8, 3)).astype(kept) for split in SPLITS}
    if kept == np.float32:
        images = {split: each / np.float32(255) for split, each in images.items()}
    labels = {split: np.arange(600, dtype=np.int32) % 10 for split in SPLITS}
    given = {"batch_size": 5, "augment": "crop_flip", "width": 0.1}
    task = Classification("mlp", Dataset("noise", 10, images, labels), center=True, **given)
    whole = np.float64(images["train"]) / (255 if kept == np.uint8 else 1)
    wanted = np.float32(whole[:5] - whole.mean(axis=0))
    plain, _ = task.batch(task.arrays, np.arange(5))
    np.testing.assert_allclose(plain, wanted, atol=1e-6)
    key = jax.random.key(0)
    augmented, _ = task.batch(task.arrays, np.arange(5), key)
    np.testing.assert_allclose(
        augmented, AUGMENTS["crop_flip"](key, jnp.asarray(wanted)), atol=1e-6
    )
    params, extra = task.init(0)
    logits = nnx.merge(task._evaluating, params, extra)(
        jnp.asarray(np.float64(images["test"]) / (255 if kept == np.uint8 else 1) - whole.mean(0))
    )
    right = jnp.mean(jnp.argmax(logits, axis=-1) == labels["test"])
    assert task.evaluate(params, extra, "test")["accuracy"] == pytest.approx(float(right))


def test_a_run_says_that_its_data_were_standardized():
    assert DataConfig("digits").identity == {"name": "digits", "train_size": None}
    for key in ("standardize", "center"):
        assert DataConfig("digits", **{key: True}).identity == {
            "name": "digits",
            "train_size": None,
            key: True,
        }


def test_the_published_cnn_begins_from_glorots_uniform_distribution():
    task = make_task(ModelConfig("vanilla_cnn_glorot"), DataConfig("digits"), 32)
    params, _ = task.init(0)
    for path, leaf in jax.tree.leaves_with_path(params):
        if leaf.ndim == 1:
            assert not leaf.any()
            continue
        ends = np.prod(leaf.shape[:-2]) * sum(leaf.shape[-2:])
        limit = np.sqrt(6 / ends)
        assert np.abs(leaf).max() <= limit, path
        np.testing.assert_allclose(np.std(leaf), limit / np.sqrt(3), rtol=0.15, err_msg=str(path))
