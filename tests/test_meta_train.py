"""Meta-training: windows are cut from the trajectory as said, and what can be learned is learned."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nowcast
from collect import corpus
from collect.population import collect_population
from meta_train import objective, trainer, validate, windows
from meta_train.config import MetaTrainConfig
from meta_train.fitting import meta_train
from nowcast.forecasters import WNN, wnn


class Made:
    """A run whose weight ``n`` is ``1000·number + 20·n + s`` at snapshot ``s``: a value tells its place."""

    def __init__(self, number, snapshots=12, ops=("fc", "bias", "norm"), task="made"):
        self.id, self.config = f"run{number}", {"task": task}
        self.leaves = [corpus.Leaf(op, (4,), op, 4 * i) for i, op in enumerate(ops)]
        place = 20.0 * np.arange(4 * len(ops))[None] + np.arange(snapshots)[:, None]
        self.weights = (1000.0 * number + place).astype(np.float32)


def sample(runs, **settings):
    given = {"window": 5, "horizon": 3, "per_run": 300, "seed": 0} | settings
    return windows.sample(runs, wnn.SERVES, **given)


def test_windows_are_consecutive_snapshots_of_one_weight_and_the_value_a_horizon_later(unchecked):
    for network, first in (("fc", 0), ("bias", 4)):
        drawn = sample([Made(0)])[network]
        np.testing.assert_array_equal(drawn - drawn[:, :1], np.tile([0, 1, 2, 3, 4, 7], (300, 1)))
        weight, start = np.divmod(drawn[:, 0], 20)
        assert set(weight) == set(range(first, first + 4))  # all weights of this operation and no other
        assert set(start) == {1, 2, 3, 4}  # all starts, but never the untrained weights, nor past the end


def test_weights_that_no_network_serves_are_left_out(unchecked):
    assert set(sample([Made(0)])) == {"fc", "bias"}
    assert set(sample([Made(0, ops=("depthwise_conv", "embedding"))])) == {"conv"}


def test_every_run_gives_equally_many_windows_and_none_crosses_runs(unchecked):
    drawn = sample([Made(1), Made(2, snapshots=30), Made(3)], per_run=50)["fc"]
    assert drawn.shape == (150, 6)
    run = drawn // 1000
    np.testing.assert_array_equal(run, np.repeat([1, 2, 3], 50)[:, None] * np.ones((1, 6)))


def test_the_same_seed_draws_the_same_windows(unchecked):
    np.testing.assert_array_equal(sample([Made(0)])["fc"], sample([Made(0)])["fc"])
    assert (sample([Made(0)])["fc"] != sample([Made(0)], seed=1)["fc"]).any()


def test_windows_that_are_not_finite_are_left_out(unchecked):
    made = Made(0)
    made.weights[9:] = np.nan
    drawn = sample([made])["fc"]
    assert 0 < len(drawn) < 300
    assert np.isfinite(drawn).all()
    assert set(drawn[:, 0] % 20) == {1}  # ends at snapshot 5, target at 8


def test_large_models_are_read_block_by_block_with_the_same_result(monkeypatch, unchecked):
    whole = sample([Made(0)])["fc"]
    monkeypatch.setattr(windows, "BLOCK", 3)
    np.testing.assert_array_equal(sample([Made(0)])["fc"], whole)


def test_windows_of_a_recorded_run_are_found_in_it(corpus_path):
    run = corpus.open(corpus_path).runs[0]
    columns = np.concatenate([np.r_[leaf.scalars] for leaf in run.leaves if leaf.op == "fc"])
    trajectory = np.asarray(run.weights)[1:, columns]
    for row in sample([run], horizon=5, per_run=40)["fc"]:
        places = [(s, n) for s, n in np.argwhere(trajectory == row[0]) if s + 9 < len(trajectory)]
        found = [np.append(trajectory[s : s + 5, n], trajectory[s + 9, n]) for s, n in places]
        assert any(np.array_equal(row, candidate) for candidate in found)


def test_a_run_that_is_too_short_is_refused_by_name(unchecked):
    with pytest.raises(nowcast.UserError, match=r"run7 has 8 snapshots.* needs 9 or more"):
        sample([Made(1), Made(7, snapshots=8)])
    assert len(sample([Made(7, snapshots=9)])["fc"]) == 300


def test_the_split_keeps_whole_runs_apart_and_one_of_every_task(unchecked):
    runs = [Made(i, task=task) for i, task in enumerate("aaaaaaaaaabbc")]
    fitted, kept = validate.split(runs, 0.2, 0)
    assert sorted([run.id for run in fitted + kept]) == sorted(run.id for run in runs)
    tasks = [run.config["task"] for run in kept]
    assert (tasks.count("a"), tasks.count("b"), tasks.count("c")) == (2, 1, 1)
    again = [{run.id for run in validate.split(runs, 0.2, seed)[1]} for seed in range(5)]
    assert again[0] == {run.id for run in kept}
    assert any(other != again[0] for other in again)


def test_the_penalty_is_l1_on_the_main_layers_only():
    params = jax.tree.map(jnp.ones_like, wnn.init_network(jax.random.key(0)))
    kernels, biases = 5 * 64 + 4 * 64 + 2 * 64 * 32, 2 * 64 + 2 * 32
    assert float(wnn.penalty(params)) == pytest.approx(1e-6 * kernels + 0.1 * biases)
    assert float(wnn.penalty(jax.tree.map(lambda x: -2 * x, params))) == pytest.approx(2 * float(wnn.penalty(params)))


def test_an_example_is_the_normalised_window_and_the_increment_in_its_unit():
    inputs, target = objective.examples(jnp.asarray([[2.0, 3.0, 4.0, 5.0, 6.0, 10.0], [0.0, 0.0, 0.0, 0.0, 1.0, 9.0]]))
    np.testing.assert_allclose(inputs, [[0, 1 / 8, 2 / 8, 3 / 8, 4 / 8], [0, 0, 0, 0, 1 / 2]], rtol=1e-4)
    np.testing.assert_allclose(target, [4 / 8, 1], rtol=1e-4)  # the second is clipped


def test_the_loss_is_the_mean_absolute_error_and_the_penalty():
    params = wnn.init_network(jax.random.key(0))
    x, y = jnp.asarray([[0, 0.1, 0.2, 0.3, 0.4], [0, 0, 0.5, 0, 0.1]]), jnp.asarray([0.3, -0.2])
    expected = np.abs(np.asarray(wnn.network(params, x)) - np.asarray(y)).mean() + float(wnn.penalty(params))
    assert float(objective.loss(params, x, y)) == pytest.approx(expected, rel=1e-6)


def made_windows(rule, count, seed):
    x = np.cumsum(np.random.default_rng(seed).normal(size=(count, 5)), axis=1)
    return np.concatenate([x, rule(x)[:, None]], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def fitted():
    """Two networks that have two different rules to learn."""
    rules = {"bias": lambda x: x[:, 4] + 0.5 * (x[:, 4] - x[:, 0]), "fc": lambda x: (x[:, 0] + x[:, 4]) / 2}
    train = {name: made_windows(rule, 4000, 0) for name, rule in rules.items()}
    held_out = {name: made_windows(rule, 500, 1) for name, rule in rules.items()}
    settings = {"steps": 600, "batch_size": 128, "learning_rate": 5e-3, "seed": 0, "evaluations": 10}
    return train, held_out, settings, trainer.fit(train, held_out, **settings)


def test_fitting_learns_each_networks_own_rule(fitted):
    _, held_out, _, fit = fitted
    scores = validate.scores(WNN(params=fit.params), held_out)
    for name in ("bias", "fc"):
        assert scores[name]["wnn"]["normalised"] < 0.15 * scores[name]["last_value"]["normalised"]
        assert scores[name]["wnn"]["weight"] < 0.15 * scores[name]["last_value"]["weight"]
        last = np.abs(held_out[name][:, 5] - held_out[name][:, 4])
        assert scores[name]["last_value"]["weight"] == pytest.approx(last.mean(), rel=1e-5)


def test_the_parameters_with_the_lowest_validation_error_are_kept(fitted):
    _, held_out, _, fit = fitted
    scores = validate.scores(WNN(params=fit.params), held_out)
    for name in ("bias", "fc"):
        lowest = min(fit.curves[f"validation/{name}"])
        assert scores[name]["wnn"]["normalised"] == pytest.approx(lowest, rel=1e-4)
    assert fit.curves["step"][0] == 0
    assert fit.curves["step"][-1] == 600


def test_the_same_seed_fits_the_same_parameters(fitted):
    train, held_out, settings, _ = fitted
    few = settings | {"steps": 60}
    first, again, other = (trainer.fit(train, held_out, **few | {"seed": seed}) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
    assert first.curves == again.curves
    assert np.abs(first.params["fc"]["head"]["kernel"] - other.params["fc"]["head"]["kernel"]).max() > 1e-3


def test_the_bundle_says_where_it_comes_from(bundle_path, corpus_path):
    card, opened = json.loads((bundle_path / "card.json").read_text()), corpus.open(corpus_path)
    assert card["corpus"]["hash"] == opened.hash
    assert (card["corpus"]["runs"], card["corpus"]["tasks"]) == (3, ["mlp-digits"])
    assert len(card["corpus"]["validation_runs"]) == 1
    assert card["configuration"]["steps"] == 40
    assert set(card["validation"]) == {"bias", "fc"}
    assert set(card["validation"]["fc"]) == {"last_value", "linear", "wnn"}
    assert (bundle_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    forecaster = nowcast.load(bundle_path)
    assert forecaster.serves("fc")
    assert not forecaster.serves("conv")  # an MLP has none


def test_a_corpus_without_a_finished_run_is_refused(tmp_path, corpus_path):
    path = shutil.copytree(corpus_path, tmp_path / "corpus")
    shutil.rmtree(path / "runs")
    with pytest.raises(nowcast.UserError, match="no finished run"):
        meta_train(MetaTrainConfig(str(path), str(tmp_path / "bundle")))
    assert not (tmp_path / "bundle").exists()


def test_a_corpus_of_one_run_or_of_short_ones_is_refused(tmp_path, corpus_config):
    config = corpus_config(tmp_path / "corpus", runs=1, epochs=3)
    for runs, said in ((1, "collect 2 or more"), (2, "4 snapshots")):
        config.runs = runs
        collect_population(config)
        with pytest.raises(nowcast.UserError, match=said):
            meta_train(MetaTrainConfig(config.corpus, str(tmp_path / "bundle")))
    assert not (tmp_path / "bundle").exists()
