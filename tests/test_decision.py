"""The printed interval decides: on made-up results, bold and words against what a reader reads."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from curves import plan, results, run, told
from printed import checked, in_html, in_markdown

from evaluate import (
    budget,
    drawing,
    joint,
    joint_report,
    judged,
    metrics,
    pictures,
    report,
    tables,
    verdicts,
    words,
)
from evaluate.arms import Arm
from evaluate.decision import Bound, Verdict, bounded, decide, together
from evaluate.metrics import LOSS, Metric, shown

NAN = math.nan
REWARD = Metric("reward", "higher", "difference")


@pytest.mark.parametrize(
    ("found", "bound", "expected"),
    [
        ([1.13, 1.02, 1.25], "", Verdict.BETTER),
        ([0.8, 0.7, 0.9], "", Verdict.WORSE),
        ([1.13, 0.98, 1.3], "", Verdict.NO_DIFFERENCE),
        ([1.0, 1.0, 1.0], "", Verdict.NO_DIFFERENCE),
        ([1.1, 1.0, 1.2], "", Verdict.NO_DIFFERENCE),
        ([2.0, NAN, NAN], "", Verdict.UNDECIDED),
        ([2.0, None, None], "", Verdict.UNDECIDED),
        ([None, None, None], "", Verdict.UNDECIDED),
        ([1.13, 1.02, 1.25], "≤ ", Verdict.UNDECIDED),
        ([1.13, 1.02, 1.25], "≥ ", Verdict.BETTER),
        ([0.8, 0.7, 0.9], "≤ ", Verdict.WORSE),
        ([0.8, 0.7, 0.9], "≥ ", Verdict.UNDECIDED),
        ([1.13, 1.02, 1.25], "~ ", Verdict.UNDECIDED),
        ([0.8, 0.7, 0.9], "~ ", Verdict.UNDECIDED),
        ([1.13, 0.98, 1.3], "~ ", Verdict.NO_DIFFERENCE),
    ],
)
def test_a_verdict_is_that_of_the_interval_and_its_mark(found, bound, expected):
    assert decide(found, bound=Bound(bound)) is expected
    swapped = {Verdict.BETTER: Verdict.WORSE, Verdict.WORSE: Verdict.BETTER}
    assert decide(found, bound=Bound(bound), more_is_better=False) is swapped.get(
        expected, expected
    )


def test_a_difference_is_decided_at_0():
    assert decide([-1.0, -2.0, -0.5], 0.0) is Verdict.WORSE
    assert decide([-1.0, -2.0, 0.5], 0.0) is Verdict.NO_DIFFERENCE


def test_runs_of_both_that_miss_the_target_leave_the_direction_open():
    assert bounded(False, False) is Bound.NONE
    assert bounded(True, True) is bounded(True, True).inverse is Bound.UNKNOWN
    assert (bounded(True, False).inverse, bounded(False, True).inverse) == ("≤ ", "≥ ")


@pytest.mark.parametrize(
    ("metric", "found", "text"),
    [
        (LOSS, [1.02, 1.0004, 1.04], "1.0200× [1.0004, 1.0400]"),
        (LOSS, [0.98, 0.96, 0.996], "0.980× [0.960, 0.996]"),
        (LOSS, [0.9994, 0.9991, 0.9997], "0.9994× [0.9991, 0.9997]"),
        (LOSS, [0.9992, 0.9986, 0.99976], "0.9992× [0.9986, 0.9998]"),
        (LOSS, [1.0, 1.0, 1.0], "1.00× [1.00, 1.00]"),
        (LOSS, [1.004, 1.0, 1.01], "1.00× [1.00, 1.01]"),
        (REWARD, [12.5, 0.004, 25.0], "+12.500 [+0.004, +25.000]"),
        (REWARD, [-12.5, -25.0, -0.001], "-12.500 [-25.000, -0.001]"),
    ],
)
def test_an_end_near_to_equal_is_printed_with_the_digits_that_show_its_side_and_so_is_the_value(
    metric, found, text
):
    assert shown(metric, found) == text


def random_results(rng, metric):
    """Two arms over a base, as different from it as chance makes them; some never get there."""
    seeds, length, alone = int(rng.integers(1, 7)), 13, bool(rng.random() < 0.8)

    def runs(shift):
        made = []
        for _ in range(seeds):
            noise = 0.05 * rng.standard_normal()
            fall = 2.0 * np.exp(-np.arange(length) * (0.18 + shift + noise)) + 0.4 + noise / 4
            values = fall if metric is LOSS else 3 - 4 * fall
            made.append(
                run([float(one) for one in fall], seconds=2 + 0.1 * rng.random(), undisturbed=alone)
                | {metric.name: [float(one) for one in values]}
            )
        return made

    own = plan(
        seeds=seeds,
        metrics=(metric,),
        constant=Arm(),
        near=Arm(over="constant", forecaster="linear"),
        far=Arm(over="constant", forecaster="quadratic"),
    )
    made = {"constant": runs(0), "near": runs(rng.normal(0, 0.02)), "far": runs(rng.normal(0, 0.1))}
    targets = {"0.5": 1.0, "0.75": 0.75} if metric is LOSS else {"0.5": -1.0, "0.75": 0.0}
    errors = {"near": [{"fc": 1 + rng.normal(0.03, 0.04)} for _ in range(seeds)]}
    return told(results(own, made, {"constant": targets}, errors), str(rng.random()))


@pytest.mark.parametrize("metric", [LOSS, REWARD], ids=["ratio", "difference"])
def test_bold_colours_and_words_are_those_of_the_printed_interval(metric):
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(25):
        found = random_results(rng, metric)
        lines = [line for line in verdicts.lines(found) if " over constant " in line.text]
        rows = [row for row in found["arms"] if row["over"]]
        digest, forest = tables.digest(found)[1:], tables.forest(found)
        for cells, row, line, entry in zip(digest, rows, lines, forest, strict=True):
            steps = judged.steps(row["against"]["constant"]["0.75"])
            assert steps is entry[3]
            assert steps.decided == cells[4].verdict.decided
            assert steps.decided == row["against"]["constant"]["0.75"]["steps"]["clear"]
            assert (steps is Verdict.BETTER) == ("in fewer steps" in line.text)
            assert (steps is Verdict.WORSE) == ("HURTS" in line.text)
            assert (": it " in line.text) == cells[5].verdict.decided
            seen.add(steps)
    assert seen >= {Verdict.BETTER, Verdict.WORSE, Verdict.NO_DIFFERENCE, Verdict.UNDECIDED}


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without their pictures, which have no table and take the longest."""
    monkeypatch.setattr(pictures, "drawn", lambda _: {"curves": None})
    monkeypatch.setattr(pictures, "forest", lambda *_: None)
    monkeypatch.setattr(joint_report.run_pictures, "curves", lambda _: None)
    monkeypatch.setattr(joint_report, "picture", lambda _: None)
    monkeypatch.setattr(report, "figure", lambda *_: "")


@pytest.mark.parametrize("metric", [LOSS, REWARD], ids=["ratio", "difference"])
def test_every_table_of_a_report_is_bold_where_its_printed_interval_says_so(metric, undrawn):
    rng = np.random.default_rng(2)
    found = [random_results(rng, metric) for _ in range(40)]
    seen = set()
    for one in found:
        page = in_html(report.page(one))
        seen |= {*checked(page), *checked(in_markdown(report.markdown(one)))}
        checked(in_markdown(tables.markdown(tables.digest(one))))
        titles = " ".join(
            cell for cell, _ in in_markdown(tables.markdown(tables.ladder(one, "constant")))
        )
        assert "50% of the base" in titles
    assert seen >= set(product(("", "≥ ", "≤ "), (True, False))) | {("~ ", False), ("≈", False)}
    for three in zip(*[iter(found)] * 3, strict=False):
        joined = joint.join(three)
        checked(in_html(joint_report.page(joined, three)))
        checked(in_markdown(joint_report.markdown(joined)))


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parent.parent / "docs").glob("results/**/*.md")), ids=str
)
def test_every_table_of_the_pages_of_results_is_bold_where_its_printed_interval_says_so(file):
    checked(in_markdown(file.read_text()))


def test_a_printed_value_lies_between_its_printed_ends():
    rng = np.random.default_rng(3)
    for metric, _ in product((LOSS, REWARD), range(2000)):
        low, value, high = np.sort(
            metrics.none(metric) + 10 ** rng.uniform(-5, 1) * rng.normal(size=3)
        )
        checked(
            [
                (
                    shown(metric, [value, low, high]),
                    low > metrics.none(metric) or high < metrics.none(metric),
                )
            ]
        )


def test_the_bound_of_a_mean_is_that_of_counts_of_runs():
    rng = np.random.default_rng(4)
    for _ in range(200):
        base, arm = rng.random((2, 3)) < 0.3
        seeds = [bounded(bool(b), bool(a)) for b, a in zip(base, arm, strict=True)]
        assert together(seeds) is bounded(bool(base.any()), bool(arm.any()))


def test_a_forest_has_the_colours_of_the_verdicts():
    said = [Verdict.BETTER, Verdict.WORSE, Verdict.NO_DIFFERENCE, Verdict.UNDECIDED]
    entries = [(one.value, [1.5, 1.2, 1.9], "", one) for one in said]
    [axes] = pictures.forest(entries, "steps").axes
    colours = [line.get_color() for line in axes.lines if line.get_marker() == "o"][::-1]
    assert colours == [drawing.BETTER, drawing.WORSE, drawing.NEITHER, drawing.NEITHER]


@pytest.mark.parametrize(
    ("above", "below", "expected"),
    [
        (0, 0, Verdict.BETTER),
        (2, 0, Verdict.BETTER),
        (0, 2, Verdict.UNDECIDED),
        (1, 1, Verdict.UNDECIDED),
    ],
)
def test_a_gain_of_the_budget_is_one_that_no_bound_undoes(above, below, expected):
    arm = {"speed_up": [1.2, 1.1, 1.3], "above": above, "below": below}
    assert budget.shown(arm) is expected


def test_a_report_says_which_interval_decides():
    rng = np.random.default_rng(1)
    found = told(random_results(rng, LOSS))
    method = " ".join(words.method(found))
    assert "The printed interval decides" in method
    assert "not corrected for the number of arms" in method
