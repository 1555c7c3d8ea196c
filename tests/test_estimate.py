"""``evaluate dry_run=true``: how many runs a comparison is, by hand, and nothing is written."""

import re

import pytest

from collect.config import DataConfig, ModelConfig
from collect.population import make_task
from collect.training.stop import Stop
from evaluate.arms import Arm
from evaluate.comparison import compare
from evaluate.estimate import estimate
from evaluate.preparation import prepare
from evaluate.protocol import WARMUPS

EPOCHS, EACH = 4, 4
GIVEN = {
    "epochs": EPOCHS,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "learning_rates": [1e-3, 1e-2],
    "warmups": WARMUPS,
    "seeds": range(3),
    "calibration_seeds": range(1000, 1002),
    "record_every": None,
    "target_share": 0.75,
    "target_metric": None,
    "target_value": None,
    "starts": None,
    "start_warmup": 0.05,
    "base_lengths": None,
    "workers": 1,
    "together": None,
    "stop": Stop(),
}
ARMS = {
    "constant": Arm(learning_rate="given"),
    "cosine": Arm(schedule="cosine", learning_rate="tuned"),
    "other": Arm(over="cosine", optimizer="sgd"),
}


@pytest.fixture(scope="module")
def task():
    made = make_task(ModelConfig("mlp", width=0.1), DataConfig(train_size=128), 32)
    assert made.steps_per_epoch == EACH
    return made


def estimated(task, folder, arms=ARMS, **more):
    ready = prepare(task, arms, folder, **GIVEN | more)
    return estimate(task, ready, more.get("starts"), 1)


def test_the_honest_protocol_is_arms_times_seeds_and_the_calibration(task, tmp_path):
    found = estimated(task, tmp_path)
    # The base, and two rates with five warm-ups, on two seeds each.
    assert (found.arms, found.seeds, found.calibration) == (3, 3, 2 * (1 + 2 * 5))
    assert found.runs == 9 + 22
    assert (found.epochs, found.snapshots) == (31 * EPOCHS, 31 * (EPOCHS + 1))
    assert found.hours > 0
    assert [*tmp_path.iterdir()] == []


def test_it_is_what_the_comparison_then_trains(task, tmp_path):
    arms = {name: ARMS[name] for name in ("constant", "cosine")}
    found = estimated(task, tmp_path, arms, learning_rates=[1e-3])
    compare(task, arms, tmp_path, **GIVEN | {"learning_rates": [1e-3]})
    trained = [*tmp_path.glob("runs/*/*/seed*.json")]
    assert len(trained) == found.runs


def test_the_papers_protocol_calibrates_nothing(task, tmp_path):
    arms = {"constant": ARMS["constant"], "sgd": Arm(over="constant", optimizer="sgd")}
    found = estimated(task, tmp_path, arms, target_metric="accuracy", target_value=0.5)
    assert (found.calibration, found.runs) == (0, 6)
    assert str(found).startswith("2 arms × 3 seeds: 6 runs, 24 epochs, 30 snapshots: ")


def test_the_robust_protocol_trains_each_arm_from_each_start(task, tmp_path):
    arms = {"cosine": Arm(schedule="cosine"), "prodigy": Arm(optimizer="prodigy", learning_rate=1)}
    found = estimated(task, tmp_path, arms, starts=[0.5, 1, 2])
    # The swept base, three starts, and an optimizer that finds its rate.
    assert (found.arms, found.calibration) == (1 + 3 + 1, 2 * 2 * 5)


def test_the_budget_protocol_trains_the_base_at_other_lengths(task, tmp_path):
    found = estimated(task, tmp_path, {"constant": ARMS["constant"]}, base_lengths=[1, 2])
    assert found.runs == 2 * 3 + 2 * (2 * 5) + 3
    assert found.epochs == EPOCHS * (2 * 3 + 2 * (2 * 5) + 2 * 3)


def test_the_command_says_it_and_writes_nothing(script, tmp_path):
    given = ["model=mlp", "data=digits", "arm=[constant]", "forecaster=", "epochs=4", "seeds=1"]
    done = script("evaluate", *given, "dry_run=true", f"report={tmp_path / 'report'}")
    assert done.returncode == 0, done.stderr
    said = r"mlp-digits: 1 arm × 1 seed and 3 calibration runs: 4 runs, 16 epochs, 20 snapshots: "
    assert re.search(said + r"[\d.]+ (minutes|hours)\n", done.stdout)
    assert done.stdout.endswith("next: the same command without dry_run=true\n")
    assert [*tmp_path.iterdir()] == []


def test_what_the_command_would_refuse_a_dry_run_refuses(script, tmp_path):
    given = ["model=mlp", "data=digits", "arm=[constant]", "forecaster=", "epochs=2"]
    done = script("evaluate", *given, "dry_run=true", f"report={tmp_path / 'report'}")
    assert done.returncode == 2
    assert "a run has 3 evaluations" in done.stderr
