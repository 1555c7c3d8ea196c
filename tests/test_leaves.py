"""Leaves are drawn as the inner products that their weights have, and a fit to those is a fit to
the weights.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nowcast
from collect.corpus.leaf import Leaf
from meta_train import objective, validate
from meta_train.leaves import STRIDES, Leaves, split
from meta_train.source import Rule
from nowcast.forecasters import Gram
from nowcast.forecasters.gram import coefficients, features, init_network
from nowcast.forecasters.learned import NETWORKS

RULE = Rule(5, 3, many=True)
SIZES = {"fc": 30, "conv": 7, "bias": 5, "norm": 4}


class Walk:
    """A run whose weights walk at random."""

    def __init__(self, number=0, snapshots=30, task="made-up"):
        self.id = self.path = f"run{number}"
        self.config = {"task": task, "number": number}
        starts = np.cumsum([0, *SIZES.values()]).tolist()
        self.leaves = [
            Leaf(op, (n,), op, at) for (op, n), at in zip(SIZES.items(), starts, strict=False)
        ]
        self.status = "complete"
        self.snapshots, self.band = snapshots, None
        steps = np.random.default_rng(number).normal(size=(snapshots, starts[-1]))
        self.weights = np.cumsum(np.cumsum(steps, axis=0) * 0.1 + steps, axis=0).astype(np.float32)


def random_gram(seed=0, **settings):
    keys = jax.random.split(jax.random.key(seed), 3)
    params = {
        name: init_network(key, 5, 3)
        for name, key in zip(("conv", "fc", "bias"), keys, strict=True)
    }
    params = jax.tree.map(
        lambda p: p + 0.1 * jax.random.normal(jax.random.key(seed + 9), p.shape), params
    )
    return Gram(params=params, horizon=2, longest=3, **settings)


def places(run, op, rows):
    """For each row, the window and targets (8, n) of the one place whose inner products it has; its
    number; and how far from those it is.
    """
    leaf = next(leaf for leaf in run.leaves if leaf.op == op)
    weights = run.weights[:, leaf.start : leaf.start + leaf.size].astype(np.float64)
    weights = np.concatenate([weights, np.full((3 * max(STRIDES), leaf.size), np.nan)])
    known = [
        weights[first + stride * np.arange(8)]
        for stride in STRIDES
        for first in range(1, len(run.weights) - 5 * stride)
        if np.ptp(weights[first + stride * np.arange(5)], axis=0).any()
    ]
    moved = [np.diff(window[:5], axis=0) for window in known]
    grams = np.array([d @ d.T / np.mean(np.sum(d * d, axis=1)) for d in moved]).reshape(
        len(known), -1
    )
    away = np.array([np.abs(grams - row[:16]).max(axis=1) for row in rows])
    which = np.argmin(away, axis=1)
    return [known[i] for i in which], which, away.min(axis=1)


@pytest.mark.parametrize("op", ["fc", "conv", "bias"])
def test_a_row_holds_the_inner_products_of_one_window_and_of_what_came_after(unchecked, op):
    run = Walk()
    rows = Leaves([run], NETWORKS, RULE).handful(op, 200, (0, 1))
    assert rows.shape == (200, 16 + 3 * 4 + 3)
    ended = 0
    for row, window in zip(rows, places(run, op, rows)[0], strict=True):
        moved, ahead = np.diff(window[:5], axis=0), window[5:] - window[4]
        unit = np.mean(np.sum(moved**2, axis=1))
        np.testing.assert_allclose(
            row[:16].reshape(4, 4), moved @ moved.T / unit, rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(
            row[16:28].reshape(3, 4), ahead @ moved.T / unit, rtol=1e-4, atol=1e-4
        )
        np.testing.assert_allclose(row[28:], np.sum(ahead**2, axis=1) / unit, rtol=1e-4)
        ended += np.isnan(window).any()
    assert 0 < ended < 200  # some windows end with the run, and their later targets are not there


def test_every_start_and_stride_is_drawn_but_never_the_untrained_weights(unchecked):
    run = Walk()
    run.weights[0] = np.nan
    rows = Leaves([run], NETWORKS, RULE).handful("fc", 2000, (0, 1))
    _, which, away = places(run, "fc", rows)
    assert away.max() < 1e-3
    assert set(which) == set(range(sum(len(run.weights) - 1 - 5 * stride for stride in STRIDES)))


def test_tasks_are_drawn_alike_however_many_runs_they_have(unchecked):
    runs = [Walk(0), *(Walk(number, task="another") for number in (1, 2, 3))]
    source = Leaves(runs, NETWORKS, RULE)
    rows = np.concatenate([source.handful("fc", 1, (0, i)) for i in range(400)])
    nearest = np.argmin([places(run, "fc", rows)[2] for run in runs], axis=0)
    shares = np.bincount(nearest, minlength=4) / 400
    assert shares[0] == pytest.approx(1 / 2, abs=0.1)
    assert shares[1:] == pytest.approx(1 / 6, abs=0.06)


def test_a_draw_is_determined_by_its_key(unchecked):
    first, again = (Leaves([Walk(0), Walk(1)], NETWORKS, RULE) for _ in range(2))
    np.testing.assert_array_equal(first.handful("fc", 20, (3, 1)), again.handful("fc", 20, (3, 1)))
    assert (
        first.handful("fc", 20, (3, 1))[:, :16] != first.handful("fc", 20, (3, 2))[:, :16]
    ).any()


def test_leaves_that_stand_still_or_diverge_are_left_out(unchecked):
    unmoved, diverged = Walk(), Walk()
    unmoved.weights[:] = 1
    diverged.weights[10:] = np.inf
    with pytest.raises(nowcast.UserError, match="no finite leaves for fc"):
        Leaves([unmoved], NETWORKS, RULE).handful("fc", 10, (0, 0))
    rows = Leaves([diverged], NETWORKS, RULE).handful("fc", 50, (0, 0))
    assert np.isfinite(rows[:, :16]).all()
    assert np.isfinite(rows[:, 28]).all()
    short = Walk(7, snapshots=6)
    with pytest.raises(nowcast.UserError, match="run7 has 6 snapshots"):
        Leaves([short], NETWORKS, RULE)


def test_a_network_that_dies_and_stands_still_leaves_rows_that_can_be_fitted_to(unchecked):
    run = Walk(snapshots=40)
    alive = np.diff(run.weights, axis=0)
    # As Adam's mean does without gradients.
    fading = np.where(np.arange(39) < 8, 1e4, 0.3 ** (np.arange(39) - 7.0))
    path = np.concatenate([run.weights[:1], alive * fading[:, None]])
    run.weights = np.cumsum(path, axis=0).astype(np.float32)
    rows = Leaves([run], NETWORKS, RULE).handful("fc", 300, (0, 0))
    grams, _, _ = split(rows, 5)
    assert (np.diagonal(grams, axis1=1, axis2=2) >= 0).all()
    _, which, away = places(run, "fc", rows)
    assert len(set(which.tolist())) > 5
    assert away.max() < 1e-3  # what is left is movement, and no rounding
    error = objective.error(Gram, random_gram().params["fc"], jnp.asarray(rows), 5)
    assert np.isfinite(float(error))


def test_the_error_of_rows_is_that_of_the_forecast_of_the_weights(unchecked):
    run, forecaster = Walk(), random_gram()
    rows = Leaves([run], NETWORKS, RULE).handful("fc", 40, (0, 1))
    gram = jnp.asarray(rows[:, :16].reshape(-1, 4, 4))
    errors = np.asarray(
        objective.squared(coefficients(forecaster.params["fc"], gram), *split(jnp.asarray(rows), 5))
    )
    for error, window in zip(errors, places(run, "fc", rows)[0], strict=True):
        unit = np.mean(np.sum(np.diff(window[:5], axis=0) ** 2, axis=1))
        for horizon in (1, 2, 3):
            if np.isnan(window[4 + horizon]).any():
                assert np.isnan(error[horizon - 1])
                continue
            there = np.asarray(forecaster.leaf(jnp.asarray(window[:5], jnp.float32), "fc", horizon))
            wrong = np.sum((there - window[4 + horizon]) ** 2)
            moved = np.sum((window[4 + horizon] - window[4]) ** 2)
            assert error[horizon - 1] == pytest.approx(wrong / (moved + 4 * unit), rel=1e-3)
    mean = float(objective.error(Gram, forecaster.params["fc"], jnp.asarray(rows), 5))
    assert mean == pytest.approx(np.nanmean(errors), rel=1e-5)
    grads = jax.grad(lambda p: objective.error(Gram, p, jnp.asarray(rows), 5))(
        forecaster.params["fc"]
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_scores_are_of_the_same_squared_error_for_all(unchecked):
    runs, forecaster = [Walk(0), Walk(1)], random_gram()
    drawn = {"fc": [Leaves([run], NETWORKS, RULE).handful("fc", 60, (0, 1)) for run in runs]}
    table = validate.scores(forecaster, drawn)["fc"]
    assert list(table) == ["1", "2", "3"]
    for name in ("linear", "last_value", "quadratic"):
        rival, means = nowcast.load(name), []
        for run, rows in zip(runs, drawn["fc"], strict=True):
            each = []
            for window in places(run, "fc", rows)[0]:
                unit = np.mean(np.sum(np.diff(window[:5], axis=0) ** 2, axis=1))
                there = np.asarray(rival.leaf(jnp.asarray(window[:5], jnp.float32), "fc", 2))
                each.append(
                    np.sum((there - window[6]) ** 2)
                    / (np.sum((window[6] - window[4]) ** 2) + 4 * unit)
                )
            means.append(np.nanmean(each))
        assert table["2"][name]["normalised"] == pytest.approx(np.mean(means), rel=1e-3)
    assert "weight" not in table["2"]["gram"]
    assert "gram" in validate.table({"fc": table})


def test_a_gram_sees_neither_scale_nor_rotation_and_keeps_what_stands_still(unchecked):
    forecaster = random_gram()
    history = jnp.asarray(
        np.random.default_rng(0).normal(size=(5, 6, 4)).cumsum(axis=0), jnp.float32
    )
    there = forecaster.leaf(history, "fc", 3)
    turn = jnp.asarray(np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0], jnp.float32)
    np.testing.assert_allclose(
        forecaster.leaf(-7 * history, "fc", 3), -7 * there, rtol=1e-4, atol=1e-3
    )
    np.testing.assert_allclose(
        forecaster.leaf(history @ turn, "fc", 3), there @ turn, rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        forecaster.leaf(history + 5, "fc", 3), there + 5, rtol=1e-4, atol=1e-4
    )
    unmoved = jnp.ones((5, 6, 4))
    np.testing.assert_array_equal(forecaster.leaf(unmoved, "fc", 3), unmoved[0])
    np.testing.assert_array_equal(
        nowcast.forecast(forecaster, {"scale": history}, labels={"scale": "norm"})["scale"],
        history[-1],
    )
    fresh = Gram(params={"fc": init_network(jax.random.key(0), 5, 3)}, horizon=2, longest=3)
    # It begins with keeping still.
    np.testing.assert_array_equal(fresh.leaf(history, "fc", 3), history[-1])


def test_features_are_logarithms_of_lengths_and_cosines():
    moved = np.random.default_rng(0).normal(size=(4, 50))
    found = np.asarray(features(jnp.asarray(moved @ moved.T, jnp.float32)))
    lengths = np.linalg.norm(moved, axis=1)
    np.testing.assert_allclose(found[:4], np.log(lengths / np.sqrt(np.mean(lengths**2))), atol=1e-3)
    cosines = [
        2 * moved[i] @ moved[j] / lengths[i] / lengths[j] for i in range(4) for j in range(i + 1, 4)
    ]
    np.testing.assert_allclose(found[4:], cosines, atol=1e-3)
