"""What to use: the sentence that a report begins with, on made-up runs."""

import math

import pytest
from curves import CHOSEN, plan, reaching, results, run, told
from pages import Page

from evaluate import answer, joint, joint_report, report
from evaluate.arms import Arm, Average
from evaluate.decision import Verdict

NAN = math.nan
ARMS = {
    "constant": Arm(),
    "cosine": Arm(learning_rate="tuned", schedule="cosine"),
    "linear": Arm(over="cosine", forecaster="linear"),
    "mean": Arm(over="constant", average=Average()),
}
BASE, QUICK, QUICKER = [20, 22, 24, 26, 28], [15, 16, 18, 20, 21], [10, 11, 12, 13, 14]


def made(crossings, arms=ARMS, finals=None):
    """Results by when runs cross the target; ``finals`` scales the losses of an arm."""

    def runs(name):
        for place, when in enumerate(crossings[name]):
            one = when if isinstance(when, dict) else reaching(when)
            by = (finals or {}).get(name, 1.0) * (1 + 0.01 * place)
            yield one | {"loss": [loss if loss > 0.3 else loss * by for loss in one["loss"]]}

    seeds = len(next(iter(crossings.values())))
    return told(results(plan(seeds=seeds, **arms), {name: list(runs(name)) for name in arms}))


def said(*given, **more):
    return answer.sentence(made(*given, **more))


def test_an_arm_that_is_faster_than_the_strongest_tuned_base_is_named_with_its_interval():
    crossings = {"constant": BASE, "cosine": BASE, "linear": QUICKER, "mean": QUICK}
    line = said(crossings)
    assert line.startswith(
        "Use `linear`: at the target of 75 % it is 2.00× [1.93, 2.07] as fast in steps as `cosine`,"
        " the strongest tuned base, with no difference shown at the end (final validation loss,"
    )
    assert line.endswith(
        "; the best of 3 arms, not corrected for their number (mlp-digits, 5 paired seeds)."
    )


def test_a_gain_over_a_constant_rate_is_no_answer_where_a_tuned_base_does_as_well():
    crossings = {"constant": BASE, "cosine": QUICKER, "linear": QUICKER, "mean": QUICK}
    assert said(crossings) == (
        "Use `cosine` alone, the strongest tuned base: none of the 3 other arms was shown to be"
        " better at the target of 75 % or at the end (mlp-digits, 5 paired seeds)."
    )


def test_without_a_tuned_base_the_answer_says_so():
    arms = {name: ARMS[name] for name in ("constant", "mean")}
    line = said({"constant": BASE, "mean": QUICKER}, arms)
    assert line.startswith("Use `mean`: at the target of 75 % it is 2.00")
    assert "as fast in steps as `constant`, an untuned base" in line
    assert "not corrected" not in line
    assert said({"constant": QUICK, "mean": BASE}, arms).startswith(
        "Use `constant` alone, an untuned base: the other arm was not shown to be better"
    )


def test_the_arm_whose_interval_is_farthest_from_equal_is_chosen():
    arms = ARMS | {"wild": Arm(over="cosine", forecaster="quadratic")}
    crossings = {"constant": BASE, "cosine": BASE, "linear": QUICK, "mean": BASE}
    wild = [4, 22, 5, 20, 6]  # faster in the mean, and less sure
    assert said(crossings | {"wild": wild}, arms).startswith("Use `linear`")


def test_one_seed_decides_nothing():
    line = said({"constant": [20], "cosine": [20], "linear": [10], "mean": [10]})
    assert line == (
        "Use `cosine` alone, the strongest tuned base: these runs decide nothing about the other"
        " arms (mlp-digits, 1 paired seed)."
    )


def test_an_arm_that_ends_higher_or_diverges_or_cannot_be_had_is_no_answer():
    arms = ARMS | {"oracle": Arm(over="cosine", forecaster="oracle")}
    lost = run([1.0, *[NAN] * 40])
    crossings = {"constant": BASE, "cosine": BASE, "mean": BASE}
    alone = "Use `cosine` alone"
    oracle = {"oracle": QUICKER}
    assert said(crossings | {"linear": BASE} | oracle, arms).startswith(alone)
    found = made(crossings | {"linear": QUICKER} | oracle, arms)
    assert answer.sentence(found).startswith("Use `linear`")
    row = next(row for row in found["arms"] if row["name"] == "linear")
    row["final_loss_ratio"]["ratio"] = [0.6, 0.59, 0.61]
    assert answer.sentence(found).startswith(alone)
    assert said(crossings | {"linear": [*QUICKER[:4], lost]} | oracle, arms).startswith(alone)


def test_an_arm_that_ends_better_and_is_no_faster_is_named_for_its_end():
    crossings = {"constant": BASE, "cosine": BASE, "linear": BASE, "mean": BASE}
    found = made(crossings)
    row = next(row for row in found["arms"] if row["name"] == "linear")
    row["final_loss_ratio"]["ratio"] = [1.05, 1.02, 1.08]
    assert answer.sentence(found).startswith(
        "Use `linear`: it ends lower than `cosine`, the strongest tuned base (final validation"
        " loss, cosine / linear: 1.05 [1.02, 1.08]), and is not shown to be faster at the target of"
        " 75 %"
    )


def test_the_strongest_base_is_the_tuned_one_that_ends_lowest_and_has_not_diverged():
    arms = {
        "constant": Arm(),
        "cosine": ARMS["cosine"],
        "steady": Arm(learning_rate="tuned"),
        "lost": Arm(learning_rate="tuned", schedule="wsd"),
    }
    crossings = dict.fromkeys(arms, BASE)
    crossings["lost"] = [*BASE[:4], run([0.1, *[0.2] * 40])]
    found = made(crossings, arms, {"constant": 0.2, "cosine": 0.9, "steady": 0.7, "lost": 0.1})
    assert answer.strongest(found)["name"] == "steady"
    only = made({"constant": BASE}, {"constant": Arm()})
    assert answer.sentence(only).startswith(
        "Use `constant`, an untuned base: no other arm was compared"
    )


def test_it_stands_at_the_top_of_the_page_of_the_markdown_and_of_the_terminal():
    found = made({"constant": BASE, "cosine": BASE, "linear": QUICKER, "mean": QUICK})
    line = answer.sentence(found)
    page = report.page(found)
    Page(page).check()
    assert page.index('<p class="answer">Use <code>linear</code>: at the target') < page.index(
        "<h2>"
    )
    assert report.markdown(found).splitlines()[2] == f"**{line}**"
    assert report.text(found).splitlines()[1] == line


ROBUST = {"protocol": {"seeds": [0, 1, 2, 3]}, "about": {"task": "mlp-digits"}}


def robust_of(**each):
    """Results of the robust protocol, of mean regrets by seed."""
    methods = [
        {"name": name, "each": values, "mean": [math.exp(sum(map(math.log, values)) / 4), 1, 2]}
        for name, values in each.items()
    ]
    metric = {"name": "loss", "better": "lower", "compare": "ratio"}
    block = {"starts": [0.1, 1, 10], "methods": methods}
    return ROBUST | {"metrics": [metric], "robust": block}


def test_from_any_rate_the_lowest_mean_regret_is_named_and_whether_it_is_shown_to_be_lower():
    auto, other = [1.0, 1.1, 1.05, 1.08], [1.5, 1.6, 1.6, 1.65]
    line = answer.sentence(robust_of(cosine=other, auto=auto))
    assert line.startswith(
        "Use `auto` where the rate is not known: its mean regret over 3 starting rates is 1.06×"
    )
    assert (
        ", and lower than that of every other method; next is `cosine` (`cosine` / `auto`" in line
    )
    near = [1.02, 1.1, 1.06, 1.07]
    line = answer.sentence(robust_of(near=near, auto=auto, cosine=other))
    assert "the lowest, but not shown to be lower than that of `near`" in line
    assert "`cosine`" not in line


def budget_of(**arms):
    """Results of the budget protocol, of speed-ups with their intervals."""
    rows = [
        {"name": name, "over": "swept", "settings": {"forecaster": "linear"}, "diverged": 0}
        for name in arms
    ]
    metric = {"name": "loss", "better": "lower", "compare": "ratio"}
    block = {
        "base": "swept",
        "arms": [
            {"name": name, "speed_up": found, "above": 0, "below": 0}
            for name, found in arms.items()
        ],
    }
    return ROBUST | {"metrics": [metric], "budget": block, "arms": rows}


def test_at_an_equal_final_loss_the_surest_gain_is_named_or_the_base():
    line = answer.sentence(
        budget_of(wnn=[1.3, 0.9, 1.8], gram=[1.08, 1.03, 1.14], ema=[1.2, 1.01, 1.4])
    )
    assert line == (
        "Use `gram`: `swept`, the tuned base, needs 1.08× [1.03, 1.14] as many steps for an equal"
        " final loss; the best of 3 arms, not corrected for their number (mlp-digits, 4 paired"
        " seeds)."
    )
    assert answer.sentence(budget_of(wnn=[1.3, 0.9, 1.8], gram=[0.9, 0.8, 0.95])).startswith(
        "Use `swept` alone, the tuned base: none of the 2 other arms was shown to be better"
    )


def tasks_of(each, crossings=BASE):
    """Joint results of tasks with a base and an arm."""
    arms = {name: ARMS[name] for name in ("cosine", "linear")}
    found = []
    for place, when in enumerate(each):
        one = made({"cosine": crossings, "linear": when}, arms)
        one["about"] |= {"task": f"task{place}", "content": f"{place}"}
        found.append(one)
    return joint.join(found)


@pytest.mark.parametrize(
    ("each", "start"),
    [
        (
            [QUICKER, [9, 10, 11, 12, 13], [11, 12, 13, 14, 15]],
            "Use `linear` on tasks like these 3: at the target of 75 % it is",
        ),
        ([BASE, BASE, QUICK], "Use `cosine` alone, the strongest base: the other arm was not"),
        ([QUICKER, QUICK], "2 tasks decide nothing about tasks in general"),
    ],
)
def test_over_tasks_the_answer_is_that_of_the_interval_over_tasks(each, start):
    joined = tasks_of(each)
    assert answer.over_tasks(joined).startswith(start)
    assert joint_report.markdown(joined).splitlines()[0] == f"**{answer.over_tasks(joined)}**"
    [line, *_] = joint_report.lines(joined)
    decided = start.startswith("Use `linear`")
    assert (line.verdict is Verdict.BETTER) == decided


def test_an_arm_that_ends_worse_over_tasks_is_no_answer():
    joined = tasks_of([QUICKER, [9, 10, 11, 12, 13], [11, 12, 13, 14, 15]])
    [row] = joined["arms"]
    row["final_loss_ratio"]["all"] = [0.9, 0.85, 0.95]
    assert answer.over_tasks(joined).startswith("Use `cosine` alone")


def test_tasks_whose_strongest_bases_differ_are_answered_one_by_one():
    joined = tasks_of([QUICK] * 3) | {"strongest": {"a": "cosine", "b": "wsd"}}
    assert answer.over_tasks(joined) == (
        "No one base is the strongest (`cosine` on a, `wsd` on b): see what to use on each task"
        " below."
    )


def test_the_rate_that_was_chosen_is_what_makes_a_base_a_tuned_one():
    found = made({"constant": BASE, "cosine": BASE, "linear": BASE, "mean": BASE})
    assert found["rates"] == {"cosine": CHOSEN}
    assert answer.strongest(found | {"rates": {}})["name"] in ("constant", "cosine")
