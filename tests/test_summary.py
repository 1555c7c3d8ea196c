"""From curves to results and sentences, on made-up runs, by hand."""

import math

import numpy as np
import pytest
from curves import CHOSEN, plan, reaching, results, run, told
from scipy import stats

from evaluate import cautions, cost, judged, report, summarise, tables, verdicts, words
from evaluate.arms import Arm, Average
from evaluate.decision import Verdict

NAN, INF = math.nan, math.inf
ARMS = {
    "constant": Arm(),
    "constant_linear": Arm(over="constant", forecaster="linear"),
    "constant_wnn": Arm(over="constant", forecaster="bundles/mine"),
    "cosine": Arm(learning_rate="tuned", schedule="cosine"),
    "cosine_linear": Arm(over="cosine", forecaster="linear"),
    "cosine_wnn": Arm(over="cosine", forecaster="bundles/mine"),
}
TWO = {name: ARMS[name] for name in ("constant", "constant_linear")}
CROSSINGS = {
    "constant": [20, 22, 24, 26, 28],
    "constant_linear": [40, 40, None, None, None],
    "constant_wnn": [10, 11, 12, 13, 14],
    "cosine": [10, 11, 12, 13, 14],
    "cosine_linear": [5, 11, 14, 13, 15],
    "cosine_wnn": [5, 9, 6, 8, 7],
}


def of(base, arm, **options):
    """``(row of the base, row of the arm, verdicts)`` of runs of two arms, the second over the
    first.
    """
    found = results(
        plan(seeds=len(base), **TWO, **options), {"constant": base, "constant_linear": arm}
    )
    return *found["arms"], found["verdicts"]


def said_of(verdicts, arm="constant_linear"):
    """The sentence on an arm."""
    [line] = [line for line in verdicts if line.startswith(f"{arm} over ")]
    return line


def at(row, base="constant", target="0.75"):
    return row["against"][base][target]


@pytest.fixture(scope="module")
def found():
    return results(
        plan(**ARMS), {name: [reaching(when) for when in each] for name, each in CROSSINGS.items()}
    )


@pytest.fixture(scope="module")
def rows(found):
    return {row["name"]: row for row in found["arms"]}


def test_steps_epochs_and_seconds_to_the_target_are_each_seeds(rows):
    base = at(rows["constant"])
    assert base["steps"]["each"] == [200, 220, 240, 260, 280]
    assert base["epochs"]["each"] == [20, 22, 24, 26, 28]
    assert base["seconds"]["each"] == [40, 44, 48, 52, 56]
    assert [base[unit]["median"] for unit in ("steps", "epochs", "seconds")] == [240, 24, 48]


def test_a_speed_up_is_paired_by_seed(rows):
    value, low, high = at(rows["constant_wnn"])["steps"]["speed_up"]
    assert value == pytest.approx(2)
    # Seeds of a ratio of 2 each, and the scatter of a grid of 10 steps.
    steps = np.array([[200, 220, 240, 260, 280], [100, 110, 120, 130, 140]])
    least = 10 / np.sqrt(12) * np.sqrt((1 / steps**2).sum(axis=0).mean())
    half = stats.t.ppf(0.975, 4) * least / np.sqrt(5)
    assert (low, high) == pytest.approx((2 * np.exp(-half), 2 * np.exp(half)))
    assert at(rows["constant_wnn"])["steps"]["clear"]
    value = at(rows["cosine_wnn"], "cosine")["steps"]["speed_up"][0]
    assert value == pytest.approx((10 / 5 * 11 / 9 * 12 / 6 * 13 / 8 * 14 / 7) ** (1 / 5))


def test_every_arm_is_held_against_every_base(rows):
    assert all(row["against"].keys() == {"constant", "cosine"} for row in rows.values())
    assert at(rows["cosine"])["steps"]["speed_up"][0] == pytest.approx(2)
    assert at(rows["constant"])["steps"]["speed_up"] == pytest.approx([1, 1, 1])


def test_runs_that_never_reach_the_target_count_with_their_whole_length(rows):
    linear = at(rows["constant_linear"])
    assert linear["epochs"]["each"] == [40] * 5
    assert (linear["reached"], linear["base_reached"]) == (2, 5)
    assert linear["steps"]["speed_up"][0] == pytest.approx((20 * 22 * 24 * 26 * 28) ** (1 / 5) / 40)


def test_slower_steps_cost_a_speed_up_in_seconds():
    _, row, _ = of([reaching(20)] * 3, [reaching(10, seconds=3.0)] * 3)
    assert at(row)["steps"]["speed_up"][0] == pytest.approx(2)
    assert at(row)["seconds"]["speed_up"][0] == pytest.approx(4 / 3)
    assert row["seconds_ratio"][0] == pytest.approx(1.5)
    assert (row["seconds"], row["compile_seconds"]) == (120, 1.5)


def test_a_run_that_begins_below_the_target_crosses_it_at_its_first_evaluation():
    # All have an accuracy of 0.1.
    _, row, _ = of(
        [run([1.0] * 5)] * 2, [run([0.1] * 5)] * 2, target_metric="accuracy", target_value=0.05
    )
    assert at(row, target="0.05")["steps"]["each"] == [10, 10]
    assert at(row, target="0.05")["steps"]["speed_up"] == pytest.approx([1, 1, 1])


def test_a_row_says_what_the_arm_is_and_took(rows):
    row = rows["cosine_linear"]
    assert (row["over"], row["learning_rate"]) == ("cosine", 0.2)
    assert row["words"] == "adam, cosine; jumps to the forecast of linear; min_drift 0.2"
    assert row["settings"]["forecaster"] == "linear"
    assert (row["best_loss"], row["final_loss"], row["test_loss"], row["test_accuracy"]) == (
        0.25,
        0.25,
        0.5,
        0.5,
    )
    assert (row["parameters"], row["history_bytes_per_parameter"], row["jumps"]) == (100, 0, None)
    _, row, _ = of([reaching(20)], [reaching(10, jumps=[(50, 0.5, 0.4, 1.0)])])
    assert row["history_bytes_per_parameter"] == 8


def test_the_best_loss_and_the_test_accuracy_are_paired_too():
    base = [run([9.0, 2, 4, 3], test_accuracy=[0.5]), run([9.0, 6, 4, 5], test_accuracy=[0.7])]
    arm = [run([9.0, 1, 4, 3], test_accuracy=[0.6]), run([9.0, 6, 2, 5], test_accuracy=[0.7])]
    first, row, _ = of(base, arm)
    assert row["best_loss_ratio"]["each"] == [2, 2]
    gains = stats.ttest_1samp([0.1, 0.0], 0).confidence_interval()
    assert row["test_accuracy_gain"] == pytest.approx([0.05, *gains])
    assert first["test_accuracy_gain"] == [0, 0, 0]


def test_the_best_loss_at_equal_seconds_is_that_until_the_faster_one_ends():
    base, arm = run([9.0, 4, 3, 2], seconds=1.0), run([9.0, 6, 1, 0.5], seconds=2.0)
    _, row, _ = of([base] * 2, [arm] * 2)
    # 3 seconds: an epoch of the arm.
    assert row["equal_seconds_best_loss_ratio"]["each"] == pytest.approx([2 / 6] * 2)


def test_losses_at_the_end_are_means_of_three_and_medians_over_seeds():
    base, row, _ = of(
        [run([9.0, 4, 3, 2]), run([9.0, 5, 4, 3]), run([9.0, 9, 9, 9])], [run([9.0, 8, 7, 6])] * 3
    )
    assert (base["final_loss"], base["best_loss"]) == (4, 3)  # of 3, 4, 9 and of 2, 3, 9
    assert row["final_loss_ratio"]["each"] == pytest.approx([3 / 7, 4 / 7, 9 / 7])
    assert row["final_loss_ratio"]["ratio"][0] == pytest.approx((3 * 4 * 9) ** (1 / 3) / 7)
    assert not row["final_loss_ratio"]["clear"]


def falling(height, seconds):
    """Nine losses, each 1 below the one before: after ``n`` epochs the mean of three is ``height -
    n + 1``.
    """
    return run([float(height - place) for place in range(9)], seconds=seconds)


@pytest.mark.parametrize(
    ("base", "arm", "ratio"),
    [
        (
            falling(20, 1.0),
            falling(40, 2.0),
            13 / 37,
        ),  # 8 seconds: the base is at its end, the arm after 4 epochs
        (falling(20, 2.0), falling(40, 1.0), 17 / 33),  # the other way round
        (falling(20, 1.0), falling(40, 1.0), 13 / 33),
        (
            falling(20, 1.0),
            falling(40, 1.5),
            13 / 36,
        ),  # after 5.3 epochs the last evaluation is that after 5
    ],
)
def test_at_equal_seconds_the_slower_run_is_where_the_faster_one_ends(base, arm, ratio):
    _, row, _ = of([base] * 2, [arm] * 2)
    assert row["equal_seconds_loss_ratio"]["ratio"][0] == pytest.approx(ratio)
    assert row["equal_seconds_loss_ratio"]["each"] == pytest.approx([ratio] * 2)


def test_there_is_no_ratio_at_equal_seconds_before_the_third_evaluation():
    _, row, _ = of([falling(20, 10.0)] * 2, [falling(20, 1.0)] * 2)
    assert row["equal_seconds_loss_ratio"]["each"] is None
    assert row["final_loss_ratio"]["ratio"] == pytest.approx([1, 1, 1])


def test_diverged_runs_stay_in():
    lost = run([1.0, 0.9, 0.8, NAN, INF])
    base, row, verdicts = of(
        [run([1.0, 0.4, 0.4, 0.4, 0.4])] * 2, [lost, run([1.0, 0.4, 0.4, 0.4, 0.4])]
    )
    assert (base["diverged"], row["diverged"]) == (0, 1)
    assert at(row)["epochs"]["each"] == [4, 3]
    assert row["final_loss"] == INF  # the median of two
    assert row["final_loss_ratio"]["each"] is None
    assert all(map(math.isnan, row["final_loss_ratio"]["ratio"]))
    assert "1 of its 2 runs DIVERGED" in said_of(verdicts)
    assert "Final" not in said_of(verdicts)


def test_a_run_that_ends_above_where_it_began_diverged_too():
    base, row, verdicts = of(
        [run([1.0, 2.0, 1.5, 1.2, 1.1])] * 2, [run([1.0, 0.9, 0.8, 0.7, 0.6])] * 2
    )
    assert (base["diverged"], row["diverged"]) == (2, 0)
    assert "2 of 2 runs of the base constant DIVERGED." in verdicts


LOSS = [8.0, 7, 6, 5, 9, 7, 5.5, 4, 3]


def jumps(*each, loss=LOSS, **more):
    """What becomes of these jumps, of two seeds."""
    made = [run(loss, jumps=own, **more) for own in each]
    _, row, _ = of([run(LOSS)] * len(each), made)
    return row["jumps"]


def test_a_dip_is_loss_after_over_loss_before_and_ends_at_the_first_loss_no_higher():
    found = jumps([(40, 4.5, 9.0, 1.0)])  # 7 after 10 steps, 5.5 after 20, 4 after 30
    assert found == {
        "accepted": 1,
        "refused": 0,
        "dip": 2,
        "worst_dip": 2,
        "steps_to_recover": 30,
        "never_recovered": 0,
        "taken": 1,
        "seconds": None,  # as in results of older versions
    }
    assert jumps([(40, 5.5, 9.0, 1.0)])["steps_to_recover"] == 20


def test_a_jump_that_helps_needs_no_recovery():
    found = jumps([(40, 4.0, 3.0, 1.0)])
    assert (found["dip"], found["steps_to_recover"], found["never_recovered"]) == (0.75, 0, 0)


def test_a_jump_that_is_never_made_good_counts_to_the_end():
    found = jumps([(20, 2.0, 4.0, 1.0)], [(40, 4.5, 9.0, 1.0), (80, 2.0, 3.0, 1.0)])
    assert (found["never_recovered"], found["taken"], found["accepted"]) == (2, 3, 1.5)
    assert found["steps_to_recover"] == 30  # of 60, 30 and 0
    assert (found["dip"], found["worst_dip"]) == (2, 2)  # of 2, 2 and 1.5


def test_refused_jumps_have_no_dip():
    refused = [(40, 4.5, 4.5, 0.0)]
    found = jumps([*refused, (60, 5.0, 5.5, 1.0)], [(60, 5.0, 5.5, 1.0)])
    assert (found["taken"], found["dip"]) == (2, pytest.approx(1.1))
    found = jumps(refused, refused, refused=1)
    assert found == {
        "accepted": 0,
        "refused": 1,
        "dip": 1,
        "worst_dip": 1,
        "steps_to_recover": 0,
        "never_recovered": 0,
        "taken": 0,
        "seconds": None,
    }


def test_seconds_of_a_jump_are_the_median_of_those_that_were_measured():
    runs = [run(LOSS, jumps=[(40, 4.5, 9.0, 1.0)] * 2) for _ in range(2)]
    runs[0]["jumps"]["seconds"] = [3.0, math.nan]  # as a file gives null
    runs[1]["jumps"]["seconds"] = [1.0, 5.0]
    _, row, _ = of([run(LOSS)] * 2, runs)
    assert row["jumps"]["seconds"] == 3


def test_jumps_taken_and_refused_are_means_over_seeds():
    taken = run(LOSS, jumps=[(40, 4.5, 4.4, 1.0)] * 3)
    mixed = run(LOSS, jumps=[(40, 4.5, 4.4, 1.0)] * 3, refused=1)
    _, row, verdicts = of([run(LOSS)] * 2, [taken, mixed])
    assert (row["jumps"]["accepted"], row["jumps"]["refused"]) == (2.5, 0.5)
    assert "Of its jumps 2.5 are taken and 0.5 refused in a run" in said_of(verdicts)


def test_a_loss_at_the_jump_itself_is_no_recovery():
    """By the paper's protocol a run is measured before a jump, so that the loss there is always the
    one before.
    """
    losses = [8.0, 7.0, 6.0, 5.0, 9.0, 5.5, 4.0]
    own = run(losses, jumps=[(30, 5.0, 9.5, 1.0)], accuracy=[0.1] * 7)
    _, row, _ = of([run(losses)] * 2, [own] * 2, target_metric="accuracy", target_value=0.5)
    assert row["jumps"]["steps_to_recover"] == 30


def test_a_jump_to_nowhere_has_an_endless_dip():
    found = jumps(
        [(40, 4.5, NAN, 1.0), (60, 5.0, 6.0, 1.0), (70, 5.0, 6.0, 1.0)],
        loss=[8.0, 7, 6, 5, *[NAN] * 5],
    )
    assert (found["dip"], found["worst_dip"], found["never_recovered"]) == (1.2, INF, 3)


def errors(*each):
    own = plan(seeds=len(each), **TWO)
    runs = {name: [reaching(20)] * len(each) for name in TWO}
    return [
        row["forecast_error"]
        for row in results(own, runs, errors={"constant_linear": each, "constant": None})["arms"]
    ]


def test_errors_of_forecasts_are_geometric_means_over_seeds():
    base, found = errors({"conv": 0.5, "fc": 0.9}, {"conv": 2.0, "fc": 0.4})
    assert base is None
    assert found["conv"]["each"] == [0.5, 2.0]
    for each, ratio in ([0.5, 2.0], found["conv"]), ([0.9, 0.4], found["fc"]):
        ends = stats.ttest_1samp(np.log(each), 0).confidence_interval()
        assert ratio["ratio"] == pytest.approx([stats.gmean(each), *np.exp(ends)])


def test_errors_that_not_every_seed_has_are_left_out():
    assert errors({"conv": 0.5, "fc": 0.9}, {"conv": 0.5})[1].keys() == {"conv"}
    assert errors({"conv": 0.5}, {"conv": 0.5, "fc": 0.9})[1].keys() == {"conv"}
    assert errors({}, {"conv": 0.5})[1] is None
    assert errors({"conv": 0.5}, {})[1] is None


def verdict(base, arm, **more):
    """Of an arm by its crossings and its base's."""
    lines = of([reaching(when) for when in base], [reaching(when, **more) for when in arm])[2]
    line = said_of(lines)
    return line.removeprefix("constant_linear over constant ").split(". Final")[0], [
        one for one in lines if one != line
    ]


def test_sentences_say_what_helps_hurts_or_cannot_be_told(found):
    assert [line.split(" over ")[0] for line in found["verdicts"] if " over " in line[:25]] == [
        "constant_linear", "constant_wnn", "cosine_linear", "cosine_wnn"
    ]  # fmt: skip
    base = CROSSINGS["constant"]
    assert verdict(base, CROSSINGS["constant_wnn"]) == (
        "reaches the target in fewer steps: 2.00× [1.93, 2.07]",
        [],
    )
    said, _ = verdict(base, CROSSINGS["constant_linear"])
    assert said.startswith("HURTS, it needs more steps: ≤ 0.60× [")
    assert said.endswith("] (5 of 5 base runs reach the target, and 2 of 5 of its own)")
    assert verdict(base, [40] * 5)[0].startswith("HURTS, it needs more steps: 0.60× [")
    said, _ = verdict(CROSSINGS["cosine"], CROSSINGS["cosine_linear"])
    assert said.startswith("makes no difference that these seeds can show: 1.")


def test_no_target_reached_is_no_verdict_and_a_ratio_of_1():
    _, row, verdicts = of([reaching(None)] * 5, [reaching(None)] * 5)
    assert at(row)["steps"]["speed_up"] == pytest.approx([1, 1, 1])
    assert at(row)["reached"] == at(row)["base_reached"] == 0
    assert "cannot be judged by this target: no run of either reaches it" in said_of(verdicts)
    assert verdict([None] * 5, [20] * 5)[0].startswith("reaches the target in fewer steps: ≥ 2.00×")


def test_equal_crossings_are_no_change():
    assert verdict([20, 21, 22, 23, 24], [20, 21, 22, 23, 24]) == (
        "changes nothing: every run reaches the target at the same step as its base", []
    )  # fmt: skip
    said, _ = verdict([20, 21, 22, 23, None], [20, 21, 22, 23, None])
    assert said.startswith("makes no difference that these seeds can show: ~ 1.00× [1.00, 1.00]")


def test_final_losses_stand_beside_and_are_doubted_where_they_overlap(found):
    assert (
        ". Final validation loss, constant / constant_wnn: 1.00 [1.00, 1.00], a difference that"
        " these seeds cannot show." in said_of(found["verdicts"], "constant_wnn")
    )
    base = [falling(height, 1.0) for height in (20, 30, 40)]
    better = [falling(height - 10, 1.0) for height in (20, 30, 40)]
    line = said_of(of(base, better)[2])  # 13, 23, 33 over 3, 13, 23
    value = (13 / 3 * 23 / 13 * 33 / 23) ** (1 / 3)
    assert (
        f"Final validation loss, constant / constant_linear: {value:.2f} [0.52, 9.56], a difference"
        in line
    )
    # All twice as high.
    line = said_of(of(base, [falling(height / 2 + 3.5, 1.0) for height in (20, 30, 40)])[2])
    # Seeds that agree to the last digit have no interval, and show nothing.
    assert line.endswith("constant / constant_linear: 2.00.")
    line = said_of(
        of(base, [falling(height / 2 + 3.5 + height / 1000, 1.0) for height in (20, 30, 40)])[2]
    )
    assert line.endswith(
        "Final validation loss, constant / constant_linear: 1.99 [1.99, 2.00]: it ends lower."
    )


def test_sooner_at_the_target_and_higher_at_the_end_is_said():
    better = [falling(height, 1.0) for height in (20, 30, 40)]
    worse = [falling(height * 1.5 + height / 1000, 1.0) for height in (20, 30, 40)]
    assert said_of(of(better, worse)[2]).endswith("]: it ENDS HIGHER.")


def overall(steps, final=Verdict.NO_DIFFERENCE, seconds=Verdict.UNDECIDED, *, diverged=False):
    return judged.Outcome(steps, seconds, final, diverged).overall


def test_better_in_one_thing_and_worse_in_another_is_mixed():
    better, worse, neither = Verdict.BETTER, Verdict.WORSE, Verdict.NO_DIFFERENCE
    assert overall(better) is overall(better, better) is overall(neither, better) is better
    assert overall(better, worse) is overall(worse, better) is Verdict.MIXED
    assert overall(better, seconds=worse) is Verdict.MIXED
    assert overall(worse) is overall(neither, worse) is worse
    assert overall(neither) is overall(neither, seconds=worse) is neither
    assert overall(Verdict.UNCHANGED) is Verdict.UNCHANGED
    assert overall(better, diverged=True) is Verdict.DIVERGED


def colours(base, arm):
    """Of the page's sentences on an arm."""
    found = results(plan(seeds=len(base), **TWO), {"constant": base, "constant_linear": arm})
    lines = [line for line in verdicts.lines(found) if " over " in line.text]
    text = report.coloured(lines)
    return [kind for kind in ("better", "worse") if f'class="{kind}"' in text]


def test_a_sentence_has_the_colour_of_its_verdict_whatever_its_words():
    base = [reaching(when) for when in (20, 22, 24, 26, 28)]
    quick = [reaching(when) for when in (10, 11, 12, 13, 14)]
    assert colours(base, quick) == ["better"]
    assert colours(quick, base) == ["worse"]
    assert colours(base, base) == []
    assert colours(base, [*quick[:4], run([1.0, NAN, NAN, NAN, NAN] + [NAN] * 36)]) == ["worse"]


def test_sooner_in_steps_and_later_in_seconds_is_said_where_seconds_can_be_compared():
    base, quick = [reaching(when) for when in (20, 22, 24, 26, 28)], (10, 11, 12, 13, 14)
    slow = [reaching(when, seconds=6.0) for when in quick]
    line = said_of(of(base, slow)[2])
    assert (
        "in fewer steps: 2.00× [1.93, 2.07], and in seconds it is SLOWER: 0.67× [0.65, 0.68]"
        in line
    )
    assert colours(base, slow) == []
    slow = [reaching(when, seconds=6.0, undisturbed=False) for when in quick]
    assert "SLOWER" not in said_of(of(base, slow)[2])


def test_a_ratio_of_seconds_is_bounded_as_that_of_steps_is():
    base = [reaching(when) for when in (20, 22, 24, 26, 28)]
    slow = [reaching(when, seconds=9.0) for when in (10, 11, 12, 13, None)]
    found = results(plan(**TWO), {"constant": base, "constant_linear": slow})
    assert "and in seconds it is SLOWER: ≤ 0.36× [" in said_of(found["verdicts"])
    titles, _, own = tables.main(told(found), "constant")
    cells = dict(zip(titles, own, strict=True))
    assert cells["speed-up, steps [95 %]"].startswith("≤ 1.6")
    assert cells["speed-up, seconds [95 %]"].startswith("≤ 0.36× [")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"task_config": {"_target_": "bt.Bt"}, "batch_size": 8}, "bt (batch size 8), 40"),
        ({"task_config": {"_target_": "bt.Bt", "width": None}}, "bt, 40"),
        ({"task_config": {"_target_": "bt.Bt", "width": 3}}, "bt (task width 3), 40"),
        ({"points": 64, "model": {}, "note": ""}, "bt (points 64), 40"),
    ],
)
def test_a_task_is_described_by_the_keys_that_it_has(found, more, said):
    assert words.setting(told(found, "bt", more=more)).startswith(f"{said} epochs of 10 steps")


def test_what_goes_without_a_forecast_is_bounded_too():
    own = plan(
        constant=Arm(), mean=Arm(over="constant", average=Average()),
        linear=Arm(over="constant", forecaster="linear"),
    )  # fmt: skip
    whens = {"constant": (20, 22, 24, 26, None), "mean": (10, 11, 12, 13, 14)}
    runs = {name: [reaching(when) for when in each] for name, each in whens.items()}
    text = " ".join(results(own, runs | {"linear": runs["constant"]})["verdicts"])
    assert "Without any forecast mean reaches the target of constant ≥ 2." in text


def test_a_target_reached_before_any_jump_says_nothing_of_jumps():
    crossings = [20, 21, 22, 23, 24]
    late = {"jumps": [(300, 0.3, 0.3, 1.0)]}
    assert (
        verdict(crossings, crossings, **late)[0]
        == "cannot be judged by this target: every run reaches it before its first jump"
    )
    at_once = {"jumps": [(50, 0.3, 0.3, 1.0)]}
    assert verdict(crossings, crossings, **at_once)[0].startswith("changes nothing")
    said, _ = verdict([20, 22, 24, 26, 28], [10, 11, 12, 13, 14], jumps=[(115, 0.3, 0.3, 1.0)])
    assert (
        said
        == "reaches the target in fewer steps: 2.00× [1.93, 2.07] (2 of its 5 runs reach the target"
        " before they jump)"
    )


def test_at_the_step_of_a_jump_the_papers_protocol_measures_before_it():
    own = run([5.0] * 5, accuracy=[0.1, 0.2, 0.7, 0.7, 0.7], jumps=[(20, 5.0, 5.0, 1.0)])
    assert (
        at(of([own] * 2, [own] * 2, target_metric="accuracy", target_value=0.6)[1], target="0.6")[
            "before_any_jump"
        ]
        == 2
    )
    own = run([5.0, 4.0, 0.1, 0.1, 0.1], jumps=[(20, 4.0, 0.1, 1.0)])
    target = {"constant": {"0.75": 3.5}}
    made = results(plan(seeds=1, **TWO), {"constant": [own], "constant_linear": [own]}, target)
    assert at(made["arms"][1])["before_any_jump"] == 0


def without_any(**crossings):
    """What is said of bases that an arm without forecasts outruns."""
    given = {"constant": [20, 22, 24, 26, 28], "constant_linear": [15, 16, 18, 20, 21]} | crossings
    more = {
        name: Arm(over="constant", average=Average()) for name in crossings if name != "constant"
    }
    found = results(
        plan(**TWO, **more),
        {name: [reaching(when) for when in each] for name, each in given.items()},
    )
    return [line for line in found["verdicts"] if line.startswith("Without any")]


def test_what_could_be_had_without_a_forecast_is_said():
    [line] = without_any(mean=[10, 11, 12, 13, 14])
    assert line.startswith(
        "Without any forecast mean reaches the target of constant 2.00× [1.93, 2.07] as fast"
    )
    assert without_any(mean=[20, 22, 24, 26, 28]) == []
    assert without_any(mean=[30, 33, 36, 39, 40]) == []


def test_and_not_hidden_by_a_faster_arm_that_is_not_sure():
    wild = [2, 40, 3, 2, 40]
    assert without_any(wild=wild) == []
    [line] = without_any(wild=wild, mean=[10, 11, 12, 13, 14])
    assert "mean reaches the target" in line


def test_a_rate_at_the_edge_of_its_grid_is_said():
    arms = ARMS | {
        "quick": Arm(learning_rate="tuned", over="constant", optimizer="muon"),
        "slow": Arm(learning_rate="tuned", over="constant"),
    }
    own = plan(**arms)
    chosen = {
        name: CHOSEN | {"at_edge": True, "warmup_at_edge": name == "slow"}
        for name in ("cosine", "quick", "slow")
    }
    made = summarise(
        own, chosen, {arm.name: {"0.75": 0.5} for arm in own.arms}, lambda arm, seed: reaching(20)
    )
    lines = [line for line in cautions.lines(made) if "the edge of" in line.text]
    assert [line.text for line in lines] == [
        (
            "The learning rate of cosine lies at the edge of its grid: a wider one may do better,"
            " and make the gains over it smaller."
        ),
        (
            "The learning rates of quick, slow lie at the edge of their grids: a wider one may do"
            " better."
        ),
        "The warm-up of slow lies at the edge of its grid: another one may do better.",
    ]
    assert all(line.caution for line in lines)


def test_a_base_that_no_longer_improves_is_said():
    falls, rises = {"0.5": 0.5, "0.75": 0.4, "0.95": 0.3}, {"0.5": 0.5, "0.75": 0.6, "0.95": 0.3}
    runs = {name: [reaching(20)] * 5 for name in TWO}
    assert not [
        line
        for line in results(plan(**TWO), runs, {"constant": falls})["verdicts"]
        if "improves" in line
    ]
    found = results(plan(**TWO), runs, {"constant": rises})
    [line] = [line for line in cautions.lines(found) if "improves" in line.text]
    assert line.text.startswith(
        "constant no longer improves from 50% to 75% of its length (0.5, then 0.6): chance"
    )
    assert line.caution


def test_few_seeds_are_said_to_be_too_few():
    assert verdict([20] * 5, [10] * 5)[1] == []
    _, more = verdict([20, 22, 24], [10, 11, 12])
    assert len(more) == 1
    assert more[0].startswith("3 seeds are few: their intervals are wide")
    assert "seeds=5 or more" in more[0]


def test_one_seed_has_no_interval_and_shows_nothing():
    said, more = verdict([20], [10])
    assert said == "comes to 2.00×"
    assert len(more) == 1
    assert more[0].startswith("One seed has no interval")


def test_results_say_how_they_were_judged(found):
    assert found["protocol"] == {
        "name": "honest", "headline": "0.75", "target_metric": "loss", "smoothing": 3,
        "seeds": [0, 1, 2, 3, 4], "calibration_seeds": [10, 11, 12],
    }  # fmt: skip
    assert found["rates"]["cosine"]["learning_rate"] == 0.2
    assert found["targets"]["constant"] == {"0.75": 0.5}
    assert found["curves"].keys() == CROSSINGS.keys()


@pytest.mark.parametrize("undisturbed", [True, False, None])
def test_seconds_count_where_every_run_had_the_machine_to_itself(undisturbed):
    own = plan(seeds=2, **TWO)
    runs = {
        "constant": [reaching(20)] * 2,
        "constant_linear": [reaching(10), reaching(10, undisturbed=undisturbed)],
    }
    found = results(own, runs)
    assert [row["seconds_comparable"] for row in found["arms"]] == [True, undisturbed is True]
    assert found["seconds_comparable"] == (undisturbed is True)


def test_seconds_of_two_machines_do_not_count():
    own = [
        [reaching(20, machine=name) for name in names] for names in (("cpu", "cpu"), ("cpu", "gpu"))
    ]
    base, row, _ = of(*own)
    assert (base["seconds_comparable"], row["seconds_comparable"]) == (True, False)


def test_the_papers_protocol_counts_the_first_accuracy_and_says_test_loss():
    slow = run([5.0] * 9, accuracy=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.7, 0.7])
    fast = run([5.0] * 9, accuracy=[0.1, 0.5, 0.7, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2])
    found = results(
        plan(seeds=5, **TWO, target_metric="accuracy", target_value=0.6),
        {"constant": [slow] * 5, "constant_linear": [fast] * 5},
    )
    assert (
        found["protocol"]["name"],
        found["protocol"]["headline"],
        found["protocol"]["smoothing"],
    ) == (
        "paper",
        "0.6",
        1,
    )
    assert at(found["arms"][1], target="0.6")["epochs"]["each"] == [2] * 5
    assert said_of(found["verdicts"]).startswith(
        "constant_linear over constant reaches the target in fewer steps: 2.50× [2.06, 3.03]. Final"
        " test loss"
    )


def test_a_base_at_a_tuned_rate_is_summarised_at_it():
    own = plan(
        seeds=2,
        base=ARMS["cosine"],
        mean=Arm(over="base", average=Average()),
        jumps=Arm(over="mean", forecaster="linear"),
    )
    found = results(own, {arm.name: [reaching(20)] * 2 for arm in own.arms})
    assert [row["learning_rate"] for row in found["arms"]] == [0.2] * 3
    assert all(row["against"].keys() == {"base", "mean"} for row in found["arms"])


CARD = {"seconds": 100.0, "corpus": {"seconds": 250.0, "runs": 7}}


SURE = [9, 11, 10, 12, 8]


@pytest.mark.parametrize(
    ("crossings", "card", "saved", "shown", "pays"),
    [
        (SURE, CARD, 40.0, True, 9),  # 20 epochs of 2 seconds are saved in the mean: 350 / 40
        (SURE, {"seconds": 100.0, "corpus": {"seconds": 200.0, "runs": 7}}, 40.0, True, 8),
        ([30] * 5, CARD, 0.0, False, None),
        ([40, 38, 39, 37, 36], CARD, -16.0, False, None),
        ([10, 38, 35, 12, 40], CARD, 6.0, False, None),  # by chance
        (SURE, {"seconds": 100.0, "corpus": {"runs": 7}}, 40.0, True, None),
        (SURE, {"corpus": {"seconds": 250.0, "runs": 7}}, 40.0, True, None),
        (SURE, {"seconds": 100.0}, 40.0, True, None),
    ],
)
def test_a_forecaster_pays_after_so_many_runs(crossings, card, saved, shown, pays):
    own = plan(seeds=5, **TWO)
    found = results(
        own,
        {"constant": [reaching(30)] * 5, "constant_linear": [reaching(when) for when in crossings]},
    )
    assert cost.of(found, "constant_linear", card) == {
        "fit_seconds": card.get("seconds"), "corpus_seconds": card.get("corpus", {}).get("seconds"),
        "corpus_runs": card.get("corpus", {}).get("runs"), "saved_seconds": saved, "shown": shown,
        "pays_after": pays,
    }  # fmt: skip


@pytest.mark.parametrize("more", [{"undisturbed": False}, {"seconds": 1.9}])
def test_a_forecaster_pays_only_where_seconds_can_be_compared_and_steps_are_saved(more):
    base, arm = [30, 31, 30, 29, 30], SURE if "undisturbed" in more else [30, 31, 30, 29, 31]
    made = [reaching(when, **more) for when in arm]
    found = results(
        plan(seeds=5, **TWO),
        {"constant": [reaching(when) for when in base], "constant_linear": made},
    )
    assert found["arms"][1]["against"]["constant"]["0.75"]["seconds"]["clear"]
    paid = cost.of(found, "constant_linear", CARD)
    assert paid["saved_seconds"] > 0
    assert (paid["shown"], paid["pays_after"]) == (False, None)


@pytest.mark.parametrize("when", [2, 20, 40])
def test_made_up_runs_cross_where_they_say(when):
    made = reaching(when)
    assert plan(**TWO).cross(made["epoch"], made, 0.5) == (when, True)
