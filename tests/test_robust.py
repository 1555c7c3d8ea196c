"""The robust protocol: which runs it trains, what they come to, how that is said; it goes on after
a stop.
"""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from curves import CHOSEN, plan, reaching, read_back, run, told, untimed, validate
from pages import Page
from test_evaluation import Line

from collect.tasks import LOSS, Metric
from collect.training.stop import Stop
from evaluate import Arm, pictures, report, robust, summarise
from evaluate.arm_options import GuardOptions
from evaluate.arms import TUNED
from evaluate.commands.evaluate import ROBUST_ARMS, with_arms
from evaluate.comparison import compare, write
from evaluate.starts import SWEPT, label, prepared, row, rows, spread
from evaluate.statistics import geometric_interval, speed_up
from evaluate.trials import Stopped
from nowcast.types import UserError

COSINE = Arm(schedule="cosine", learning_rate="tuned")
FREE = Arm(over="cosine", optimizer="prodigy", learning_rate=1.0, warmup=0.1)
JUMPS = Arm(over="cosine", forecaster="linear", guard=GuardOptions())
ARMS = {"cosine": COSINE, "free": FREE}
STARTS = (0.125, 1.0)


def test_every_arm_is_over_the_swept_base_and_has_a_warm_up_that_one_would_take_unasked():
    arms, left = prepared(
        {
            **ARMS,
            "constant": Arm(),
            "given": Arm(over="cosine", learning_rate="given"),
            "jumps": JUMPS,
        },
        optimizer="adam",
        warmup=0.02,
    )
    assert left == []
    assert [(arm.name, arm.over, arm.learning_rate, arm.warmup, arm.rate_of) for arm in arms] == [
        (SWEPT, None, TUNED, TUNED, SWEPT),
        ("cosine", SWEPT, TUNED, 0.02, SWEPT),
        ("free", SWEPT, 1.0, 0.1, ""),
        ("constant", SWEPT, TUNED, 0.02, SWEPT),
        ("given", SWEPT, TUNED, 0.02, SWEPT),
        ("jumps", SWEPT, TUNED, 0.02, SWEPT),
    ]


def test_every_arm_is_trained_from_every_start_and_one_that_finds_its_rate_once():
    arms, _ = prepared(ARMS, optimizer="adam")
    rates = {SWEPT: {"learning_rate": 0.2, "warmup": 0.3}}
    trained = rows(arms, rates, spread(arms, 0.2, STARTS))
    assert {name: (arm.name, arm.learning_rate, arm.warmup) for name, arm in trained.items()} == {
        "swept": (SWEPT, 0.2, 0.3),
        "cosine from 1/8": ("cosine", 0.025, 0.05),
        "cosine from 1": ("cosine", 0.2, 0.05),
        "free": ("free", 1.0, 0.1),
    }


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        ({"swept": Arm()}, "arm=swept: is the name of the swept base"),
        (
            {"low": Arm(learning_rate=0.01)},
            "arm.low.learning_rate=0.01: protocol=robust trains every arm",
        ),
        ({"mine": Arm(over="cosine")}, "add it to arm=[mine]"),
    ],
)
def test_arms_that_cannot_be_are_refused_in_one_line(arms, said):
    with pytest.raises(UserError) as caught:
        prepared(arms, optimizer="adam")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_starts_are_shown_as_fractions_where_they_are_some():
    assert [label(start) for start in (1 / 32, 1 / 3, 0.5, 0.3, 1.0, 4.0)] == [
        "1/32",
        "1/3",
        "1/2",
        "0.3",
        "1",
        "4",
    ]


@pytest.mark.parametrize(
    ("typed", "added"),
    [
        (["protocol=robust"], True),
        (["protocol=robust", "arm=[cosine]"], False),
        (["protocol=honest"], False),
        (["protocol=robust", "experiment=mine"], False),
        (["protocol=robust", "arm.cosine.warmup=0.1"], True),
    ],
)
def test_the_protocol_has_arms_of_its_own_where_none_are_named(typed, added):
    assert with_arms(typed) == [*typed, f"arm=[{','.join(ROBUST_ARMS)}]"] if added else typed


def named(trained):
    """Arms under the names that they have in results."""
    return tuple(replace(arm, name=name) for name, arm in trained.items())


def made(ends, *, seeds=2, metric=LOSS, base=1.0):
    """Results of two methods whose runs fall to a height each, by row and seed."""
    given, _ = prepared(ARMS, optimizer="adam")
    rates, from_starts = (
        {SWEPT: CHOSEN | {f"final_{metric.name}": {"0.2": base}}},
        spread(given, 0.2, STARTS),
    )
    shown = plan(seeds=seeds, metrics=(metric,), base=Arm())
    shown = replace(shown, arms=named(rows(given, rates, from_starts)))

    def curve(arm, seed):
        height = ends.get(arm.name, [base] * seeds)[seed]
        values = [9.0, 8, 7, 6, 5, *[height] * 4]
        return run(values, accuracy=values) | {metric.name: values}

    targets = {SWEPT: {"0.5": 6.0, "0.75": 5.0, "0.95": base}}
    found = summarise(shown, rates, targets, curve)
    found |= {"robust": robust.summarised(found, from_starts, metric, 0.05)}
    return found | {"verdicts": [robust.sentence(found)]}


def test_regret_is_the_final_loss_over_the_bases_paired_by_seed():
    found = made({"cosine from 1/8": [2.0, 8.0], "cosine from 1": [0.5, 0.5], "free": [1.0, 2.0]})
    cosine, free = found["robust"]["methods"]
    assert [one["each"] for one in cosine["starts"]] == [
        pytest.approx([2, 8]),
        pytest.approx([0.5, 0.5]),
    ]
    assert cosine["starts"][0]["regret"] == pytest.approx(list(geometric_interval([2.0, 8.0])))
    assert cosine["each"] == pytest.approx([1, 2])  # the geometric means of 2 and 0.5, of 8 and 0.5
    assert cosine["mean"] == pytest.approx(list(geometric_interval([1.0, 2.0])))
    assert [one["each"] for one in free["starts"]] == [pytest.approx([1, 2])] * 2
    assert (cosine["finds_its_rate"], free["finds_its_rate"]) == (False, True)
    assert found["verdicts"] == [
        "Over 2 starts cosine, free alike have the lowest mean regret, 1.41× [0.02, 115.61]; "
        "worst starts: cosine 4.00× from 1/8, free 1.41×."
    ]


@pytest.mark.parametrize(("better", "sign"), [("lower", 1), ("higher", -1)])
def test_regret_by_a_metric_that_is_compared_by_difference_is_a_difference(better, sign):
    metric = Metric("score", better, "difference")
    found = made({"cosine from 1/8": [-2.0, 3.0], "cosine from 1": [1.0, 1.0]}, metric=metric)
    cosine, _ = found["robust"]["methods"]
    assert cosine["starts"][0]["each"] == pytest.approx([-3 * sign, 2 * sign])
    assert cosine["mean"][0] == pytest.approx(-0.25 * sign)
    assert cosine["mean"][1] <= cosine["mean"][0] <= cosine["mean"][2]
    assert "base − method" not in robust.words(found)


def test_a_metric_that_is_better_when_higher_has_its_regret_the_other_way_round():
    found = made({"cosine from 1/8": [0.5, 0.5]}, metric=Metric("score", "higher", "ratio"))
    assert found["robust"]["methods"][0]["starts"][0]["regret"][0] == pytest.approx(2)
    assert "base / method" in robust.words(found)


def test_a_method_with_a_run_that_is_lost_has_no_finite_regret(tmp_path):
    found = made({"cosine from 1/8": [2.0, math.nan], "free": [3.0, 3.0]})
    cosine = found["robust"]["methods"][0]
    assert (cosine["each"], cosine["starts"][0]["each"], cosine["starts"][0]["diverged"]) == (
        None,
        None,
        1,
    )
    assert "free has the lowest mean regret, 3.00×" in found["verdicts"][0]
    assert "cosine ∞ from 1/8" in found["verdicts"][0]
    both = made({"cosine from 1/8": [2.0, math.nan], "free": [math.nan, 3.0]})
    assert both["verdicts"][0].startswith(
        "No method has a finite mean regret over 2 starts; worst: cosine ∞ from 1/8"
    )
    back = read_back(told(found), tmp_path)
    validate("results", back)
    assert robust.regrets(back)[1][1:] == ("∞, 1 diverged", "1.00× [1.00, 1.00]", "∞")
    Page(report.page(back)).check()


def test_steps_are_a_share_of_the_bases_and_a_bound_where_runs_do_not_get_there():
    given, _ = prepared(ARMS, optimizer="adam")
    from_starts = spread(given, 0.2, STARTS)
    shown = replace(
        plan(seeds=2, base=Arm()), arms=named(rows(given, {SWEPT: CHOSEN}, from_starts))
    )
    when = {"swept": 20, "cosine from 1/8": None, "cosine from 1": 10, "free": 20}
    found = summarise(
        shown, {SWEPT: CHOSEN}, {SWEPT: {"0.75": 0.5}}, lambda arm, seed: reaching(when[arm.name])
    )
    found |= {"robust": robust.summarised(found, from_starts, LOSS, 0.05)}
    low, best = found["robust"]["methods"][0]["starts"]
    assert (low["steps"]["0.75"]["share"][0], low["steps"]["0.75"]["reached"]) == (
        pytest.approx(2),
        0,
    )
    value, *ends = best["steps"]["0.75"]["share"]
    assert value == pytest.approx(0.5)
    assert ends == pytest.approx([1 / end for end in speed_up([200] * 2, [100] * 2, 10)[:0:-1]])
    assert robust.steps(found, "0.75")[1] == (
        "cosine",
        "≥ 2.00× [1.73, 2.31] 0/2",
        "0.50× [0.37, 0.67] 2/2",
    )


def test_the_picture_has_a_line_for_each_method_over_the_rates_that_it_began_with():
    found = told(made({"cosine from 1/8": [2.0, 8.0], "free": [3.0, 3.0]}))
    [axes] = pictures.drawn(found)["robust"].axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == ["cosine", "free", SWEPT]
    assert list(lines["cosine"].get_xdata()) == pytest.approx([0.025, 0.2])
    assert list(lines["cosine"].get_ydata()) == pytest.approx([5, 1])
    assert list(lines["free"].get_ydata()) == pytest.approx([3, 3])
    assert axes.get_xscale() == axes.get_yscale() == "log"


class After(Stop):
    """Asks for a stop after so many questions."""

    def __init__(self, questions):
        super().__init__()
        self.left = questions

    @property
    def reason(self):
        self.left -= 1
        return "enough" if self.left < 0 else ""


SETTINGS = {
    "epochs": 7,
    "learning_rates": [0.01, 0.1],
    "warmups": [0.0, 0.1],
    "seeds": [0, 1],
    "calibration_seeds": [8, 9],
    "workers": 1,
    "starts": STARTS,
}


def curves(results):
    keys = ("step", "loss", "test_loss", "jumps")
    return {
        name: [{key: untimed(one)[key] for key in keys} for one in runs]
        for name, runs in results["curves"].items()
    }


def test_a_comparison_that_was_stopped_goes_on_and_ends_in_the_same(tmp_path):
    whole = compare(Line(), ARMS | {"jumps": JUMPS}, tmp_path / "whole", **SETTINGS)
    for questions in (3, 100):
        with pytest.raises(Stopped, match="enough"):
            compare(
                Line(),
                ARMS | {"jumps": JUMPS},
                tmp_path / "parts",
                **SETTINGS,
                stop=After(questions),
            )
    before = {
        file: file.stat().st_mtime_ns for file in (tmp_path / "parts").glob("runs/*/*/seed*.json")
    }
    assert 8 < len(before) < 22
    found = compare(Line(), ARMS | {"jumps": JUMPS}, tmp_path / "parts", **SETTINGS)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert curves(found) == curves(whole)
    np.testing.assert_equal(found["robust"], whole["robust"])
    more = compare(
        Line(), ARMS | {"jumps": JUMPS}, tmp_path / "parts", **SETTINGS | {"starts": (*STARTS, 2.0)}
    )
    assert [len(one["starts"]) for one in more["robust"]["methods"]] == [3, 3, 3]
    assert {file: file.stat().st_mtime_ns for file in before} == before


@pytest.fixture(scope="module")
def short(once, script, small_task):
    """``(folder, process)`` of a short form: two starts, three arms, three seeds."""
    given = [
        "protocol=robust",
        *small_task,
        "seeds=3",
        "epochs=11",
        "arm=[cosine,cosine_auto,prodigy]",
        "forecaster=wnn",
        "robust.starts=[0.125,2]",
        "tuned.learning_rates=[0.003,0.01]",
        "tuned.warmups=[0,0.1]",
        "tuned.seeds=2",
    ]
    root, done = once(
        "robust", lambda root: script("evaluate", *given, f"report={root / 'report'}", cwd=root)
    )
    assert done.returncode == 0, done.stderr
    return root / "report", done


def test_the_commands_report_holds_every_number_of_its_runs(short):
    folder, done = short
    results = json.loads((folder / "results.json").read_text())
    validate("results", results)
    block = results["robust"]
    assert (block["starts"], [one["name"] for one in block["methods"]]) == (
        [0.125, 2], ["cosine", "cosine_auto", "prodigy"],
    )  # fmt: skip

    def finals(arm):
        folders = [one for one in (folder / "runs" / arm.split(" ")[0]).iterdir() if one.is_dir()]
        rate = next(each["learning_rate"] for each in results["arms"] if each["name"] == arm)
        [own] = [
            one
            for one in folders
            if one.name.split("-")[0] == repr(float(rate)) and (one / "seed0.json").exists()
        ]
        return [
            np.mean(json.loads((own / f"seed{seed}.json").read_text())["loss"][-3:])
            for seed in range(3)
        ]

    base = finals(SWEPT)
    for method in block["methods"]:
        for start in method["starts"]:
            assert start["each"] == pytest.approx(np.divide(finals(start["arm"]), base).tolist())
    assert results["verdicts"][0] == robust.sentence(results)
    assert results["verdicts"][0] in done.stdout
    chosen = results["rates"][SWEPT]
    assert (chosen["rates"], chosen["warmups"], len(chosen["final_loss"])) == (2, 2, 4)
    assert (
        f"of {chosen['rates']} rates × {chosen['warmups']} warm-ups"
        in (folder / "report.md").read_text()
    )


def test_the_page_shows_the_table_the_picture_and_the_steps(short):
    folder, _ = short
    results = json.loads((folder / "results.json").read_text())
    page = Page((folder / "report.html").read_text())
    page.check()
    assert [list(one) for one in robust.regrets(results)] in [
        list(map(list, table)) for table in page.tables
    ]
    for share in results["targets"][SWEPT]:
        assert list(map(list, robust.steps(results, share))) in [
            list(map(list, table)) for table in page.tables
        ]
    assert (folder / "robust.png").stat().st_size > 1000
    write_again = write(folder, results | {"made_by": []}, results["commands"])
    assert write_again["robust"] == results["robust"]


def test_row_names_tell_starts_apart():
    arms, _ = prepared(ARMS, optimizer="adam")
    assert [row(arm, 0.5) for arm in arms[1:]] == ["cosine from 1/2", "free"]
    assert Path("runs", arms[1].name).name == "cosine"
