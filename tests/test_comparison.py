"""Comparing: choices and verdicts on made-up curves, pairing and going on with the real loop."""

import json
import math
import time

import numpy as np
import pytest

import nowcast
from collect.comparison import Stopped, Trials, claim, write_json
from collect.config import DataConfig, ModelConfig
from collect.population import make_task
from collect.stop import Stop
from nowcast.evaluation import Arm, Plan, calibration_arms, choose, comparison_arms, summarise

PLAN = Plan(
    learning_rate=0.1, tuned_rates=(0.1, 0.2, 0.4), forecasters=("linear", "wnn"), seeds=(0, 1, 2, 3, 4),
    calibration_seeds=(10, 11, 12), target_share=0.75,
)  # fmt: skip


def falling(height, length=9):
    return {"epoch": list(range(length)), "loss": [height - i for i in range(length)]}


def flat(height):
    return {"epoch": list(range(9)), "loss": [float(height)] * 9}


def test_calibration_trains_the_bases_and_nothing_else():
    arms = calibration_arms(PLAN)
    assert [(a.base, a.learning_rate, a.schedule, a.forecaster) for a in arms] == [
        ("constant", 0.1, "constant", "alone"),
        *(("tuned", rate, "cosine", "alone") for rate in (0.1, 0.2, 0.4)),
    ]


def test_the_rate_with_the_lowest_median_final_loss_is_chosen_and_targets_are_medians():
    heights = {  # by rate and calibration seed
        ("constant", 0.1): {10: 20.0, 11: 30.0, 12: 99.0},
        ("tuned", 0.1): {10: 40.0, 11: 40.0, 12: 40.0},
        ("tuned", 0.2): {10: 10.0, 11: 15.0, 12: 90.0},  # mean 38, median 15: the median counts
        ("tuned", 0.4): {10: 20.0, 11: 21.0, 12: 22.0},
    }
    choice = choose(PLAN, lambda arm, seed: falling(heights[arm.base, arm.learning_rate][seed]))
    assert choice["learning_rate"] == 0.2
    assert not choice["at_edge"]
    # the last of 9 losses, smoothed over the last three, is 7 below the first
    assert choice["final_loss"] == pytest.approx({"0.1": 33, "0.2": 8, "0.4": 14})
    # after 3/4 of the way, at place 6 of 0 … 8, the mean of places 4, 5, 6 is 5 below the first
    assert choice["targets"] == pytest.approx({"constant": 25, "tuned": 10})


@pytest.mark.parametrize(("best", "at_edge"), [(0.1, True), (0.2, False), (0.4, True)])
def test_a_best_rate_at_the_edge_of_the_grid_is_said(best, at_edge):
    choice = choose(PLAN, lambda arm, seed: flat(abs(arm.learning_rate - best)))
    assert (choice["learning_rate"], choice["at_edge"]) == (best, at_edge)


def test_a_rate_that_diverges_is_not_chosen():
    choice = choose(PLAN, lambda arm, seed: flat(math.nan if arm.learning_rate == 0.4 else 1 / arm.learning_rate))
    assert choice["learning_rate"] == 0.2


def test_every_base_is_compared_alone_and_with_every_forecaster():
    arms = comparison_arms(PLAN, {"learning_rate": 0.2})
    assert [arm.name for arm in arms] == [
        "constant-alone", "constant-linear", "constant-wnn", "tuned-alone", "tuned-linear", "tuned-wnn",
    ]  # fmt: skip
    assert {arm.learning_rate for arm in arms if arm.base == "tuned"} == {0.2}


def made_results(crossings):
    """Results of runs that cross a target of 0.5 at these epochs, by arm; None: never, in 40 epochs."""

    def curve(arm, seed):
        when = crossings[arm.name][seed]
        loss = [1.0 if when is None or epoch < when - 2 else 0.25 for epoch in range(41)]
        if when is not None and when >= 2:
            loss[when - 2] = 0.9  # (0.9 + 0.25 + 0.25) / 3 < 0.5, and one epoch before it is not
        return {"epoch": list(range(41)), "loss": loss, "test_accuracy": [0.5 + seed / 10]}

    choice = {"learning_rate": 0.2, "targets": {"constant": 0.5, "tuned": 0.5}}
    choice["ladder"] = {base: {"0.5": 0.5} for base in choice["targets"]}
    return summarise(PLAN, choice, comparison_arms(PLAN, choice), curve)


@pytest.fixture
def results():
    return made_results(
        {
            "constant-alone": [20, 22, 24, 26, 28],
            "constant-linear": [40, 40, None, None, None],
            "constant-wnn": [10, 11, 12, 13, 14],
            "tuned-alone": [10, 11, 12, 13, 14],
            "tuned-linear": [5, 11, 14, 13, 15],
            "tuned-wnn": [5, 9, 6, 8, 7],
        }
    )


def test_epochs_to_target_are_measured_censored_and_paired(results):
    rows = {row["name"]: row for row in results["arms"]}
    assert rows["constant-alone"]["own_target"]["epochs"] == [20, 22, 24, 26, 28]
    assert rows["constant-wnn"]["own_target"]["speed_up"] == pytest.approx([2, 2, 2])
    linear = rows["constant-linear"]["own_target"]
    assert linear["epochs"] == [40] * 5  # never: the whole length, not left out
    assert (linear["reached"], linear["median_epochs"]) == (2, 40)
    assert rows["tuned-wnn"]["own_target"]["speed_up"][0] == pytest.approx((2 * 11 / 9 * 2 * 13 / 8 * 2) ** (1 / 5))
    assert rows["tuned-alone"]["constant_target"]["speed_up"] == pytest.approx([2, 2, 2])
    assert rows["constant-wnn"]["test_accuracy"] == pytest.approx(0.7)
    assert rows["constant-wnn"]["best_loss"] == pytest.approx(0.25)


def test_verdicts_say_what_helps_hurts_or_cannot_be_told(results):
    said = {
        (base, name): line
        for line in results["verdicts"]
        for base, words in (("constant", "Over a constant rate, "), ("tuned", "Over the tuned base"))
        for name in ("linear", "wnn")
        if line.startswith(words) and f" {name} " in line
    }
    assert "fewer epochs: 2.00× [2.00, 2.00]" in said["constant", "wnn"]
    assert "HURTS" in said["constant", "linear"]
    assert "makes no difference that these seeds can show" in said["tuned", "linear"]
    assert "fewer epochs" in said["tuned", "wnn"]
    assert "2.00×" in results["verdicts"][-1]
    assert "not a gain over what you could have anyway" in results["verdicts"][-1]


def test_targets_that_nobody_reaches_give_a_ratio_of_1():
    everyone = dict.fromkeys([arm.name for arm in comparison_arms(PLAN, {"learning_rate": 0.2})], [None] * 5)
    rows = made_results(everyone)["arms"]
    assert all(row["own_target"]["reached"] == 0 for row in rows)
    assert all(row["own_target"]["speed_up"] == pytest.approx([1, 1, 1]) for row in rows)


@pytest.fixture(scope="module")
def task():
    return make_task(ModelConfig("mlp", width=0.1), DataConfig(train_size=128), 32)


def trials(task, folder, stop=None):
    forecasters = {"linear": nowcast.load("linear"), "last_value": nowcast.load("last_value")}
    settings = {"optimizer": "adam", "epochs": 7, "record_every": None, "folder": folder}
    return Trials(task, **settings, forecasters=forecasters, stop=stop or Stop())


ARMS = [Arm("constant", 3e-3, "constant", name) for name in ("alone", "linear", "last_value")]


def test_arms_of_a_seed_are_equal_bit_for_bit_until_the_first_jump(task, tmp_path):
    these = trials(task, tmp_path)
    these.train(ARMS, [0, 1], "test")
    for seed in (0, 1):
        alone, linear, _ = (these.curve(arm, seed) for arm in ARMS)
        assert alone["epoch"] == list(range(8))
        for key in ("loss", "accuracy", "train_loss"):  # the window is full after epoch 5
            np.testing.assert_array_equal(alone[key][:5], linear[key][:5])
        assert alone["train_loss"][5] == linear["train_loss"][5]  # measured before the jump
        assert alone["loss"][5] != linear["loss"][5]  # and this after it
        assert alone["train_loss"][6] != linear["train_loss"][6]
        assert len(alone["test_loss"]) == 1
    assert these.curve(ARMS[0], 0)["loss"] != these.curve(ARMS[0], 1)["loss"]


def test_jumping_to_the_last_value_changes_nothing_but_rounding(task, tmp_path):
    these = trials(task, tmp_path)
    these.train(ARMS, [0], "test")
    alone, _, still = (these.curve(arm, 0) for arm in ARMS)
    np.testing.assert_allclose(still["loss"], alone["loss"], rtol=1e-4)


def test_a_stopped_comparison_keeps_what_is_finished_and_goes_on(task, tmp_path):
    whole = trials(task, tmp_path / "whole")
    whole.train(ARMS, [0, 1], "test")
    first = trials(task, tmp_path / "parts")
    first.train(ARMS, [0], "test")
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("parts/*/*.json")}
    assert len(before) == 3
    with pytest.raises(Stopped, match="max_minutes"):
        trials(task, tmp_path / "parts", Stop(max_minutes=0.0)).train(ARMS, [0, 1], "test")
    time.sleep(0.01)
    again = trials(task, tmp_path / "parts")
    again.train(ARMS, [0, 1], "test")
    assert {file: file.stat().st_mtime_ns for file in before} == before
    for arm in ARMS:
        for seed in (0, 1):
            np.testing.assert_equal(again.curve(arm, seed), whole.curve(arm, seed))


def test_a_folder_is_claimed_for_one_configuration(tmp_path):
    claim(tmp_path / "report", {"epochs": 3, "seeds": (0, 1)})
    claim(tmp_path / "report", {"epochs": 3, "seeds": (0, 1)})
    with pytest.raises(nowcast.UserError, match="epochs: 3 there, 4 asked for"):
        claim(tmp_path / "report", {"epochs": 4, "seeds": (0, 1)})


def test_what_is_not_finite_becomes_null_and_comes_back_as_nan(task, tmp_path):
    write_json(tmp_path / "a.json", {"loss": [1.0, math.nan, math.inf]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"loss": [1.0, None, None]}
    folder = tmp_path / "constant-alone-0.003"
    folder.mkdir()
    (tmp_path / "a.json").rename(folder / "seed0.json")
    np.testing.assert_equal(trials(task, tmp_path).curve(ARMS[0], 0), {"loss": [1.0, math.nan, math.nan]})
