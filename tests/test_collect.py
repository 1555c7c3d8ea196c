"""Collecting: the snapshots are the loop's, and a population is spread as configured."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import nowcast
from collect import corpus
from collect.config import VaryConfig
from collect.members import members
from collect.population import collect_population, make_task
from collect.training import optimizers
from collect.training.loop import Loop


def test_the_same_command_again_finds_everything_done(corpus_path, corpus_config):
    files = sorted(
        file for file in corpus_path.rglob("*") if file.is_file() and "lock" not in file.name
    )
    before = {file: file.stat().st_mtime_ns for file in files}
    counts = collect_population(corpus_config(corpus_path))
    assert counts == {
        "task": "mlp-digits",
        "complete": 0,
        "diverged": 0,
        "already": 3,
        "left": 0,
        "stopped": "",
        "exit_code": 0,
    }
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_more_runs_are_added_to_those_that_exist(tmp_path, corpus_config):
    path = tmp_path / "corpus"
    collect_population(corpus_config(path, runs=1, epochs=1))
    [first] = corpus.open(path)
    weights = np.asarray(first.weights)
    counts = collect_population(corpus_config(path, runs=2, epochs=1))
    assert (counts["already"], counts["complete"]) == (1, 1)
    [kept] = [run for run in corpus.open(path) if run.id == first.id]
    assert len(corpus.open(path)) == 2
    assert kept.info == first.info
    np.testing.assert_array_equal(kept.weights, weights)


def test_the_snapshots_are_those_of_the_loop(tmp_path, corpus_config):
    config = corpus_config(tmp_path / "corpus", runs=1, epochs=3, vary=VaryConfig(), record_every=4)
    collect_population(config)
    [run] = corpus.open(config.corpus)
    task = make_task(config.model, config.data, config.batch_size)
    loop = Loop(task, optimizers.make("adam"))
    rates = np.full(15, 3e-3, np.float32)
    steps = []
    for i, snapshot in enumerate(loop.run(0, rates, record_every=4)):
        flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(snapshot.state.params)])
        np.testing.assert_array_equal(run.weights[i], flat)
        measured = task.evaluate(snapshot.state.params, snapshot.state.extra, "validation")
        assert run.metrics["loss"][i] == measured["loss"]
        steps.append(snapshot.step)
    assert steps == run.metrics["step"].tolist() == [0, 4, 8, 12, 15]  # the last step is always one


def test_recording_more_often_does_not_change_the_run(tmp_path, corpus_config):
    for every, name in ((1, "steps"), (5, "epochs")):
        collect_population(corpus_config(tmp_path / name, runs=1, epochs=2, record_every=every))
    steps, epochs = (corpus.open(tmp_path / name).runs[0].weights for name in ("steps", "epochs"))
    np.testing.assert_array_equal(steps[::5], epochs)


def test_a_diverged_run_is_marked_and_the_others_go_on(tmp_path, corpus_config, monkeypatch):
    def rates(schedule, learning_rate, steps, warmup):  # one rate turns infinite in the third epoch
        given = np.full(steps, learning_rate, np.float32)
        return np.where((np.arange(steps) == 12) & (learning_rate == 2e-3), np.inf, given).astype(
            np.float32
        )

    monkeypatch.setattr(optimizers, "rates", rates)
    vary = VaryConfig(learning_rate=[2e-3, 2e-3])
    config = corpus_config(tmp_path / "corpus", runs=2, epochs=6, vary=VaryConfig())
    assert collect_population(config)["complete"] == 2
    ruined = dataclasses.replace(config, vary=vary)
    assert collect_population(ruined)["diverged"] == 2
    runs = corpus.open(config.corpus).runs
    for run in runs:
        diverged = run.config["optimizer"]["learning_rate"] == 2e-3
        assert run.status == ("diverged" if diverged else "complete")
        assert run.weights.shape[0] == len(run.metrics["step"]) == (4 if diverged else 7)
        assert np.isfinite(run.metrics["train_loss"][1:]).all() != diverged
        assert np.isfinite(run.weights[:3]).all()
    assert collect_population(ruined)["already"] == 2  # and it stays so


def test_learning_rates_spread_evenly_over_their_range_in_the_logarithm(corpus_config):
    config = corpus_config("unused", runs=200, vary=VaryConfig(learning_rate=[1e-4, 1e-1]))
    rates = [member.optimizer.learning_rate for member in members(config)]
    assert 1e-4 <= min(rates) < max(rates) <= 1e-1
    counts, _ = np.histogram(np.log10(rates), bins=10, range=(-4, -1))
    assert counts.min() >= 17
    assert counts.max() <= 23


def test_a_larger_population_begins_with_the_smaller_one(corpus_config):
    vary = VaryConfig(learning_rate=[1e-4, 1e-1], schedule=["constant", "cosine"])
    few, many = (list(members(corpus_config("unused", runs=n, vary=vary))) for n in (3, 9))
    assert many[:3] == few
    assert [member.optimizer.schedule for member in few] == ["constant", "cosine", "constant"]
    assert [member.seed for member in many] == list(range(9))


def test_data_order_depends_on_seed_and_epoch_only(corpus_config):
    config = corpus_config("unused")
    task = make_task(config.model, config.data, 100)
    order = task.order(3, 2)
    assert order.shape == (12, 100)
    assert len(np.unique(order)) == 1200  # nothing twice in an epoch
    np.testing.assert_array_equal(order, make_task(config.model, config.data, 100).order(3, 2))
    assert (order != task.order(3, 1)).mean() > 0.9
    assert (order != task.order(2, 2)).mean() > 0.9
    seen = np.unique([task.order(3, epoch) for epoch in range(5)])
    assert len(seen) == 1285  # what one epoch drops, another one has


def test_a_batch_larger_than_the_data_is_refused(corpus_config, tmp_path):
    with pytest.raises(nowcast.UserError, match="batch_size=5000"):
        collect_population(corpus_config(tmp_path / "corpus", batch_size=5000))
    assert not (tmp_path / "corpus").exists()


def test_run_json_is_strict_json(corpus_path):
    def refuse(word):
        raise AssertionError(word)

    for file in [*corpus_path.rglob("run.json"), corpus_path / "manifest.json"]:
        json.loads(file.read_text(), parse_constant=refuse)
