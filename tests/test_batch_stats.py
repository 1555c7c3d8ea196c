"""BatchNorm's statistics, recorded beside the weights where asked for."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

import nowcast
from collect import corpus
from collect.config import DataConfig, ModelConfig, VaryConfig
from collect.corpus import inspection
from collect.estimate import estimate
from collect.population import collect_population, make_task
from collect.training import optimizers
from collect.training.loop import Loop


@pytest.fixture(scope="session")
def with_statistics(corpus_config):
    """Makes the configuration of a tiny collection of residual networks."""

    def make(path, **overrides):
        given = {
            "model": ModelConfig("resnet", width=0.25, depth=8),
            "data": DataConfig(train_size=64),
            "batch_size": 32,
            "vary": VaryConfig(),
            "runs": 2,
            "epochs": 2,
            "batch_stats": True,
            "together": False,
        }
        return corpus_config(path, **(given | overrides))

    return make


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, with_statistics):
    config = with_statistics(tmp_path_factory.mktemp("statistics") / "corpus")
    assert collect_population(config)["complete"] == 2
    return config


def states(config, seed):
    """What the loop yields, without any recording."""
    task = make_task(config.model, config.data, config.batch_size)
    rates = np.full(
        config.epochs * task.steps_per_epoch, config.optimizer.learning_rate, np.float32
    )
    for snapshot in Loop(task, optimizers.make("adam")).run(seed, rates):
        yield jax.device_get(snapshot.state)


def test_the_statistics_are_those_of_the_loop(recorded):
    run = corpus.open(recorded.corpus).runs[0]
    leaves = run.statistics.leaves
    for snapshot, state in enumerate(states(recorded, run.config["seed"])):
        flat = jax.tree.flatten_with_path(state.extra)[0]
        assert len(flat) == len(leaves)
        for (path, value), leaf in zip(flat, leaves, strict=True):
            assert leaf.path.endswith(f"{path[-2].key}/{path[-1].key}")
            assert leaf.shape == value.shape
            np.testing.assert_array_equal(
                run.statistics[snapshot, leaf.scalars].reshape(leaf.shape), value
            )
    assert run.statistics.shape == (3, sum(leaf.size for leaf in leaves))
    assert {leaf.path.rsplit("/", 1)[-1] for leaf in leaves} == {"mean", "var"}
    assert (run.statistics[0] != run.statistics[-1]).any()


def test_together_they_are_the_same(recorded, tmp_path):
    together = dataclasses.replace(recorded, corpus=str(tmp_path / "together"), together=True)
    assert collect_population(together)["complete"] == 2
    for one, other in zip(corpus.open(recorded.corpus), corpus.open(together.corpus), strict=True):
        np.testing.assert_allclose(one.statistics[:], other.statistics[:], rtol=1e-3, atol=1e-4)
        inspection.verify(other)


@pytest.mark.slow
def test_killed_and_collected_again_they_are_the_same(
    with_statistics, tmp_path, collect_until_killed
):
    config, whole = (
        with_statistics(tmp_path / name, runs=1, epochs=4) for name in ("corpus", "whole")
    )
    collect_until_killed(config, last=3, checkpoint=lambda _, snapshot: snapshot == 2)
    assert collect_population(config)["complete"] == collect_population(whole)["complete"] == 1
    [got], [expected] = corpus.open(config.corpus), corpus.open(whole.corpus)
    np.testing.assert_array_equal(got.statistics[:], expected.statistics[:])
    assert got.info | {"seconds": 0} == expected.info | {"seconds": 0}
    inspection.verify(got)


def test_recording_them_changes_nothing_else_and_makes_another_run(recorded, tmp_path):
    plain = dataclasses.replace(recorded, batch_stats=False)
    assert (
        collect_population(dataclasses.replace(plain, corpus=str(tmp_path / "plain")))["complete"]
        == 2
    )
    without, with_ = corpus.open(tmp_path / "plain"), corpus.open(recorded.corpus)
    for one, other in zip(without, with_, strict=True):
        np.testing.assert_array_equal(one.weights[:], other.weights[:])
        assert "batch_stats" not in one.config
        assert one.config | {"batch_stats": True} == other.config
        assert set(one.metrics) == set(other.metrics)
        with pytest.raises(
            nowcast.UserError, match=f"{one.id} was recorded without .* batch_stats=true"
        ):
            _ = one.statistics
    path = shutil.copytree(recorded.corpus, tmp_path / "both")
    # None counts as done.
    assert collect_population(dataclasses.replace(plain, corpus=str(path)))["complete"] == 2
    assert len(corpus.open(path)) == 4


def test_the_hash_covers_them(recorded, tmp_path):
    path = shutil.copytree(recorded.corpus, tmp_path / "corpus")
    before = corpus.open(path).hash
    file = corpus.open(path).runs[0].path / "run.json"
    info = json.loads(file.read_text())
    file.write_text(json.dumps(info | {"statistics": info["statistics"] | {"sha256": "0" * 64}}))
    assert corpus.open(path).hash != before


@pytest.mark.parametrize("harm", ["chunk", "hash", "gone", "leaves"])
def test_damage_is_found_and_named(recorded, tmp_path, harm):
    path = shutil.copytree(recorded.corpus, tmp_path / "corpus")
    run = corpus.open(path).runs[1]
    chunk, said = run.path / "statistics" / "c" / "1" / "0", r"statistics/c/1/0"
    if harm == "chunk":
        chunk.write_bytes(chunk.read_bytes()[:-9] + b"\0" * 9)
    elif harm == "gone":
        chunk.unlink()
    elif harm == "hash":
        metrics, said = (
            run.path / "metrics.jsonl",
            rf"{run.id} is not what was recorded \(statistics\)",
        )
        lines = [json.loads(line) for line in metrics.read_text().splitlines()]
        lines[1]["sha256_statistics"] = "0" * 64
        metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        file, said = run.path / "run.json", rf"{run.id}/run\.json does not fit its statistics"
        info = json.loads(file.read_text())
        info["statistics"]["leaves"].pop()
        file.write_text(json.dumps(info))
    inspection.verify(corpus.open(path).runs[0])
    with pytest.raises(nowcast.UserError, match=said):
        inspection.verify(corpus.open(path).runs[1])


def test_a_description_of_them_that_is_damaged_is_refused(recorded, tmp_path):
    path = shutil.copytree(recorded.corpus, tmp_path / "corpus")
    file = corpus.open(path).runs[0].path / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"statistics": [3]}))
    with pytest.raises(nowcast.UserError, match=r"run\.json is damaged \(statistics\)"):
        corpus.open(path)


def test_the_estimate_counts_them(recorded):
    runs = corpus.open(recorded.corpus).runs
    recorded_scalars = sum(
        np.prod(array.shape) for run in runs for array in (run.weights, run.statistics)
    )
    assert estimate(recorded).bytes == 4 * recorded_scalars


def test_a_network_without_batch_norm_has_the_same_runs_either_way(corpus_config, tmp_path):
    config = corpus_config(tmp_path / "corpus", runs=1, epochs=1, batch_stats=True)
    assert collect_population(config)["complete"] == 1
    assert collect_population(dataclasses.replace(config, batch_stats=False))["already"] == 1
    assert collect_population(config)["already"] == 1
