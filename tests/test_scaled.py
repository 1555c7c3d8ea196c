"""Windows for WNN+ carry the scale of their whole leaf, and a fit to them learns."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_windows import Made

import nowcast
from meta_train import objective, trainer, validate
from meta_train.config import MetaTrainConfig
from meta_train.fitting import meta_train
from meta_train.scaled import ScaledWindows
from meta_train.source import Rule
from meta_train.trainer import Settings
from nowcast.forecasters import WNN, NiNo, WNNPlus, wnn_plus
from nowcast.types import OPERATIONS

RULE = Rule(5, 3, many=True)


def walk(number=0, ops=("conv", "fc", "bias")):
    """A run whose leaves walk at random, each in a unit of its own."""
    run = Made(number, snapshots=20, ops=ops, each=6)
    steps = np.random.default_rng(number).normal(size=run.weights.shape)
    units = np.repeat(10.0 ** np.arange(len(ops)), 6)
    run.weights = (np.cumsum(steps, axis=0) * units + 3 * units).astype(np.float32)
    return run


def drawn(run, size=200, **settings):
    source = ScaledWindows([run], WNNPlus.mapping, RULE, **settings)
    return source.handful("all", size, (0, 0))


@pytest.mark.parametrize("sampling", ["uniform", "movement"])
def test_a_row_is_a_window_its_targets_and_the_scale_of_its_leaf(unchecked, sampling):
    run = walk()
    rows = drawn(run, sampling=sampling)
    assert rows.shape == (200, 5 + 3 + 3)
    seen = set()
    for row in rows:
        place, column = next(
            (s, n)
            for s in range(1, 16)
            for n in range(18)
            if np.array_equal(run.weights[s : s + 5, n], row[:5])
        )
        leaf = run.leaves[column // 6]
        there = run.weights[place : place + 5, leaf.start : leaf.start + 6].astype(float)
        np.testing.assert_allclose(row[8:10], [there.mean(), there.std(ddof=1)], rtol=1e-5)
        assert OPERATIONS[int(row[10])] == leaf.op
        ahead = run.weights[place + 5 : place + 8, column]
        np.testing.assert_array_equal(row[5:8], [*ahead, *[np.nan] * (3 - len(ahead))])
        seen.add(leaf.op)
    assert seen == {"conv", "fc", "bias"}


def test_leaves_that_are_all_alike_or_diverge_are_left_out(unchecked):
    run = walk()
    run.weights[:, 6:12] = 1  # no window of the second leaf has a scale
    run.weights[10:, 12:] = np.inf
    rows = drawn(run)
    assert np.isfinite(rows[:, :5]).all()
    assert np.isfinite(rows[:, 8:]).all()
    assert {OPERATIONS[int(op)] for op in rows[:, 10]} == {"conv", "bias"}


def small(seed=0, outputs=3):
    shapes = jax.eval_shape(lambda: wnn_plus.init_network(jax.random.key(0), 5, outputs))
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32) / 10, shapes)
    return WNNPlus(params={"all": params}, horizon=outputs)


def test_a_fits_error_is_that_of_the_forecast_in_units_of_the_deviation(unchecked):
    run, forecaster = walk(), small()
    rows = drawn(run)
    window = np.stack([run.weights[3:8, leaf.scalars] for leaf in run.leaves])
    history = {leaf.op: jnp.asarray(part) for leaf, part in zip(run.leaves, window, strict=True)}
    labels = {leaf.op: leaf.op for leaf in run.leaves}
    there = [nowcast.forecast(forecaster, history, labels=labels, horizon=h) for h in (1, 2, 3)]
    made = []
    for number, leaf in enumerate(run.leaves):
        part = run.weights[3:11, leaf.scalars]
        scale = [part[:5].mean(), part[:5].std(ddof=1), OPERATIONS.index(leaf.op)]
        made.append(np.concatenate([part.T, np.tile(scale, (6, 1))], axis=1))
        errors = [np.abs(each[leaf.op] - part[5 + h]) for h, each in enumerate(there)]
        expected = np.mean(errors) / scale[1]
        got = objective.error(WNNPlus, forecaster.params["all"], jnp.float32(made[number]), 5)
        assert float(got) == pytest.approx(expected, rel=1e-3)
        forecasts = forecaster.of_rows(jnp.float32(made[-1][:, [*range(5), 8, 9, 10]]), leaf.op, 2)
        np.testing.assert_allclose(forecasts, there[1][leaf.op], rtol=1e-4)
        scored = validate.scores(forecaster, {leaf.op: [np.float32(made[-1])]})[leaf.op]
        assert scored["2"]["wnn_plus"]["weight"] == pytest.approx(errors[1].mean(), rel=1e-3)
    assert np.isfinite(float(objective.error(WNNPlus, forecaster.params["all"], rows, 5)))


def test_a_fit_to_a_corpus_beats_standing_still_and_its_card_says_so(tmp_path, corpus_path):
    config = MetaTrainConfig(
        str(corpus_path), str(tmp_path / "b"), "wnn_plus", horizon=8, steps=120, batch_size=128
    )
    card = meta_train(config).card
    loaded = nowcast.load(tmp_path / "b")
    assert (loaded.name, loaded.longest, loaded.units, set(loaded.params)) == (
        "wnn_plus",
        8,
        128,
        {"all"},
    )
    assert set(card["validation"]) == {"bias", "fc"}  # by operation, though one network serves both
    errors = card["validation"]["fc"]["5"]
    assert errors["wnn_plus"]["normalised"] < errors["last_value"]["normalised"]
    assert not any("never jump" in limit for limit in card["limits"])


@pytest.mark.parametrize(("kind", "factor"), [(WNNPlus, 0.1), (NiNo, 0.1), (WNN, 1.0)])
def test_large_gradients_are_scaled_down_together_as_the_authors_do(kind, factor):
    settings = Settings(100, 64, 3e-3, 0, 10)
    params = {"one": jnp.ones((1, 2)), "two": jnp.ones((1, 1))}
    large = {"one": jnp.array([[30.0, 0.0]]), "two": jnp.array([[40.0]])}  # their norm is 50
    small = jax.tree.map(lambda leaf: leaf / 100, large)
    ours = trainer.optimizer(kind, settings)
    rate = optax.cosine_decay_schedule(3e-3, 100)
    adam = optax.adamw(rate, weight_decay=kind.weight_decay)  # without decay it is Adam
    state, plain = ours.init(params), adam.init(params)
    for own, given in ((large, jax.tree.map(lambda leaf: factor * leaf, large)), (small, small)):
        found, state = ours.update(own, state, params)
        expected, plain = adam.update(given, plain, params)
    for name in params:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
