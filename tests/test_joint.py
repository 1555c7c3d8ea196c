"""Several tasks as one: means over tasks by hand, on made-up results; what is refused."""

import json
import math

import numpy as np
import pytest
from curves import plan, reaching, read_back, results, run, told
from pages import Page
from scipy import stats

from evaluate import joint, joint_report
from evaluate.arm_continuous import EmaNesterov
from evaluate.arms import Arm, Average, Jump
from evaluate.joining import read
from evaluate.statistics import geometric_interval
from nowcast.types import UserError

CONSTANT, LINEAR = Arm(), Arm(over="constant", forecaster="linear")
WNN = Arm(over="constant", forecaster="bundles/mine")
LOST = run([1.0, 0.9, math.nan, math.nan, math.nan])


def task(name, runs, **arms):
    """Made-up results of a task: by arm when its runs cross the target."""
    own = plan(seeds=2, constant=CONSTANT, **arms)
    made = {
        arm: [one if isinstance(one, dict) else reaching(one) for one in each]
        for arm, each in runs.items()
    }
    return told(results(own, made), name, content=f"{name} {runs}")


@pytest.fixture(scope="module")
def tasks():
    """Three: all have the linear arm, two the WNN, one a mean."""
    return [
        task(
            "a", {"constant": [20, 20], "linear": [40, 40], "wnn": [10, 10]}, linear=LINEAR, wnn=WNN
        ),
        task(
            "b", {"constant": [32, 32], "wnn": [4, 4], "linear": [40, 40]}, wnn=WNN, linear=LINEAR
        ),
        task(
            "c",
            {"constant": [20, 30], "linear": [20, 10], "mean": [10, 10]},
            linear=LINEAR,
            mean=Arm(over="constant", average=Average()),
        ),
    ]


@pytest.fixture(scope="module")
def joined(tasks, tmp_path_factory):
    """As the command does it: from files, to a file."""
    folder = tmp_path_factory.mktemp("tasks")
    for one in tasks:
        read_back(one, folder / one["about"]["task"])
    found = joint.join([read(folder / one["about"]["task"]) for one in tasks])
    read_back(found, folder / "joint")
    return found


def other(results):
    """The same of another task of the same name."""
    return results | {"about": results["about"] | {"content": "another"}}


def arm(joined, name, over="constant"):
    [found] = [row for row in joined["arms"] if (row["name"], row["over"]) == (name, over)]
    return found


def test_a_speed_up_over_tasks_is_the_mean_of_those_tasks_that_have_the_arm(joined):
    found = arm(joined, "wnn")["speed_up"]
    assert found["each"].keys() == {"a", "b"}
    assert found["seeds"] == {"a": [2, 2], "b": [8, 8]}
    assert found["all"][0] == pytest.approx(4)
    assert all(map(math.isnan, found["all"][1:]))  # of two tasks there is no interval
    found = arm(joined, "linear")["speed_up"]
    assert found["seeds"] == {"a": [0.5, 0.5], "b": [0.8, 0.8], "c": [1, 3]}
    assert found["all"][0] == pytest.approx((0.5 * 0.8 * 3**0.5) ** (1 / 3))
    assert found["all"] == pytest.approx(list(geometric_interval([0.5, 0.8, 3**0.5])))


def test_seconds_are_joined_as_steps_are(joined, tasks):
    found = arm(joined, "wnn")["seconds_speed_up"]
    assert found["seeds"] == {"a": [2, 2], "b": [8, 8]}
    assert joined["seconds_comparable"]
    shared = tasks[0] | {"seconds_comparable": False}
    assert not joint.join([shared, tasks[1]])["seconds_comparable"]
    assert "| wnn | constant | ≈4.00× |" in joint_report.markdown(joint.join([shared, tasks[1]]))


def test_each_tasks_own_interval_is_kept(joined, tasks):
    row = tasks[2]["arms"][1]
    steps = row["against"]["constant"]["0.75"]["steps"]["speed_up"]
    assert steps[0] == pytest.approx(math.sqrt(3))
    assert arm(joined, "linear")["speed_up"]["each"]["c"] == pytest.approx(steps)
    row = tasks[0]["arms"][1]
    each = arm(joined, "linear")["final_loss_ratio"]["each"]["a"]
    assert each[0] == pytest.approx(row["final_loss_ratio"]["ratio"][0])


def test_an_arm_of_one_task_has_no_interval(joined):
    found = arm(joined, "mean")["speed_up"]
    assert found["all"][0] == pytest.approx(math.sqrt(6))
    assert all(map(math.isnan, found["all"][1:]))


def test_arms_of_one_name_over_different_bases_are_not_one():
    first = task("a", {"constant": [20, 20], "linear": [10, 10]}, linear=LINEAR)
    second = task(
        "b",
        {"constant": [20, 20], "mean": [20, 20], "linear": [5, 5]},
        mean=Arm(over="constant", average=Average()),
        linear=Arm(
            over="mean",
            forecaster="linear",
        ),
    )
    joined = joint.join([first, second])
    assert [(row["name"], row["over"]) for row in joined["arms"]] == [
        ("linear", "constant"), ("mean", "constant"), ("linear", "mean")
    ]  # fmt: skip
    assert arm(joined, "linear")["speed_up"]["seeds"] == {"a": [2, 2]}
    assert arm(joined, "linear", "mean")["speed_up"]["seeds"] == {"b": [4, 4]}


def test_losses_of_a_task_with_a_diverged_run_are_left_out_and_its_steps_stay():
    first = task("a", {"constant": [20, 20], "linear": [10, 10]}, linear=LINEAR)
    second = task("b", {"constant": [3, 3], "linear": [4, LOST]}, linear=LINEAR)
    found = arm(joint.join([first, second]), "linear")
    assert found["speed_up"]["seeds"].keys() == {"a", "b"}
    assert found["final_loss_ratio"]["seeds"].keys() == {"a"}
    third = task("c", {"constant": [3, 3], "linear": [5, LOST]}, linear=LINEAR)
    found = arm(joint.join([second, third]), "linear")["final_loss_ratio"]
    assert found["each"] == {}
    assert all(map(math.isnan, found["all"]))


def test_tasks_of_one_name_get_numbers(tasks):
    joined = joint.join([tasks[0], tasks[1], other(tasks[0])])
    assert [one["name"] for one in joined["tasks"]] == ["a (1)", "b", "a (2)"]
    assert arm(joined, "wnn")["speed_up"]["seeds"] == {
        "a (1)": [2, 2],
        "b": [8, 8],
        "a (2)": [2, 2],
    }


def test_each_task_says_what_it_is_and_how_to_make_it(joined):
    assert [one["command"] for one in joined["tasks"]] == [
        f"python scripts/evaluate.py report=reports/{name}" for name in "abc"
    ]
    assert all(one["setting"].startswith(f"{one['name']} (") for one in joined["tasks"])
    assert joined["protocol"] == {"name": "honest", "headline": "0.75"}


def test_what_came_out_is_said_in_words(joined):
    lines = joint_report.verdicts(joined)
    assert lines[0].startswith(
        "linear over constant makes no difference that these 3 tasks can show: 0.88× ["
    )
    assert lines[1:3] == [
        ("wnn over constant is on 2 tasks, too few to speak of tasks in general: 4.00×."),
        "mean over constant is on 1 task, too few to speak of tasks in general: 2.45×.",
    ]
    [warning] = lines[3:]  # what holds for all is said once
    assert warning.startswith("a, b, c: 2 seeds are few")


def test_tasks_that_agree_show_a_difference():
    better = [
        task("a", {"constant": [20, 20], "linear": [when, when]}, linear=LINEAR)
        for when in (9, 10, 11)
    ]
    joined = joint.join(better)
    assert (
        joint_report.verdicts(joined)[0]
        == "linear over constant needs fewer steps over 3 tasks: 2.01× [1.56, 2.57]."
    )
    ratios = np.log([20 / 9, 20 / 10, 20 / 11])
    ends = stats.ttest_1samp(ratios, 0).confidence_interval()
    assert arm(joined, "linear")["speed_up"]["all"][1:] == pytest.approx(np.exp(ends))
    assert arm(joined, "linear")["speed_up"]["clear"]
    slow = [
        task("a", {"constant": [10, 10], "linear": [when, when]}, linear=LINEAR)
        for when in (20, 22, 21)
    ]
    assert joint_report.verdicts(joint.join(slow))[0].startswith(
        "linear over constant HURTS over 3 tasks: 0.48×"
    )


def test_the_same_runs_are_no_two_tasks(tasks):
    said = "the same runs of a are in two of them, and would count as two tasks"
    with pytest.raises(UserError, match=said):
        joint.join([tasks[0], tasks[1], tasks[0]])
    timed_anew = task("a", {"constant": [20, 20], "linear": [5, 6]}, linear=LINEAR)
    timed_anew["about"]["content"] = tasks[0]["about"]["content"]
    with pytest.raises(UserError, match=said):
        joint.join([tasks[0], timed_anew])
    joint.join([tasks[0], timed_anew | {"about": timed_anew["about"] | {"epochs": 20}}])


def test_arms_of_one_name_must_be_the_same():
    first = task("a", {"constant": [20, 20], "linear": [10, 10]}, linear=LINEAR)
    second = task(
        "b",
        {"constant": [20, 20], "linear": [9, 9]},
        linear=Arm(over="constant", forecaster="quadratic"),
    )
    with pytest.raises(UserError, match=r"the arms linear are not the same \(forecaster differs\)"):
        joint.join([first, second])


def test_a_base_may_follow_each_tasks_own_recipe():
    runs = {"constant": [20, 20], "naive": [20, 20], "linear": [10, 10]}
    kept = Average(kind="ema", decay=0.99)
    recipes = {"a": {"schedule": "cosine"}, "b": {"optimizer": "momentum", "average": kept}}
    tasks = [
        task(name, runs, naive=Arm(**recipe), linear=Arm(over="naive", forecaster="linear"))
        for name, recipe in recipes.items()
    ]
    [row] = joint.join(tasks)["arms"]
    assert row["speed_up"]["all"][0] == pytest.approx(2)
    own = [
        task(name, runs, naive=Arm(), linear=Arm(over="naive", average=average))
        for name, average in (("a", Average(decay=0.9)), ("b", Average(kind="lawa")))
    ]
    with pytest.raises(UserError, match=r"the arms linear are not the same \(average differs\)"):
        joint.join(own)


def test_time_scales_may_differ_as_tasks_differ_in_length():
    runs = {"constant": [20, 20], "mean": [10, 10], "ahead": [10, 10], "linear": [10, 10]}
    tasks = [
        task(
            name,
            runs,
            mean=Arm(over="constant", average=Average(decay=share)),
            ahead=Arm(over="constant", ema_nesterov=EmaNesterov(gamma=share)),
            linear=Arm(over="constant", forecaster="linear", jump=Jump(every=every)),
        )
        for name, share, every in (("a", 0.9, 1), ("b", 0.99, 3))
    ]
    assert [row["name"] for row in joint.join(tasks)["arms"]] == ["mean", "ahead", "linear"]


def test_a_tuned_warm_up_may_differ_from_task_to_task_and_one_that_an_arm_says_may_not():
    arms = {"best": Arm(learning_rate="tuned"), "jumps": Arm(over="best", forecaster="linear")}
    runs = {"constant": [20, 20], "best": [20, 20], "jumps": [10, 10]}
    one, two = task("a", runs, **arms), task("b", runs, **arms)
    for row in two["arms"]:
        row["settings"]["warmup"] = 0.2 * row["warmup_tuned"]
    assert [row["name"] for row in joint.join([one, two])["arms"]] == ["jumps"]
    for row in (*one["arms"], *two["arms"]):
        del row["warmup_tuned"]
    with pytest.raises(UserError, match=r"the arms best are not the same \(warmup differs\)"):
        joint.join([one, two])


def test_two_tasks_that_happen_to_agree_show_none():
    lucky = [
        task("a", {"constant": [20, 20], "linear": [when, when]}, linear=LINEAR)
        for when in (10, 19)
    ]
    line, *_ = joint_report.verdicts(joint.join(lucky))
    assert (
        line == "linear over constant is on 2 tasks, too few to speak of tasks in general: 1.45×."
    )


def test_the_page_is_well_formed_and_has_every_task(joined, tasks):
    page = Page(joint_report.page(joined, tasks))
    page.check()
    words = " ".join(page.words)
    for line in (*joint_report.verdicts(joined), *(one["setting"] for one in joined["tasks"])):
        assert line in words
    assert sum(tag == "svg" for tag, _ in page.tags) == 1 + len(tasks)
    assert all(one["commands"][-1] in words for one in tasks)
    assert "python scripts/report.py" in joint_report.page(
        joined, tasks, "python scripts/report.py reports=[a,b]"
    )


def test_the_tables_have_an_arm_a_row_and_a_task_a_column(joined, tasks):
    rows = Page(joint_report.page(joined, tasks)).table("over", "all tasks [95 %]")
    assert rows["wnn"] == {
        "arm": "wnn", "over": "constant", "all tasks [95 %]": "4.00×",
        "a": "2.00× [1.50, 2.67]", "b": "8.00× [4.16, 15.38]", "c": "–",
    }  # fmt: skip
    assert rows["mean"]["all tasks [95 %]"] == "2.45×"
    assert (
        "| wnn | constant | 4.00× | **2.00× [1.50, 2.67]** | **8.00× [4.16, 15.38]** | – |"
        in joint_report.markdown(joined)
    )


def test_a_page_of_diverged_runs_is_made_too(tmp_path):
    lost = task("a", {"constant": [3, 3], "linear": [LOST, LOST]}, linear=LINEAR)
    read = [read_back(lost, tmp_path), read_back(other(lost), tmp_path / "again")]
    Page(joint_report.page(joint.join(read), read)).check()


def test_papers_targets_of_different_metrics_are_not_joined(tasks):
    one, other = (
        {**task, "protocol": {"name": "paper", "headline": "0.6", "target_metric": metric}}
        for task, metric in zip(tasks, ("loss", "accuracy"), strict=False)
    )
    with pytest.raises(UserError, match=r"paper at accuracy 0\.6, paper at loss 0\.6"):
        joint.join([one, other])


def test_different_protocols_are_not_joined(tasks):
    paper = {**tasks[0], "protocol": {"name": "paper", "headline": "0.6"}}
    with pytest.raises(
        UserError,
        match=r"different protocols \(honest at 0\.75, paper at accuracy 0\.6\); join reports",
    ):
        joint.join([*tasks, paper])
    half = {**tasks[0], "protocol": {"name": "honest", "headline": "0.5"}}
    with pytest.raises(UserError, match=r"honest at 0\.5, honest at 0\.75"):
        joint.join([tasks[0], half])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "has no results.json; python scripts/evaluate.py writes one"),
        ("", "is damaged; give the command that wrote it again"),
        ('{"sch', "is damaged; give the command that wrote it again"),
        ("[]", "is damaged; give the command that wrote it again"),
        ("{}", "is damaged; give the command that wrote it again"),
        ("null", "is damaged; give the command that wrote it again"),
        (
            json.dumps({"schema": "weight-nowcaster/results/1"}),
            "has schema weight-nowcaster/results/1, and this version reads",
        ),
        (json.dumps({"schema": joint.JOINT}), f"has schema {joint.JOINT}, and this version reads"),
    ],
)
def test_what_is_no_report_of_a_task_is_refused_in_one_line(tmp_path, content, said):
    folder = tmp_path / "mine"
    folder.mkdir()
    if content is not None:
        (folder / "results.json").write_text(content)
    with pytest.raises(UserError) as caught:
        read(folder)
    assert str(caught.value).startswith("reports: ")
    assert str(folder) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
