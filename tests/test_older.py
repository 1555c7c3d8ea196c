"""Results of before t-intervals: the files' numbers stand, and pages decide anew."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
from curves import plan, reaching, read_back, results, told, validate
from scipy import stats

from evaluate import budget, older, older_keys, report, robust
from evaluate.arms import Arm
from evaluate.joining import read

KEPT = Path(__file__).resolve().parent.parent / "docs" / "results"
FILES = sorted(KEPT.glob("**/results.json"))
INTERVALS = ("speed_up", "ratio", "difference")


def told_apart(kept, again, path=()):
    """Where two results differ: the paths, but for intervals' ends, words, and what they show."""
    if isinstance(kept, dict):
        for key, one in kept.items():
            yield from told_apart(one, again[key], (*path, key))
    elif path[-1] not in ("clear", "verdicts"):
        is_interval = path[-1] in INTERVALS or path[-1].endswith(("_ratio", "_gain"))
        places = slice(1 if is_interval else None)
        if isinstance(kept, list) and kept and isinstance(kept[0], dict):
            for place, pair in enumerate(zip(kept, again, strict=True)):
                yield from told_apart(*pair, (*path, place))
        elif kept != again and not (is_interval and kept[places] == again[places]):
            yield path


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_every_number_of_the_projects_results_stands_but_for_the_ends_of_intervals(file, unchecked):
    kept = older_keys.results_of(json.loads(file.read_text()))
    again = read(file.parent)
    assert list(told_apart(kept, again)) == []
    validate("results", again)
    headline, rows = kept["protocol"]["headline"], {row["name"]: row for row in again["arms"]}
    for name, row in rows.items():
        base = row["over"]
        if base is None:
            continue
        metric = kept.get("metrics", [{"name": "loss", "compare": "ratio"}])[0]
        compare = metric["compare"]
        ends = row[f"final_{metric['name']}_{compare}"]
        to, back = {"ratio": (np.log, np.exp), "difference": (np.asarray, np.asarray)}[compare]
        if len(ends["each"] or []) > 1 and np.std(to(ends["each"])) > 1e-12:
            theirs = stats.ttest_1samp(to(ends["each"]), 0)
            assert ends[compare][1:] == pytest.approx(back(theirs.confidence_interval()))
            assert ends["clear"] == (theirs.pvalue < 0.05)
        each = [rows[one]["against"][base][headline]["steps"]["each"] for one in (base, name)]
        found = row["against"][base][headline]["steps"]["speed_up"]
        assert found[0] == pytest.approx(stats.gmean(np.divide(*each)))


def aged(found):
    """Results as they were before: of a bootstrap that says too much."""
    old = {key: value for key, value in copy.deepcopy(found).items() if key != "intervals"}
    for row in old["arms"]:
        for against in row["against"].values():
            for one in against.values():
                for unit in ("steps", "epochs", "seconds"):
                    one[unit] |= {"speed_up": [one[unit]["speed_up"][0], 1.1, 1.2], "clear": True}
    return old | {"verdicts": ["as it was said before"]}


def test_older_results_come_to_what_todays_say(tmp_path):
    own = plan(seeds=3, constant=Arm(), linear=Arm(over="constant", forecaster="linear"))
    runs = {"constant": [20, 22, 24], "linear": [10, 12, 15]}
    made = {name: [reaching(when) for when in each] for name, each in runs.items()}
    errors = {"linear": [{"fc": 0.5}, {"fc": 0.6}, {"fc": 0.7}], "constant": None}
    now = read_back(told(results(own, made, errors=errors)), tmp_path / "now")
    again = older.recounted(aged(now))
    assert again == now
    assert report.page(again) == report.page(now)
    assert older.recounted(now) == now


def test_by_the_papers_protocol_too(tmp_path):
    own = plan(
        seeds=2,
        constant=Arm(),
        mine=Arm(over="constant", forecaster="linear"),
        target_metric="accuracy",
        target_value=0.6,
    )
    runs = {
        name: [reaching(when, accuracy=[0.1] * when + [0.7] * (41 - when)) for when in each]
        for name, each in (("constant", [20, 22]), ("mine", [10, 12]))
    }
    now = read_back(told(results(own, runs)), tmp_path)
    assert older.recounted(aged(now)) == now
    then = {key: value for key, value in now["protocol"].items() if key != "target_metric"}
    before = older.recounted(aged(now) | {"protocol": then})
    assert before == now | {"protocol": then}
    assert report.page(before) == report.page(now)


def test_regrets_and_speed_ups_at_an_equal_loss_are_of_each_seed():
    each = [1.0, 1.1, 1.3]
    interval = np.exp(stats.ttest_1samp(np.log(each), 0).confidence_interval())
    start = {"arm": "one", "each": each, "regret": [1.1, 1, 1.2], "steps": {}}
    method = {"name": "one", "each": each, "mean": [1.1, 1.0, 1.2], "starts": [start]}
    against = {"swept": {}}
    metric = {"name": "loss", "better": "lower", "compare": "ratio"}
    old = {
        "metrics": [metric],
        "arms": [{"name": "one", "against": against}],
        "robust": {"base": "swept", "methods": [method]},
        "budget": {
            "lengths": [{"length": length} for length in (0.5, 1, 2)],
            "arms": [{"speed_up": [1.1, 1.0, 1.2], "each": each, "above": 0, "below": 0}],
        },
    }
    [again] = robust.recounted(old)["methods"]
    assert again["mean"][1:] == pytest.approx(interval)
    assert again["starts"][0]["regret"][1:] == pytest.approx(interval)
    [found] = budget.recounted(old)["arms"]
    assert found["speed_up"][1:] == pytest.approx(interval)
    old["budget"]["arms"][0] |= {"each": [2, 2, 2], "above": 3}
    [found] = budget.recounted(old)["arms"]
    half = stats.t.ppf(0.975, 2) * math.log(2) / math.sqrt(12) / math.sqrt(3)
    assert found["speed_up"][1:] == pytest.approx([2 * math.exp(-half), 2 * math.exp(half)])
