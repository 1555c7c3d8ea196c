"""Optimizers whose rate is an argument, and schedules: they are optax's own, and the papers'."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from collect.training import optimizers
from collect.training.optimizers import GRIDS, OPTIMIZERS, PUBLISHED, judged, make, rates

RATES = np.array([0.1, 0.05, 0.2, 0.01], np.float32)
MATRIX = optax.contrib.MuonDimensionNumbers
THEIRS = {
    "adam": optax.adam,
    "adamw": lambda rate: optax.adamw(rate, weight_decay=1e-2),
    "momentum": lambda rate: optax.sgd(rate, momentum=0.9),
    "sgd": optax.sgd,
    "muon": lambda rate: optax.contrib.muon(
        rate,
        muon_weight_dimension_numbers={
            "bias": None,
            "conv": MATRIX((0, 1, 2), 3),
            "fc": MATRIX(0, 1),
        },
        consistent_rms=0.2,
    ),
    "prodigy": optax.contrib.prodigy,
    "dadapt_adamw": optax.contrib.dadapt_adamw,
    "mechanize": lambda rate: optax.contrib.mechanize(optax.adam(rate)),
}


def params(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"bias": (5,), "conv": (3, 3, 4, 6), "fc": (7, 5)}
    return {
        name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()
    }


def ours(name, gradients, each):
    """``(weights, state)`` after every step with these rates."""
    tx, at = make(name), params()
    state = tx.init(at)
    step = jax.jit(
        lambda gradient, state, at, rate: tx.update(gradient, state, at, learning_rate=rate)
    )
    for gradient, rate in zip(gradients, each, strict=True):
        updates, state = step(gradient, state, at, rate)
        at = optax.apply_updates(at, updates)
        yield at, state


@pytest.mark.parametrize("name", THEIRS)
def test_an_optimizer_with_the_rate_as_argument_is_optaxs_own_with_that_schedule(name):
    theirs, at = THEIRS[name](lambda count: jnp.asarray(RATES)[count]), params()
    state = theirs.init(at)
    gradients = [params(seed) for seed in range(1, 5)]
    for gradient, (got, _) in zip(gradients, ours(name, gradients, RATES), strict=True):
        updates, state = theirs.update(gradient, state, at)
        at = optax.apply_updates(at, updates)
        for key in at:
            np.testing.assert_allclose(got[key], at[key], rtol=1e-4, atol=1e-6)


def test_schedule_free_trains_between_what_it_steps_from_and_the_average_that_it_is_judged_by():
    gradients, b1, b2 = [params(seed) for seed in range(1, 5)], 0.9, 0.999
    path = list(ours("schedule_free", gradients, RATES))
    for key, begun in params().items():
        x = z = np.asarray(begun, np.float64)
        square = weights = top = 0.0
        for step, (gradient, rate, (got, state)) in enumerate(
            zip(gradients, RATES, path, strict=True), start=1
        ):
            g, rate, top = np.asarray(gradient[key], np.float64), float(rate), max(top, float(rate))
            square = b2 * square + (1 - b2) * g**2
            z = z - rate * g / (np.sqrt(square / (1 - b2**step)) + 1e-8)
            weights += top**2
            x = x + top**2 / weights * (z - x)
            np.testing.assert_allclose(got[key], b1 * x + (1 - b1) * z, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(
                judged("schedule_free", got, state)[key], x, rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize("name", THEIRS)
def test_all_others_are_judged_by_the_weights_that_they_train(name):
    at = params()
    assert judged(name, at, make(name).init(at)) is at


def test_muon_makes_all_directions_of_a_kernel_as_long():
    gradient = params(1)
    moved, _ = next(ours("muon", [gradient], [0.1]))
    for key, inputs, outputs in (("conv", 3 * 3 * 4, 6), ("fc", 7, 5)):
        update = np.asarray(moved[key] - params()[key]).reshape(inputs, outputs)
        u, _, v = np.linalg.svd(
            np.asarray(gradient[key]).reshape(inputs, outputs), full_matrices=False
        )
        length = 0.1 * 0.2 * np.sqrt(max(inputs, outputs))
        values = np.linalg.svd(update, compute_uv=False) / length
        assert values.min() > 0.6, values  # its iteration stops between 0.7 and 1.2
        assert values.max() < 1.25, values
        along = -np.sum(update * (u @ v)) / np.linalg.norm(update) / np.linalg.norm(u @ v)
        assert along > 0.98


def test_muon_leaves_biases_to_adam_with_nesterovs_momentum():
    gradients = [{"bias": params(seed)["bias"]} for seed in range(1, 5)]
    theirs, at = optax.nadam(0.1), {"bias": params()["bias"]}
    state = theirs.init(at)
    full = [params(seed) for seed in range(1, 5)]
    for gradient, (got, _) in zip(gradients, ours("muon", full, [0.1] * 4), strict=True):
        updates, state = theirs.update(gradient, state)
        at = optax.apply_updates(at, updates)
        np.testing.assert_allclose(got["bias"], at["bias"], rtol=1e-4, atol=1e-6)


def test_every_optimizer_has_a_grid_that_climbs():
    assert GRIDS.keys() == {*OPTIMIZERS, *PUBLISHED}
    assert all(list(grid) == sorted(set(grid)) and len(grid) >= 5 for grid in GRIDS.values())


def test_schedules_are_optaxs_own():
    np.testing.assert_allclose(rates("constant", 0.3, 5), [0.3] * 5, rtol=1e-6)
    np.testing.assert_allclose(
        rates("step", 0.3, 8), [0.3, 0.3, 0.3, 0.3, 0.03, 0.03, 0.003, 0.003], rtol=1e-6
    )
    warm = optax.warmup_cosine_decay_schedule(0, 0.3, warmup_steps=10, decay_steps=50)
    climbing = rates("cosine", 0.3, 50, warmup=0.2)
    # Optax's first rate is 0.
    np.testing.assert_allclose(climbing[:10], [warm(i + 1) for i in range(10)], rtol=1e-4)
    np.testing.assert_allclose(climbing[10:], [warm(i) for i in range(10, 50)], rtol=1e-4)
    theirs = optax.cosine_decay_schedule(0.3, 50)
    np.testing.assert_allclose(rates("cosine", 0.3, 50), [theirs(i) for i in range(50)], rtol=1e-4)


def test_wsd_is_held_then_falls_evenly_to_0_over_the_last_fifth():
    fall = optax.join_schedules(
        [optax.constant_schedule(0.3), optax.linear_schedule(0.3, 0, 10)], [40]
    )
    np.testing.assert_allclose(rates("wsd", 0.3, 50), [fall(i) for i in range(50)], rtol=1e-5)
    np.testing.assert_allclose(rates("wsd", 1, 5), [1, 1, 1, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(rates("wsd", 1, 10), [1] * 9 + [0.5], rtol=1e-6)


def test_wsd_climbs_first_where_there_is_a_warm_up():
    warm = rates("wsd", 0.3, 60, warmup=1 / 6)
    np.testing.assert_allclose(warm[:10], 0.03 * np.arange(1, 11), rtol=1e-6)
    np.testing.assert_array_equal(warm[10:], rates("wsd", 0.3, 50))


def test_inverse_and_staircase_follow_the_step_whatever_the_runs_length():
    steps = np.arange(10_000)
    inverse = rates("inverse", 0.01, 10_000)
    np.testing.assert_allclose(inverse, 0.01 * (1 + 1e-4 * steps) ** -0.75, rtol=1e-6)
    np.testing.assert_allclose(inverse[-1], 0.01 * 1.9999**-0.75, rtol=1e-6)
    np.testing.assert_array_equal(rates("inverse", 0.01, 500), inverse[:500])
    stairs = rates("staircase", 0.1, 300_000)
    theirs = optax.exponential_decay(0.1, 136_718, 0.1, staircase=True)
    for step in (0, 136_717, 136_718, 273_435, 273_436, 299_999):
        np.testing.assert_allclose(stairs[step], theirs(step), rtol=1e-5)
    np.testing.assert_array_equal(rates("staircase", 0.1, 40_170), np.float32(0.1))


def test_tenths_and_inception_are_introspections():
    tenths, theirs = (
        rates("tenths", 0.01, 198_176),
        optax.exponential_decay(0.01, 100_000, 0.1, staircase=True),
    )
    for step in (0, 99_999, 100_000, 198_175):
        np.testing.assert_allclose(tenths[step], theirs(step), rtol=1e-5)
    inception = rates("inception", 0.01, 60_000)
    falls = np.flatnonzero(np.diff(inception)) + 1
    np.testing.assert_array_equal(falls, [20_019, 40_037])  # 2 and 4 epochs of 10,009.1 steps
    np.testing.assert_allclose(inception[[0, 30_000, -1]], 0.01 * 0.94 ** np.arange(3), rtol=1e-5)


def test_rmsprop_1_is_tensorflows():
    """The mean square begins at 1, ε is inside of the root, and momentum comes last."""
    optimizer = optimizers.make("rmsprop_1")
    weights, square, momentum = 0.5, 1.0, 0.0
    params = jnp.array(weights)
    state = optimizer.init(params)
    for step in range(4):
        gradient, rate = 2 * weights + 1, 0.01 / (step + 1)
        updates, state = optimizer.update(2 * params + 1, state, params, learning_rate=rate)
        params = optax.apply_updates(params, updates)
        square = 0.9 * square + 0.1 * gradient**2
        momentum = 0.9 * momentum + rate * gradient / np.sqrt(square + 1.0)
        weights -= momentum
        np.testing.assert_allclose(params, weights, rtol=1e-6)


@pytest.mark.parametrize("schedule", optimizers.SCHEDULES)
def test_a_run_shorter_than_its_schedules_parts_has_rates_all_the_same(schedule):
    for steps in (1, 2, 3):
        values = rates(schedule, 0.3, steps, warmup=0.5)
        assert values.shape == (steps,)
        assert (values > 0).all()


def test_exponential_falls_to_a_hundredth_evenly_in_the_logarithm():
    theirs = optax.exponential_decay(1e-3, 200, 0.01)
    ours = rates("exponential", 1e-3, 200)
    np.testing.assert_allclose(ours, [theirs(step) for step in range(200)], rtol=1e-5)


def test_up_flat_down_is_the_published_rate_at_the_beginning_of_each_epoch():
    def published(epoch):  # 45 epochs: 5 up, 20 flat, 20 down
        if epoch < 5:
            return 1e-4 + 0.5 * 2.4e-3 * (1 - np.cos(epoch / 5 * np.pi))
        if epoch < 25:
            return 2.5e-3
        return 1e-4 + 0.5 * 2.4e-3 * (1 + np.cos((epoch - 25) / 20 * np.pi))

    ours = rates("up_flat_down", 2.5e-3, 45 * 390)
    np.testing.assert_allclose(ours[::390], [published(i) for i in range(45)], rtol=1e-5)
    assert ours[-1] == pytest.approx(1e-4, rel=1e-3)
