"""The budget protocol: where the base is as good as an arm, how that is said, what it trains."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from curves import CHOSEN, plan, read_back, run, told, validate
from pages import Page
from scipy import stats
from test_evaluation import Line
from test_robust import After

from collect.tasks import LOSS, Metric
from evaluate import Arm, budget, pictures, report, sentences, summarise
from evaluate.arms import TUNED
from evaluate.budget import Equal, equal_lengths
from evaluate.comparison import compare
from evaluate.decision import Verdict
from evaluate.ends import last
from evaluate.lengths import BaseRuns, prepared
from evaluate.starts import SWEPT
from evaluate.statistics import geometric_interval
from evaluate.trials import Stopped

LENGTHS = [0.5, 1.0, 1.4, 2.0]
COSINE = Arm(schedule="cosine", learning_rate="tuned")
LINEAR = Arm(over="cosine", forecaster="linear")
ARMS = {"cosine": COSINE, "linear": LINEAR}


def falling(*factors):
    """Final losses by length and seed: a factor of the seed's over the length's square root."""
    return [[factor / math.sqrt(length) for factor in factors] for length in LENGTHS]


def found(metric, base, arm, lengths=LENGTHS):
    """Lengths, and whether they are bounds."""
    equal = equal_lengths(metric, lengths, base, arm)
    return [(pytest.approx(one.length), one.beyond) for one in equal]


def test_an_arm_as_good_as_the_base_at_a_length_is_so_many_times_as_fast():
    base = falling(1.0, 3.0)
    for length, row in zip(LENGTHS, base, strict=True):
        assert found(LOSS, base, row) == [(length, 0), (length, 0)]


def test_between_two_lengths_log_loss_is_linear_in_log_length():
    # by hand: from 1 to 4 the loss goes from 0.8 to 0.2; 0.4 is half the way in its logarithm
    assert found(LOSS, [[0.8], [0.2]], [0.4], [1, 4]) == [(2.0, 0)]
    # a quarter of the way: 0.8 · 4^(−1/4) lies at 4^(1/4)
    assert found(LOSS, [[0.8], [0.2]], [0.8 / 4**0.25], [1, 4]) == [(4**0.25, 0)]


def test_beyond_the_lengths_there_are_bounds():
    base = falling(1.0, 1.0, 1.0)
    assert found(LOSS, base, [9.0, 0.1, math.inf]) == [(0.5, -1), (2.0, 1), (0.5, -1)]


@pytest.mark.parametrize(("better", "sign"), [("lower", 1), ("higher", -1)])
def test_a_metric_that_is_compared_by_difference_is_interpolated_itself(better, sign):
    metric = Metric("score", better, "difference")
    base = [[sign * 6.0], [sign * 2.0], [sign * -2.0]]
    arms = [4.0, 2.0, 0.0, -2.0, 7.0, -3.0]
    lengths = [found(metric, base, [sign * arm], [0.25, 1, 4]) for arm in arms]
    assert lengths == [[(0.5, 0)], [(1.0, 0)], [(2.0, 0)], [(4.0, 0)], [(0.25, -1)], [(4.0, 1)]]


def test_a_metric_that_is_better_when_higher_is_interpolated_in_its_logarithm():
    metric = Metric("score", "higher", "ratio")
    assert found(metric, [[0.2], [0.8]], [0.4], [1, 4]) == [(2.0, 0)]
    assert found(metric, [[0.2], [0.8]], [0.9], [1, 4]) == [(4.0, 1)]


def test_a_longer_base_that_is_worse_in_the_mean_counts_as_the_best_shorter_one():
    base = [[0.5, 0.5], [0.3, 0.3], [0.31, 0.31], [0.4, 0.4]]
    assert found(LOSS, base, [0.3, 0.29]) == [(1.0, 0), (2.0, 1)]


def test_values_of_a_seed_that_are_out_of_order_by_chance_are_averaged():
    metric = Metric("score", "lower", "difference")
    base = [[8.0, 8.0], [4.0, 1.0], [0.0, 2.0], [-4.0, -4.0]]
    # the second seed's 1 and 2 become 1.5 at both lengths; 1.5 is met at the shorter one
    lengths = [1, 2, 4, 8]
    assert found(metric, base, [0.0, 1.5], lengths) == [(4.0, 0), (2.0, 0)]
    assert found(metric, base, [0.0, 1.5 - 2.75], lengths)[1] == (4 * math.sqrt(2), 0)


def test_a_length_with_a_lost_run_is_left_out():
    base = [[math.inf, 1.0], [0.8, 0.8], [0.2, 0.2]]
    assert found(LOSS, base, [0.4, 0.9], [0.5, 1, 4]) == [(2.0, 0), (1.0, -1)]
    assert equal_lengths(LOSS, [0.5, 1], [[math.inf], [0.8]], [0.8]) == []
    assert equal_lengths(LOSS, [1, 4], [[0.8], [0.2]], [0.8]) == [Equal(1.0, 0)]


def test_every_arm_is_over_the_swept_base_and_one_that_is_that_base_takes_its_rate():
    given = ARMS | {
        "constant": Arm(),
        "warm": replace(COSINE, warmup=0.1),
        "own": replace(LINEAR, learning_rate="tuned"),
        "free": Arm(over="cosine", optimizer="prodigy", learning_rate=1.0),
    }
    arms, left = prepared(given, optimizer="adam", learning_rate=0.02)
    assert left == []
    assert [(arm.name, arm.over, arm.learning_rate, arm.rate_of) for arm in arms] == [
        (SWEPT, None, TUNED, SWEPT), ("cosine", SWEPT, TUNED, SWEPT),
        ("linear", SWEPT, TUNED, SWEPT),
        ("constant", SWEPT, 0.02, ""), ("warm", SWEPT, TUNED, "warm"), ("own", SWEPT, TUNED, "own"),
        ("free", SWEPT, 1.0, ""),
    ]  # fmt: skip


def made(ends, *, metric=LOSS, base=None):
    """Results of two arms whose runs end at a value each, by seed, beside a base that falls."""
    base = base or falling(1.0, 1.1, 1.2)
    arms, _ = prepared(ARMS, optimizer="adam", learning_rate=0.1)
    shown = plan(seeds=3, metrics=(metric,), base=Arm())
    shown = replace(shown, arms=tuple(arms))

    def curve(end):
        values = [9.0, 8, 7, 6, 5, *[end] * 4]
        return run(values, accuracy=values) | {metric.name: values}

    values = {SWEPT: base[1], "cosine": base[1]} | ends
    rates = {SWEPT: CHOSEN | {f"final_{metric.name}": {"0.2": 1.0}}}
    targets = {SWEPT: {"0.5": 6.0, "0.75": 5.0, "0.95": 1.0}}
    results = summarise(shown, rates, targets, lambda arm, seed: curve(values[arm.name][seed]))
    pairs = zip(LENGTHS, base, strict=True)
    runs = {length: BaseRuns(round(80 * length), [*map(curve, row)]) for length, row in pairs}
    results |= {"budget": budget.summarised(results, runs, metric)}
    return results | {"verdicts": sentences.texts(results)}


def test_the_speed_up_is_the_geometric_mean_over_seeds_with_its_interval():
    results = made({"linear": [1 / math.sqrt(1.2), 1.1 / math.sqrt(1.4), 1.2 / math.sqrt(1.5)]})
    cosine, linear = results["budget"]["arms"]
    assert cosine["each"] == pytest.approx([1, 1, 1])
    assert linear["each"] == pytest.approx([1.2, 1.4, 1.5])
    interval = geometric_interval([1.2, 1.4, 1.5])
    assert linear["speed_up"] == pytest.approx(list(interval))
    assert results["verdicts"][:2] == [
        (
            "cosine is no gain that these seeds can show: the base needs 1.00× [1.00, 1.00] as many"
            " steps for an equal final loss."
        ),
        (
            "linear is a gain, as good in fewer steps: the base needs 1.36× [1.02, 1.81] as many"
            " steps for an equal final loss."
        ),
    ]
    assert [line.verdict for line in budget.lines(results)] == [
        Verdict.NO_DIFFERENCE,
        Verdict.BETTER,
    ]


def test_an_arm_is_called_a_gain_or_a_loss_only_where_its_interval_excludes_1():
    def said(*ends):
        return made({"linear": ends})["verdicts"][1]

    slow, fast = falling(1.0, 1.1, 1.2)[0], falling(1.0, 1.1, 1.2)[2]
    assert "linear HURTS: the base needs 0.54× [" in said(*(0.9 * slow[0], *slow[1:]))
    assert "linear is a gain" in said(*(1.02 * fast[0], *fast[1:]))
    assert "linear cannot be judged: the base needs 1.40× as many" in said(*fast)
    assert "linear is no gain" in said(fast[0], slow[1], fast[2])
    # Beyond the longest length all count as it: they scatter as two lengths, 1.4 and 2, at least.
    half = stats.t.ppf(0.975, 2) * math.log(2 / 1.4) / math.sqrt(12) / math.sqrt(3)
    low, high = 2 * math.exp(-half), 2 * math.exp(half)
    assert f"is a gain, as good in fewer steps: the base needs ≥ 2.00× [{low:.2f}, {high:.2f}]" in (
        said(0.1, 0.1, 0.1)
    )
    assert said(0.1, 0.1, 0.1).endswith("; beyond the base's lengths: 3 of 3 seeds.")
    assert "linear HURTS: the base needs ≤ 0.50× [" in said(4.0, 4.0, math.nan)
    assert "is no gain" in said(*fast[:2], 4.0)


def test_a_base_without_lengths_of_finite_runs_gives_no_speed_up(tmp_path):
    lost = falling(1.0, 1.1, 1.2)
    for row in (lost[0], lost[2], lost[3]):
        row[0] = math.nan
    results = made({"linear": [1.0, 1.0, math.nan]}, base=lost)
    assert results["verdicts"][1].startswith("linear: no speed-up is known")
    back = read_back(told(results), tmp_path)
    validate("results", back)
    assert budget.speed_ups(back)[2][2:] == ("–", "–")
    Page(report.page(back)).check()


def test_the_table_and_the_report_mark_bounds(tmp_path):
    fast = falling(1.0, 1.1, 1.2)[2]
    back = read_back(told(made({"linear": [*fast[:2], 0.1]})), tmp_path)
    validate("results", back)
    assert budget.speed_ups(back)[2] == (
        "linear", "0.8452", "63.1", "≥ 1.58× [0.95, 2.63], 1/3 beyond",
    )  # fmt: skip
    assert "count with that length" in report.markdown(back)
    assert "count with that length" in report.text(back)
    assert [row[1:3] for row in budget.base(back)[1:]] == [
        ("20", "40"), ("40", "80"), ("56", "112"), ("80", "160"),
    ]  # fmt: skip


def test_the_picture_has_the_bases_line_and_each_arm_with_a_line_to_it():
    fast = falling(1.0, 1.1, 1.2)[2]
    [axes] = pictures.drawn(told(made({"linear": fast})))["budget"].axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines[SWEPT].get_xdata()) == [20, 40, 56, 80]
    middle = [row[1] for row in falling(1.0, 1.1, 1.2)]
    assert list(lines[SWEPT].get_ydata()) == pytest.approx(middle)
    assert (list(lines["linear"].get_xdata()), list(lines["linear"].get_ydata())) == (
        [40], pytest.approx([fast[1]]),
    )  # fmt: skip
    level = axes.lines[-2]
    assert list(level.get_xdata()) == pytest.approx([40, 56])
    assert list(level.get_ydata()) == pytest.approx([fast[1]] * 2)
    assert axes.get_xscale() == axes.get_yscale() == "log"


SETTINGS = {
    "epochs": 8, "learning_rates": [0.01, 0.1], "warmups": [0.0, 0.1], "seeds": [0, 1],
    "calibration_seeds": [8, 9], "workers": 1, "base_lengths": (0.5, 1.0, 2.0), "record_every": 4,
}  # fmt: skip


def times(folder):
    return {file: file.stat().st_mtime_ns for file in folder.glob("runs/*/*/seed*.json")}


def test_a_comparison_that_was_stopped_goes_on_and_ends_in_the_same_and_grows(tmp_path):
    whole = compare(Line(), ARMS, tmp_path / "whole", **SETTINGS)
    parts, stop = tmp_path / "parts", len(times(tmp_path / "whole")) * 9 - 15
    for questions in (3, stop):
        with pytest.raises(Stopped, match="enough"):
            compare(Line(), ARMS, parts, **SETTINGS, stop=After(questions))
    before = times(parts)
    assert (parts / "runs" / "swept at 0.5").is_dir()
    assert 0 < len(before) < len(times(tmp_path / "whole"))
    found = compare(Line(), ARMS, parts, **SETTINGS)
    assert before.items() <= times(parts).items()
    np.testing.assert_equal(found["budget"], whole["budget"])
    assert found["verdicts"] == whole["verdicts"]

    before = times(parts)
    more = SETTINGS | {"base_lengths": (0.5, 1.0, 1.5, 2.0), "seeds": [0, 1, 2]}
    grown = compare(Line(), ARMS | {"constant": Arm()}, parts, **more)
    assert before.items() <= times(parts).items()
    assert [one["length"] for one in grown["budget"]["lengths"]] == [0.5, 1.0, 1.5, 2.0]
    assert [one["steps"] for one in grown["budget"]["lengths"]] == [16, 32, 48, 64]
    assert [len(one["each"]) for one in grown["budget"]["arms"]] == [3, 3, 3]


def test_lengths_without_the_arms_own_are_allowed(tmp_path):
    found = compare(Line(), {"constant": Arm()}, tmp_path, **SETTINGS | {"base_lengths": (2, 0.5)})
    assert [one["length"] for one in found["budget"]["lengths"]] == [0.5, 2]


@pytest.fixture(scope="module")
def short(once, script, small_task):
    """``(folder, process)`` of a short form: three lengths, two arms, two seeds."""
    given = [
        "protocol=budget", *small_task, "seeds=2", "epochs=12", "arm=[cosine,cosine_linear]",
        "forecaster=wnn", "budget.lengths=[0.5,1,2]", "tuned.learning_rates=[0.003,0.01]",
        "tuned.warmups=[0,0.1]", "tuned.seeds=2",
    ]  # fmt: skip

    def trained(root):
        return script("evaluate", *given, f"report={root / 'report'}", cwd=root)

    root, done = once("budget", trained)
    assert done.returncode == 0, done.stderr
    return root / "report", done


def test_the_commands_report_holds_every_number_of_its_runs(short):
    folder, done = short
    results = json.loads((folder / "results.json").read_text())
    validate("results", results)
    block = results["budget"]

    def runs(name):
        rate = block["learning_rate"], block["warmup"]
        own = folder / "runs" / name / f"{rate[0]!r}-warmup{rate[1]!r}"
        return [json.loads((own / f"seed{seed}.json").read_text()) for seed in range(2)]

    names = {0.5: "swept at 0.5", 1: "swept", 2: "swept at 2.0"}
    for one in block["lengths"]:
        trained = runs(names[one["length"]])
        assert one["steps"] == 48 * one["length"]
        assert [each["step"][-1] for each in trained] == [one["steps"]] * 2
        assert one["each"] == pytest.approx([last(LOSS, each) for each in trained])
    assert len({len(runs(name)[0]["step"]) for name in names.values()}) == 1
    bases = [one["each"] for one in block["lengths"]]
    for arm, name in zip(block["arms"], ("cosine", "cosine_linear"), strict=True):
        ends = [last(LOSS, each) for each in runs(name)]
        assert arm["name"] == name
        assert arm["each"] == [one.length for one in equal_lengths(LOSS, [0.5, 1, 2], bases, ends)]
    assert results["verdicts"][:2] == [line.text for line in budget.lines(results)]
    assert all(line in done.stdout for line in results["verdicts"])
    assert not (folder / "runs" / "cosine" / "0.003-warmup0.0" / "seed1000.json").exists()


def test_the_page_shows_the_tables_and_the_picture(short):
    folder, _ = short
    results = json.loads((folder / "results.json").read_text())
    page = Page((folder / "report.html").read_text())
    page.check()
    shown = [list(map(list, table)) for table in page.tables]
    assert list(map(list, budget.speed_ups(results))) in shown
    assert list(map(list, budget.base(results))) in shown
    assert (folder / "budget.png").stat().st_size > 1000
    assert budget.words(results) in (folder / "report.md").read_text()
