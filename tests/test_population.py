"""Runs that train together, as one program over all devices, are the runs that train one after
another.
"""

import dataclasses

import jax
import numpy as np
import pytest

import nowcast
from collect import corpus
from collect.config import DataConfig, ModelConfig, VaryConfig
from collect.corpus.destination import Folder
from collect.corpus.recorder import Recorder
from collect.estimate import estimate
from collect.members import members
from collect.population import collect_population, make_task
from collect.training import optimizers, pace
from collect.training.loop import Loop


def weights(path):
    return {run.id: np.asarray(run.weights) for run in corpus.open(path)}


def assert_same(got, expected, atol):
    got, expected = weights(got), weights(expected)
    assert got.keys() == expected.keys()
    for name, whole in expected.items():
        np.testing.assert_allclose(got[name], whole, rtol=0, atol=atol)


@pytest.mark.parametrize("runs", [3, 11], ids=["fewer runs than devices", "more"])
def test_together_and_apart_give_the_same_corpus(tmp_path, corpus_config, runs):
    assert jax.local_device_count() == 8
    vary = VaryConfig(learning_rate=[1e-3, 1e-2], schedule=["constant", "cosine"])
    apart = corpus_config(tmp_path / "apart", runs=runs, epochs=2, vary=vary, together=False)
    together = dataclasses.replace(apart, corpus=str(tmp_path / "together"), together=True)
    assert collect_population(apart)["complete"] == collect_population(together)["complete"] == runs
    assert_same(together.corpus, apart.corpus, atol=1e-5)
    for one, other in zip(corpus.open(apart.corpus), corpus.open(together.corpus), strict=True):
        np.testing.assert_allclose(one.metrics["loss"], other.metrics["loss"], rtol=1e-3)
        assert one.config == other.config


def test_a_network_with_batch_norm_trains_together_too():
    task = make_task(ModelConfig("resnet", width=0.25, depth=8), DataConfig(train_size=64), 32)
    loop = Loop(task, optimizers.make("adam"))
    rates = np.full((2, 2), 1e-3, np.float32)
    *_, together = loop.run_together([3, 4], rates)
    for seed, last in zip([3, 4], together, strict=True):
        *_, one_run = loop.run(seed, rates[0])
        for got, expected in zip(
            jax.tree.leaves(last.state.extra), jax.tree.leaves(one_run.state.extra), strict=True
        ):
            np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)
        assert last.train_loss == pytest.approx(one_run.train_loss, rel=1e-4)


def test_killed_together_it_goes_on_from_each_runs_own_checkpoint(
    tmp_path, corpus_config, collect_until_killed
):
    def checkpoint(folder, snapshot):  # of different snapshots
        return snapshot % (3 if "seed1" in folder.name else 2) == 0

    config = corpus_config(tmp_path / "corpus", runs=3, epochs=8, together=True)
    whole = dataclasses.replace(config, corpus=str(tmp_path / "whole"))
    collect_until_killed(config, last=5, checkpoint=checkpoint)
    assert len(corpus.open(config.corpus)) == 0
    assert collect_population(config)["complete"] == 3
    collect_population(whole)
    assert_same(config.corpus, whole.corpus, atol=1e-5)


@pytest.mark.parametrize("together", [True, False])
def test_a_run_that_another_process_finished_meanwhile_is_left_as_it_is(
    tmp_path, corpus_config, monkeypatch, together
):
    config = corpus_config(tmp_path / "corpus", runs=2, epochs=3, together=together)
    one = dataclasses.replace(config, runs=1)

    def finished(*_):  # not yet when it is asked, and then
        if not (tmp_path / "corpus").exists():
            with monkeypatch.context() as patch:
                patch.setattr(Folder, "finished", lambda *_: set())
                assert collect_population(one)["complete"] == 1
        return set()

    monkeypatch.setattr(Folder, "finished", finished)
    counts = collect_population(config)
    assert (counts["already"], counts["complete"]) == (1, 1)
    assert [len(run.metrics["loss"]) for run in corpus.open(config.corpus)] == [4, 4]


def test_one_run_diverges_and_the_others_of_its_program_go_on(tmp_path, corpus_config, monkeypatch):
    def rates(
        schedule, learning_rate, steps, warmup
    ):  # one of them turns infinite in the third epoch
        given = np.full(steps, learning_rate, np.float32)
        return np.where((np.arange(steps) == 12) & (learning_rate > 5e-3), np.inf, given).astype(
            np.float32
        )

    monkeypatch.setattr(optimizers, "rates", rates)
    config = corpus_config(tmp_path / "corpus", runs=4, epochs=6, together=True)
    ruined = sum(member.optimizer.learning_rate > 5e-3 for member in members(config))
    counts = collect_population(config)
    assert 0 < counts["diverged"] == ruined < 4
    assert counts["complete"] == 4 - ruined
    for run in corpus.open(config.corpus):
        assert (
            (run.status == "complete")
            == (len(run.weights) == 7)
            == bool(np.isfinite(run.weights[-1:]).all())
        )


def test_a_dry_run_says_what_would_be_recorded_and_writes_nothing(script, corpus_path, tmp_path):
    size = ["model=mlp", "model.width=0.1", "batch_size=256", "runs=3", "epochs=14"]
    done = script("collect", *size, f"corpus={tmp_path / 'corpus'}", "dry_run=true")
    assert done.returncode == 0, done.stderr
    recorded = [run.weights for run in corpus.open(corpus_path)]  # the same population
    assert (
        f"3 runs, 42 epochs, {sum(len(w) for w in recorded)} snapshots: 0.5 MiB at most"
        in done.stdout
    )
    assert list(tmp_path.iterdir()) == []


def test_the_estimate_is_the_size_of_what_is_then_recorded(corpus_config, corpus_path):
    would = estimate(corpus_config("unused"))
    assert would.bytes == sum(4 * np.prod(run.weights.shape) for run in corpus.open(corpus_path))
    assert 0 < would.hours < 1


def test_schedules_and_batch_sizes_take_turns(tmp_path, corpus_config):
    vary = VaryConfig(schedule=["constant", "step"], batch_size=[64, 256])
    config = corpus_config(tmp_path / "corpus", runs=5, epochs=1, vary=vary)
    turns = [(member.optimizer.schedule, member.batch_size) for member in members(config)]
    assert turns == [
        ("constant", 64),
        ("step", 64),
        ("constant", 256),
        ("step", 256),
        ("constant", 64),
    ]
    assert collect_population(config)["complete"] == 5
    for run in corpus.open(config.corpus):
        assert run.metrics["step"].tolist() == [0, 1285 // run.config["batch_size"]]


@pytest.mark.parametrize("worth", [0.0, 1e9])
def test_the_way_to_train_is_measured_where_it_is_worth_it(monkeypatch, corpus_config, worth):
    monkeypatch.setattr(pace, "WORTH", worth)
    config = corpus_config("unused")
    loop = Loop(make_task(config.model, config.data, 256), optimizers.make("adam"))
    measured = pace.measure(loop, [0, 1, 2], 1000)
    assert measured.apart > 0
    assert np.isfinite(measured.together) == (worth == 0)
    assert pace.Pace(2.0, 3.0).best == "together"
    assert pace.Pace(2.0, float("nan")).best == pace.Pace(3.0, 2.0).best == "apart"


def test_an_error_in_one_thread_is_raised_and_stops_the_others(
    tmp_path, corpus_config, monkeypatch
):
    def refuse(self, *_, **__):
        raise nowcast.UserError("no")

    monkeypatch.setattr(Recorder, "append", refuse)
    with pytest.raises(nowcast.UserError, match="no"):
        collect_population(corpus_config(tmp_path / "corpus", runs=3, epochs=1))
