"""Bases that differ in their learning rate alone: what is read from the arms over them, and its
picture.
"""

import copy
import json

import pytest
from pages import Page

from evaluate import pictures, report, sweeps
from evaluate.comparison import write

RATES = (0.03, 0.001, 0.01)


@pytest.fixture
def sweep(evaluated):
    """The results of one base and an arm over it, as if at three rates: each ratio is multiplied by
    its own factor.
    """
    results = json.loads((evaluated[0] / "results.json").read_text())
    kept = [row for row in results["arms"] if row["name"] in ("constant", "constant_linear")]
    results["arms"] = []
    headline = results["protocol"]["headline"]
    for times, rate in enumerate(RATES, 1):
        base = f"at_{rate}"
        for row in copy.deepcopy(kept):
            row |= {
                "name": row["name"].replace("constant", base),
                "over": row["over"] and base,
                "learning_rate": rate,
            }
            against = row["against"].pop("constant")
            if row["over"]:
                against[headline]["steps"]["speed_up"] = [
                    times * found for found in (1.0, 0.5, 2.0)
                ]
                row["final_loss_ratio"]["ratio"] = [times + 0.25, None, None]
            row["against"] = {f"at_{other}": against for other in RATES}
            results["arms"].append(row)
            results["curves"][row["name"]] = results["curves"][
                "constant_linear" if row["over"] else "constant"
            ]
        results["targets"][base] = results["targets"]["constant"]
    return results


def test_points_stand_by_base_and_arm_from_the_lowest_rate_up(sweep):
    words = next(row["words"] for row in sweep["arms"] if not row["over"])
    assert sweeps.sweeps(sweep) == {
        words: {
            "linear": [
                (0.001, [2.0, 1.0, 4.0], [2.25, None, None]),
                (0.01, [3.0, 1.5, 6.0], [3.25, None, None]),
                (0.03, [1.0, 0.5, 2.0], [1.25, None, None]),
            ]
        }
    }


def test_the_picture_shows_each_point_and_its_interval(sweep):
    steps, losses = pictures.drawn(sweep)["sweep"].axes
    for axes, expected in ((steps, [2.0, 3.0, 1.0]), (losses, [2.25, 3.25, 1.25])):
        [line] = [line for line in axes.lines if line.get_marker() == "o"]
        assert list(line.get_ydata()) == expected
        assert list(line.get_xdata()) == [0.001, 0.01, 0.03]
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.001", "0.01", "0.03"]
    [intervals] = steps.collections
    assert [sorted(float(y) for _, y in ends) for ends in intervals.get_segments()] == [
        [1, 4],
        [1.5, 6],
        [0.5, 2],
    ]


def test_an_arm_has_one_colour_in_every_panel_and_each_has_its_own(sweep):
    """Beside the panel of one arm another of two."""
    for row in sweep["arms"]:
        row["against"] |= {
            base.replace("at", "in"): found for base, found in row["against"].items()
        }
    for row in copy.deepcopy(sweep["arms"]):
        there = {
            "name": row["name"].replace("at", "in"),
            "over": row["over"] and row["over"].replace("at", "in"),
        }
        sweep["arms"].append(row | there | {"words": "another schedule"})
        if row["over"]:
            sweep["arms"].append(row | there | {"name": f"{there['over']}_first"})
    sweep["arms"] = sorted(sweep["arms"], key=lambda row: "first" not in row["name"])
    figure = pictures.sweep(sweep)
    [legend] = figure.legends
    named = {line.get_label(): line.get_color() for line in legend.get_lines()}
    assert sorted(named) == ["first", "linear"]
    assert len(set(named.values())) == 2
    drawn = [
        {line.get_color() for line in axes.lines if line.get_marker() == "o"}
        for axes in figure.axes
    ]
    assert sorted(drawn, key=len) == [{named["linear"]}] * 2 + [set(named.values())] * 2


@pytest.mark.parametrize("kind", ["settings", "name"])
def test_arms_that_are_not_the_same_are_no_line(sweep, kind):
    [row] = [row for row in sweep["arms"] if row["name"] == "at_0.01_linear"]
    if kind == "settings":
        row["settings"]["jump"]["horizon"] = 40
    else:
        row["name"] = "linear"
    assert sweeps.sweeps(sweep) == {}


def test_the_page_has_it_and_stays_whole(sweep):
    page = Page(report.page(sweep))
    page.check()
    assert "From rate to rate" in report.page(sweep)


def test_a_report_has_the_picture_as_a_file(sweep, tmp_path):
    write(tmp_path, sweep | {"made_by": []})
    assert {"curves.png", "sweep.png", "report.html", "report.md", "results.json"} == {
        file.name for file in tmp_path.iterdir()
    }


@pytest.mark.parametrize("change", ["two rates", "other bases"])
def test_fewer_rates_or_other_bases_are_no_sweep(sweep, change):
    if change == "two rates":
        sweep["arms"] = [row for row in sweep["arms"] if "0.03" not in row["name"]]
    else:
        sweep["arms"][0]["words"] = "another"
    assert (sweeps.sweeps(sweep), list(pictures.drawn(sweep))) == ({}, ["curves"])
    assert "From rate to rate" not in report.page(sweep)
