"""Augmentation: against SciPy and NumPy, its distributions, and the same draws for every arm, after
a resume, on any device.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from collect.config import AugmentConfig, DataConfig, ModelConfig
from collect.data import augment
from collect.data.augment import AUGMENTS
from collect.population import collect_population, make_task
from collect.training import optimizers
from collect.training.loop import Loop, State

IMAGES = jax.random.uniform(jax.random.key(7), (64, 12, 10, 3))


def keras_transform(image, degrees, tx, ty, zx, zy):
    """``apply_affine_transform`` of Keras's preprocessing with SciPy, bilinear, fill mode
    "nearest".
    """
    theta = np.deg2rad(degrees)
    rotation = np.array(
        [[np.cos(theta), -np.sin(theta), 0], [np.sin(theta), np.cos(theta), 0], [0, 0, 1]]
    )
    matrix = rotation @ np.array([[1, 0, tx], [0, 1, ty], [0, 0, 1]]) @ np.diag([zx, zy, 1])
    height, width, channels = image.shape
    to, back = np.eye(3), np.eye(3)
    to[:2, 2] = height / 2 - 0.5, width / 2 - 0.5
    back[:2, 2] = -to[:2, 2]
    matrix = to @ matrix @ back
    planes = [
        scipy.ndimage.affine_transform(
            image[..., c], matrix[:2, :2], matrix[:2, 2], order=1, mode="nearest"
        )
        for c in range(channels)
    ]
    return np.stack(planes, axis=-1)


@pytest.mark.parametrize(
    ("degrees", "tx", "ty", "zx", "zy"),
    [
        (0, 0, 0, 1, 1),
        (10, 0, 0, 1, 1),
        (0, 1.7, -0.6, 1, 1),
        (0, 0, 0, 0.7, 1.3),
        (-7.5, 1.2, 1.5, 1.25, 0.8),
    ],
)
def test_resampling_is_that_of_keras_by_scipy(degrees, tx, ty, zx, zy):
    image = np.asarray(IMAGES[0])
    got = augment.resample(
        IMAGES[0],
        jnp.deg2rad(float(degrees)),
        jnp.array([tx, ty], jnp.float32),
        jnp.array([zx, zy], jnp.float32),
    )
    np.testing.assert_allclose(
        got, keras_transform(image.astype(np.float64), degrees, tx, ty, zx, zy), atol=1e-5
    )
    # No transformation: the image.
    assert (degrees, tx, zx) != (0, 0, 1) or np.allclose(got, image, atol=1e-6)


def test_rotation_shift_zoom_draws_the_published_ranges():
    ramp = np.stack(
        np.meshgrid(np.arange(40.0), np.arange(32.0), indexing="ij"), axis=-1
    ) - np.array([19.5, 15.5])
    images = jnp.broadcast_to(jnp.asarray(ramp, jnp.float32), (2000, 40, 32, 2))
    # On coordinates themselves the result is the affine map; read it off four pixels near the
    # centre.
    out = np.asarray(
        jax.jit(AUGMENTS["rotation_shift_zoom"])(jax.random.key(0), images)[:, 19:21, 15:17]
    )
    down, across = out[:, 1, 0] - out[:, 0, 0], out[:, 0, 1] - out[:, 0, 0]
    zooms = np.hypot(*down.T), np.hypot(*across.T)
    angle = np.arctan2(down[:, 1], down[:, 0])
    np.testing.assert_allclose(angle, np.arctan2(-across[:, 0], across[:, 1]), atol=1e-3)
    moved = out.mean(axis=(1, 2))
    cos, sin = np.cos(angle), np.sin(angle)
    shifts = (
        (cos * moved[:, 0] + sin * moved[:, 1]) / 40,
        (-sin * moved[:, 0] + cos * moved[:, 1]) / 32,
    )
    for values, low, high in [
        (np.rad2deg(angle), -10, 10),
        (shifts[0], -0.15, 0.15),
        (shifts[1], -0.15, 0.15),
        (zooms[0], 0.7, 1.3),
        (zooms[1], 0.7, 1.3),
    ]:
        width = high - low
        assert low - 1e-3 * width < values.min() < low + 0.01 * width
        assert high - 0.01 * width < values.max() < high + 1e-3 * width
        assert values.mean() == pytest.approx((low + high) / 2, abs=4 * width / np.sqrt(12 * 2000))
    drawn = np.corrcoef([angle, *shifts, *zooms])
    assert np.abs(drawn - np.eye(5)).max() < 0.1


def test_crop_flip_gives_crops_of_the_padded_image_mirrored_or_not():
    got = np.asarray(AUGMENTS["crop_flip"](jax.random.key(1), IMAGES))
    seen = set()
    for image, out in zip(np.asarray(IMAGES), got, strict=True):
        padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
        matches = [
            (i, j, step)
            for i, j, step in itertools.product(range(9), range(9), (1, -1))
            if np.array_equal(padded[i : i + 12, j : j + 10][:, ::step], out)
        ]
        assert len(matches) == 1
        seen.update(matches)
    assert {i for i, _, _ in seen} == {j for _, j, _ in seen} == set(range(9))
    assert 16 < sum(step == 1 for _, _, step in seen) < 48


@pytest.mark.parametrize("name", AUGMENTS)
def test_draws_depend_on_the_key_alone_and_stay_in_range(name):
    function = AUGMENTS[name]
    eager, jitted = (
        function(jax.random.key(3), IMAGES),
        jax.jit(function)(jax.random.key(3), IMAGES),
    )
    np.testing.assert_allclose(eager, jitted, atol=1e-5)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put(IMAGES, jax.NamedSharding(mesh, jax.P("data")))
    np.testing.assert_allclose(jax.jit(function)(jax.random.key(3), spread), jitted, atol=1e-6)
    assert (jitted.shape, jitted.dtype) == (IMAGES.shape, IMAGES.dtype)
    assert jitted.min() >= 0
    assert jitted.max() <= 1
    other = function(jax.random.key(4), IMAGES)
    assert (np.abs(other - eager).mean() > 0.05) == (name != "none")


@pytest.fixture(scope="module")
def tasks():
    model, digits = ModelConfig("mlp", width=0.1), DataConfig(train_size=128)
    return {name: make_task(model, digits, 32, AugmentConfig(name)) for name in AUGMENTS}


def weights(loop, seed, **keywords):
    rates = np.full(8, 1e-2, np.float32)
    return [
        jax.device_get((snapshot.state, snapshot.train_loss))
        for snapshot in loop.run(seed, rates, **keywords)
    ]


def same(first, second):
    return all(
        np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (first, second)), strict=True)
    )


def test_training_sees_other_images_at_every_step_and_seed_and_the_same_after_a_resume(tasks):
    loop, plain = (
        Loop(tasks[name], optimizers.make("adam")) for name in ("rotation_shift_zoom", "none")
    )
    whole = weights(loop, 0, record_every=2)
    assert same(whole[1:], weights(Loop(loop.task, optimizers.make("adam")), 0, record_every=2)[1:])
    resumed = weights(
        loop, 0, record_every=2, state=State(*jax.tree.map(jnp.asarray, whole[2][0])), first_step=4
    )
    assert same(resumed[1:], whole[3:])
    assert not same(whole[1:], weights(plain, 0, record_every=2)[1:])
    seen = []
    watched = jax.jit(lambda key: loop.task.batch(loop.task.arrays, np.arange(4), key)[0])
    for seed, step in itertools.product((0, 1), (0, 1)):
        key = jax.random.fold_in(jax.random.key(seed), step)
        seen.append(np.asarray(watched(key)).tobytes())
    assert len(set(seen)) == 4


def test_evaluation_and_batches_without_a_key_are_never_augmented(tasks):
    params, extra = tasks["none"].init(0)
    plain, turned = tasks["none"], tasks["rotation_shift_zoom"]
    assert plain.evaluate(params, extra, "validation") == turned.evaluate(
        params, extra, "validation"
    )
    for key in (None, jax.random.key(0)):
        images = plain.batch(plain.arrays, np.arange(8), key)[0]
        np.testing.assert_array_equal(images, plain.arrays[0][:8])
    np.testing.assert_array_equal(turned.batch(turned.arrays, np.arange(8))[0], plain.arrays[0][:8])


def test_every_run_says_how_its_images_were_augmented(tmp_path, corpus_config):
    from collect import corpus

    for name in ("none", "crop_flip"):
        collect_population(
            corpus_config(tmp_path / "corpus", runs=1, epochs=1, augment=AugmentConfig(name))
        )
    runs = corpus.open(tmp_path / "corpus").runs
    assert sorted(run.config["augment"] for run in runs) == ["crop_flip", "none"]
    assert all(run.config["data"] == {"name": "digits", "train_size": None} for run in runs)
