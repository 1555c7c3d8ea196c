"""Fitting NiNo: its loss from its own forecasts, data parallelism, going on, scores, refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_nino import random_nino

import nowcast
from collect import corpus
from collect.config import ModelConfig
from collect.population import collect_population
from meta_train import loader, trainer, whole
from meta_train.config import MetaTrainConfig
from meta_train.data import read
from meta_train.networks import Networks
from meta_train.source import Rule
from meta_train.trainer import Settings
from nowcast.forecasters import NiNo
from nowcast.forecasters.nino import absolute_error
from nowcast.types import UserError

SETTINGS = Settings(8, 4, 3e-3, 0, 100, evaluations=4)


@pytest.fixture(scope="module")
def source(corpus_path):
    return Networks(list(corpus.open(corpus_path)), NiNo.mapping, Rule(5, 3, many=True))


def fit(source, settings=SETTINGS, progress=None):
    begun = progress or trainer.start(NiNo, ["all"], 5, 3, settings)
    return list(whole.fit(NiNo, ["all"], source, whole.watched(source, 0), settings, begun))


def test_an_example_is_a_place_in_a_run(source):
    [one, other] = source.examples((0, 1), 2)
    assert one.run is other.run
    assert one.network is other.network
    weights, leaf = one.run.weights[:], one.run.leaves[-1]
    own = weights[:, leaf.scalars].reshape(-1, *leaf.shape)
    [first] = [n for n in range(1, 14) if np.array_equal(own[n : n + 5], one.windows[-1])]
    after = own[first + 5 : first + 8]
    np.testing.assert_array_equal(one.targets[-1][: len(after)], after)
    late = source.at(one.run, 9)  # snapshots 9 to 13, and 14 is the last
    assert [np.isfinite(each).all() for each in late.targets[0]] == [True, False, False]


def test_the_loss_is_the_forecasts_error_in_deviations_of_leaves(source, corpus_path):
    example = source.at(next(iter(corpus.open(corpus_path))), 2)
    forecaster = random_nino()
    names = [tuple(leaf.path.split("/")) for leaf in example.run.leaves]
    operations = [leaf.op for leaf in example.run.leaves]
    windows, params = list(map(jnp.asarray, example.windows)), forecaster.params["all"]
    targets = [jnp.asarray(leaf).at[1].set(jnp.nan) for leaf in example.targets]  # of 3 horizons
    first, third = (
        forecaster.network_of_leaves(windows, names, operations, horizon) for horizon in (1, 3)
    )
    found = absolute_error(params, windows, targets, *example.network)
    each = [
        np.abs(np.stack(forecasts).astype(float) - target[::2])
        / np.std(window, ddof=1, dtype=float)
        for *forecasts, target, window in zip(
            first, third, example.targets, example.windows, strict=True
        )
    ]
    expected = np.concatenate([one.ravel() for one in each]).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    some = tuple(operation == "fc" for operation in operations)
    network = example.network._replace(forecastable=some)
    found = absolute_error(params, windows, targets, *network)
    own = [one for one, wanted in zip(each, some, strict=True) if wanted]
    np.testing.assert_allclose(found, np.concatenate([o.ravel() for o in own]).mean(), rtol=1e-3)
    still = list(map(jnp.ones_like, windows))
    assert absolute_error(params, still, targets, *example.network) == 0


def test_a_fit_learns_and_goes_on_where_it_was(source):
    steps = fit(source)
    assert [one.step for one in steps] == [2, 4, 6, 8]
    losses = [one.curves["validation/all"][-1] for one in steps]
    assert losses[-1] < losses[0]
    assert steps[-1].lowest == [min(losses)]
    again = fit(source, progress=steps[1])
    assert again[-1].curves == steps[-1].curves
    jax.tree.map(np.testing.assert_array_equal, again[-1].params, steps[-1].params)


def test_a_batch_over_eight_devices_gives_the_same_step(source, monkeypatch):
    settings = SETTINGS._replace(steps=1, batch_size=8)
    [one] = fit(source, settings)
    whole._compiled.cache_clear()
    monkeypatch.setattr(loader, "devices", lambda: jax.devices()[:8])
    batch = next(whole._batches(source, settings, 0))
    assert len({str(shard.index) for shard in batch.windows[0].addressable_shards}) == 8
    [spread] = fit(source, settings)
    np.testing.assert_allclose(spread.lowest, one.lowest, rtol=1e-4)
    assert spread.curves["loss/all"] == pytest.approx(one.curves["loss/all"], rel=1e-4)
    odd = next(whole._batches(source, settings._replace(batch_size=3), 0))
    assert odd.windows[0].sharding.is_fully_replicated
    whole._compiled.cache_clear()


def test_a_loss_that_is_not_finite_names_its_step(source):
    with pytest.raises(trainer.NotFinite, match=r"the loss of all is not finite at step [1-7]"):
        fit(source, SETTINGS._replace(learning_rate=1e30))


def test_scores_are_by_operation_horizon_and_forecaster(source):
    params = jax.tree.map(np.zeros_like, random_nino().params)
    still = dataclasses.replace(random_nino(), params=params)
    found = whole.scores(still, source)
    assert found.keys() == {"fc", "bias"}
    assert found["fc"].keys() == {"1", "2", "3"}
    for horizons in found.values():
        for rows in horizons.values():  # a zero residual is the last value
            assert rows["nino"] == pytest.approx(rows["last_value"], rel=1e-5)
            assert 0 < rows["quadratic"]["normalised"] < 1
            assert rows["skill"]["runs"] == 3


def test_corpora_without_whole_networks_are_refused(tmp_path, corpus_config, source):
    for more in ({"record": "gram", "band": 8}, {"sample": 4}):
        config = corpus_config(tmp_path / f"{next(iter(more))}", runs=2, epochs=10, **more)
        collect_population(config)
        given = MetaTrainConfig(config.corpus, str(tmp_path / "bundle"), "nino", horizon=3)
        with pytest.raises(UserError, match="does not hold all weights, and nino takes networks"):
            read(given)
    for given in ({"batch_size": 0}, {"sampling": "movement"}):
        with pytest.raises(UserError, match=r"1 to 4096 networks|nino takes leaves as a whole"):
            MetaTrainConfig("a", "b", "nino", **given)


@pytest.mark.slow
def test_a_network_that_makes_no_graph_is_named(tmp_path, corpus_config):
    config = corpus_config(tmp_path / "lstm", runs=2, epochs=8, batch_size=16)
    config.model = ModelConfig("lstm", width=0.05)
    config.data.train_size = 32
    collect_population(config)
    with pytest.raises(nowcast.UserError, match=r"no place for leaf .* keep_out=\[lstm-digits\]"):
        read(MetaTrainConfig(config.corpus, str(tmp_path / "bundle"), "nino", horizon=2))
