"""The printed interval decides: on made-up results, bold and words against what a reader reads."""

import math
import re

import numpy as np
import pytest
from curves import plan, results, run, told

from evaluate import budget, drawing, judged, pictures, tables, verdicts, words
from evaluate.arms import Arm
from evaluate.decision import Bound, Verdict, bounded, decide, excludes
from evaluate.metrics import LOSS, Metric, shown

NAN = math.nan
REWARD = Metric("reward", "higher", "difference")
PRINTED = re.compile(r"(≥ |≤ )?([-+.\d]+)×? \[([-+.\d]+), ([-+.\d]+)\]")


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


def test_a_ratio_with_seeds_too_low_and_others_too_high_is_no_bound():
    assert bounded(True, True) is bounded(False, False) is Bound.NONE
    assert (bounded(True, False).inverse, bounded(False, True).inverse) == ("≤ ", "≥ ")


@pytest.mark.parametrize(
    ("metric", "found", "text"),
    [
        (LOSS, [1.02, 1.0004, 1.04], "1.02× [1.0004, 1.04]"),
        (LOSS, [0.98, 0.96, 0.996], "0.98× [0.96, 0.996]"),
        (LOSS, [1.0, 1.0, 1.0], "1.00× [1.00, 1.00]"),
        (LOSS, [1.004, 1.0, 1.01], "1.00× [1.00, 1.01]"),
        (REWARD, [12.5, 0.004, 25.0], "+12.50 [+0.004, +25.00]"),
        (REWARD, [-12.5, -25.0, -0.001], "-12.50 [-25.00, -0.001]"),
    ],
)
def test_an_end_near_to_equal_is_printed_with_the_digits_that_show_its_side(metric, found, text):
    assert shown(metric, found) == text


def bold_as_printed(cell, nothing):
    """Whether a cell is bold, and whether what a reader reads there says so."""
    text = cell.strip("*")
    read = PRINTED.fullmatch(text)
    if read is None:
        return cell.startswith("**"), False
    mark, value, low, high = read.groups(default="")
    ends = [float(value), float(low), float(high)]
    undone = (mark == "≤ " and ends[1] > nothing) or (mark == "≥ " and ends[2] < nothing)
    return cell.startswith("**"), excludes(ends, nothing) and not undone


def random_results(rng, metric):
    """Two arms over a base, as different from it as chance makes them; some never get there."""
    seeds, length = int(rng.integers(1, 7)), 13

    def runs(shift):
        made = []
        for _ in range(seeds):
            noise = 0.05 * rng.standard_normal()
            fall = 2.0 * np.exp(-np.arange(length) * (0.18 + shift + noise)) + 0.4 + noise / 4
            values = fall if metric is LOSS else 3 - 4 * fall
            made.append(
                run([float(one) for one in fall], seconds=2 + 0.1 * rng.random())
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
    return results(own, made, {"constant": {"0.75": 0.75 if metric is LOSS else 0.0}})


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
            for cell, nothing in ((cells[4], 1.0), (cells[5], 1.0 if metric is LOSS else 0.0)):
                bold, says = bold_as_printed(cell, nothing)
                assert bold == says, cell
            steps = judged.steps(row["against"]["constant"]["0.75"])
            assert steps is entry[3]
            assert steps.decided == cells[4].startswith("**")
            assert steps.decided == row["against"]["constant"]["0.75"]["steps"]["clear"]
            assert (steps is Verdict.BETTER) == ("in fewer steps" in line.text)
            assert (steps is Verdict.WORSE) == ("HURTS" in line.text)
            assert (": it " in line.text) == cells[5].startswith("**")
            seen.add(steps)
    assert seen >= {Verdict.BETTER, Verdict.WORSE, Verdict.NO_DIFFERENCE, Verdict.UNDECIDED}


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
        (1, 1, Verdict.BETTER),
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
