"""A corpus, a bundle and a report that an earlier version made still open, and go on."""

import json
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import nowcast
from collect import corpus
from collect.config import CollectConfig, DataConfig, ModelConfig
from collect.population import collect_population
from collect.training.stop import Stop
from evaluate import comparison, configured, older, older_keys
from evaluate.arm_options import Jump
from evaluate.arms import Arm
from evaluate.commands.evaluate import name
from evaluate.config import EvaluateConfig, RobustConfig, TunedConfig

BEFORE = Path(__file__).resolve().parent / "data" / "made_before"
MLP = {"model": ModelConfig("mlp", width=0.05)}


@pytest.fixture
def before(tmp_path):
    """A copy, so that what goes on may write."""
    return Path(shutil.copytree(BEFORE, tmp_path / "before"))


def test_a_corpus_opens_and_its_arrays_are_what_their_hashes_say(before):
    opened = corpus.open(before / "corpus")
    assert [run.status for run in opened] == ["complete", "complete"]
    assert (
        opened.hash == json.loads((BEFORE / "bundle" / "card.json").read_text())["corpus"]["hash"]
    )
    for run in opened:
        assert run.weights.shape == (13, sum(leaf.size for leaf in run.leaves))
        assert np.isfinite(run.weights[:]).all()
        assert run.metrics["loss"][-1] < run.metrics["loss"][0]


def test_a_collection_goes_on(before):
    config = CollectConfig(
        str(before / "corpus"), **MLP, data=DataConfig("digits"), batch_size=256, runs=3, epochs=12
    )
    counts = collect_population(config)
    assert (counts["already"], counts["complete"]) == (2, 1)


def test_a_bundle_is_loaded(before):
    forecaster = nowcast.load(before / "bundle")
    window = {"kernel": jnp.arange(5.0)[:, None, None] * jnp.ones((5, 2, 3))}
    assert np.isfinite(nowcast.forecast(forecaster, window)["kernel"]).all()


def test_a_report_goes_on_and_trains_nothing_again(before, monkeypatch):
    known = json.loads((BEFORE / "report" / "results.json").read_text())
    # another compiler rounds the initial weights otherwise
    monkeypatch.setattr(comparison, "fingerprint", lambda task: known["about"]["content"])
    runs = {file: file.read_bytes() for file in (before / "report" / "runs").rglob("seed*")}
    every = Jump(min_drift=None)  # what an arm had before min_drift was its default
    jump = Arm(over="constant", forecaster=str(before / "bundle"), jump=every)
    config = EvaluateConfig(
        str(before / "report"),
        arm={"constant": Arm(), "constant_nowcast": jump},
        forecaster=str(before / "bundle"),
        **MLP,
        data=DataConfig("digits", train_size=256),
        seeds=2,
        epochs=11,
        tuned=TunedConfig([0.003, 0.01], seeds=2),
    )
    with Stop() as stop:
        results = configured.evaluate(config, before / "report", stop)
    assert {file: file.read_bytes() for file in (before / "report" / "runs").rglob("seed*")} == runs
    # Its file has intervals of a bootstrap; all else is as it was.
    for arm, then in zip(
        results["arms"], older.recounted(older_keys.results_of(known))["arms"], strict=True
    ):
        assert (arm["name"], arm["final_loss"]) == (then["name"], then["final_loss"])
        assert json.loads(json.dumps(arm["against"])) == then["against"]


def test_a_job_of_several_has_the_folder_that_it_had():
    """What came later leaves no trace in its name where it is not asked for."""
    given = {"arm": {"constant": Arm()}, "model": ModelConfig("mlp"), "data": DataConfig("digits")}
    assert name(EvaluateConfig("reports/mine", **given)) == "mlp-digits-c67998"
    more = EvaluateConfig("reports/mine", **given, robust=RobustConfig(starts=[1.0]))
    assert name(more) == "mlp-digits-c67998"
    short = EvaluateConfig("reports/mine", **given, tuned=TunedConfig(warmups=[0.0]))
    assert name(short) != "mlp-digits-c67998"
