"""A task that is judged by a reward: higher is better, differences count, there is one split, and
no loss anywhere.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curves import plan, run, told, validate
from curves import results as made_up
from pages import Page
from scipy import stats

import nowcast
from collect.tasks import Metric
from collect.training import optimizers
from collect.training.loop import Loop
from evaluate import Arm, joint, joint_report, metrics, run_pictures, tables, words
from evaluate.comparison import compare, write
from nowcast.types import UserError

REWARD, EFFORT = Metric("reward", "higher", "difference"), Metric("effort")
HILL = jnp.array([[1.0], [-2.0], [3.0]])
ARMS = {
    "constant": Arm(),
    "linear": Arm(over="constant", forecaster="linear"),
    "slow": Arm(over="constant", learning_rate=0.002),
    "tuned": Arm(learning_rate="tuned"),
}
SEEDS, EPOCHS, CALIBRATION = [0, 1, 2], 12, [8, 9]
SETTINGS = {
    "epochs": EPOCHS,
    "learning_rate": 0.04,
    "learning_rates": [0.001, 0.05],
    "warmups": [0.0],
    "seeds": SEEDS,
    "calibration_seeds": CALIBRATION,
    "workers": 1,
}


class Climb:
    """A hill with noise; its reward is below 0 everywhere, and what is trained on is another
    number.
    """

    name, steps_per_epoch, arrays = "climb", 4, jnp.zeros(1)
    metrics, splits = (REWARD, EFFORT), ("validation",)

    def __init__(self):
        self.labels = nowcast.label_ops(self.init(0)[0])

    def init(self, seed):
        return {"kernel": jax.random.normal(jax.random.key(seed), (3, 1))}, {}

    def order(self, seed, epoch):
        return np.zeros((4, 1), np.int32)

    def batch(self, arrays, indices, key=None):
        return arrays[indices]

    def loss(self, params, extra, batch, key):
        off = params["kernel"] - HILL - 0.2 * jax.random.normal(key, (3, 1))
        return 100 - jnp.exp(-jnp.sum(off**2) / 30), extra

    def evaluate(self, params, extra, split):
        assert split in self.splits
        off = float(jnp.sum((params["kernel"] - HILL) ** 2))
        return {"reward": -100 - 10 * off, "effort": 1 + off}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("climb") / "report"
    results = compare(Climb(), ARMS, folder, **SETTINGS)
    return folder, write(folder, results, ["python climb.py"])


@pytest.fixture(scope="module")
def rows(compared):
    return {row["name"]: row for row in compared[1]["arms"]}


def means(values):
    """Of three, by place; the first two have none."""
    return [None, None] + [sum(values[i - 2 : i + 1]) / 3 for i in range(2, len(values))]


def test_results_name_the_metrics_and_are_as_the_schema_says(compared):
    folder, results = compared
    validate("results", results)
    assert results["metrics"] == [REWARD._asdict(), EFFORT._asdict()]
    assert results["splits"] == ["validation"]
    for runs in results["curves"].values():
        for one in runs:
            assert one.keys() >= {"reward", "effort"}
            assert not [key for key in one if key.startswith("test_") or key == "loss"]
    assert json.loads((folder / "results.json").read_text()) == results


def test_a_curve_is_the_reward_of_the_weights(compared):
    task = Climb()
    end = Loop(task, optimizers.make("adam")).run(1, np.full(EPOCHS * 4, 0.04, np.float32))
    expected = [task.evaluate(one.state.params, {}, "validation")["reward"] for one in end]
    np.testing.assert_allclose(compared[1]["curves"]["constant"][1]["reward"], expected, rtol=1e-4)
    assert max(expected) < 0


def test_rate_and_targets_are_of_the_highest_rewards(compared):
    folder, results = compared
    assert results["rates"]["tuned"]["learning_rate"] == 0.05
    finals = results["rates"]["tuned"]["final_reward"]
    assert finals["0.05, warm-up 0"] > finals["0.001, warm-up 0"]
    runs = [
        json.loads((folder / f"runs/constant/0.04/seed{seed}.json").read_text())["reward"]
        for seed in CALIBRATION
    ]
    expected = {
        f"{share:g}": np.median([means(one)[round(share * EPOCHS)] for one in runs])
        for share in (0.5, 0.75, 0.95)
    }
    assert results["targets"]["constant"] == pytest.approx(expected)
    assert expected["0.5"] < expected["0.75"] < expected["0.95"]


def test_a_target_is_crossed_from_below(compared, rows):
    results = compared[1]
    target = results["targets"]["constant"]["0.75"]
    for name, row in rows.items():
        places = []
        for one in results["curves"][name]:
            high = [
                i
                for i, mean in enumerate(means(one["reward"]))
                if mean is not None and mean >= target
            ]
            places.append(4 * (high[0] if high else EPOCHS))
        against = row["against"]["constant"]["0.75"]
        assert against["steps"]["each"] == places
        base = rows["constant"]["against"]["constant"]["0.75"]["steps"]["each"]
        assert against["steps"]["speed_up"][0] == pytest.approx(
            stats.gmean(np.divide(base, places))
        )
    assert rows["slow"]["against"]["constant"]["0.75"]["reached"] == 0


def test_final_rewards_are_compared_by_their_difference(compared, rows):
    curves = compared[1]["curves"]
    ends = {name: [means(one["reward"])[-1] for one in runs] for name, runs in curves.items()}
    for name in ("linear", "slow"):
        each = np.subtract(ends[name], ends["constant"])
        found = rows[name]["final_reward_difference"]
        assert found["each"] == pytest.approx(each.tolist())
        assert found["difference"] == pytest.approx(
            [each.mean(), *stats.ttest_1samp(each, 0).confidence_interval()]
        )
        assert found["clear"] == (stats.ttest_1samp(each, 0).pvalue < 0.05)
        assert rows[name]["final_reward"] == pytest.approx(np.median(ends[name]))
        best = [max(one["reward"]) for one in curves[name]]
        assert rows[name]["best_reward"] == pytest.approx(np.median(best))
        efforts = [[means(one["effort"])[-1] for one in curves[arm]] for arm in ("constant", name)]
        assert rows[name]["final_effort_ratio"][0] == pytest.approx(
            stats.gmean(np.divide(*efforts))
        )
    assert rows["slow"]["final_reward_difference"]["difference"][0] < 0


def test_the_report_says_it_in_words_tables_and_pictures(compared, rows):
    folder, results = compared
    page = Page((folder / "report.html").read_text())
    page.check()
    text = " ".join(page.words)
    for never in ("loss", "accuracy", "test set", "images"):
        assert never not in text, never
    [line] = [line for line in results["verdicts"] if line.startswith("slow over constant ")]
    value, low, high = rows["slow"]["final_reward_difference"]["difference"]
    assert (
        f". Final validation reward, slow − constant: {value:+.1f} [{low:+.1f}, {high:+.1f}]"
        in line
    )
    assert ("it ENDS LOWER" in line) == rows["slow"]["final_reward_difference"]["clear"]
    assert (
        f"Target: validation reward {results['targets']['constant']['0.75']:.4f}, where constant is"
        in text
    )
    [main, *_] = [table for table in page.tables if "final reward" in table[0]]
    assert main[0][-4:] == ["best reward", "final reward", "arm − base [95 %]", "final effort"]
    assert [row[-2] for row in main[1:2]] == ["0"]
    assert "validation reward" in text
    assert "final reward, arm − base" in text
    assert "final effort, base / arm" in text
    figure = run_pictures.curves(results)
    for axes in figure.axes:
        assert axes.get_yscale() == "linear"
        assert axes.get_ylabel() == "validation reward"
    bold = {row[1]: row[5] for row in tables.digest(results)[1:]}
    assert bold["slow"].verdict.decided == rows["slow"]["final_reward_difference"]["clear"]


def test_the_report_of_several_tasks_takes_differences_too(compared):
    _, results = compared
    others = [
        results | {"about": results["about"] | {"content": name}}
        for name in ("first", "second", "third")
    ]
    joined = joint.join(others)
    found = next(row for row in joined["arms"] if row["name"] == "slow")["final_reward_difference"]
    each = next(row for row in results["arms"] if row["name"] == "slow")["final_reward_difference"][
        "each"
    ]
    assert found["all"] == pytest.approx([np.mean(each)] + [np.nan] * 2, nan_ok=True)
    assert found["all"][0] == pytest.approx(np.mean(each))
    assert joint_report.kinds(joined)["final_reward_difference"] == "Final reward, arm − base"
    validate("joint", json.loads(json.dumps(joined)))
    Page(joint_report.page(joined, others)).check()


def test_of_tasks_judged_by_metrics_that_differ_only_steps_and_seconds_are_joined(compared):
    _, results = compared
    own = plan(seeds=3, constant=Arm(), slow=Arm(over="constant", learning_rate=0.002))
    runs = {name: [run([1.0, 0.5, 0.4, 0.3])] * 3 for name in ("constant", "slow")}
    other = told(made_up(own, runs, {"constant": {"0.75": 0.45}}))
    kept = results | {
        "arms": [row for row in results["arms"] if row["name"] in ("constant", "slow")]
    }
    joined = joint.join([kept, other])
    assert joined["metric"] is None
    assert list(joint_report.kinds(joined)) == ["speed_up", "seconds_speed_up"]
    assert not [key for key in joined["arms"][0] if key.startswith("final_")]


def rewarded(base, arm, metric=REWARD, **more):
    """``(row of the base, row of the arm, verdicts)`` of made-up rewards."""
    runs = {
        name: [run([1.0] * len(one), **{metric.name: one}, **more) for one in each]
        for name, each in (("constant", base), ("linear", arm))
    }
    own = plan(
        seeds=len(base),
        metrics=(metric,),
        splits=("validation",),
        constant=Arm(),
        linear=Arm(over="constant", forecaster="linear"),
    )
    found = made_up(own, runs, {"constant": {"0.75": -50.0}})
    return *found["arms"], found["verdicts"]


def test_a_reward_that_ends_below_where_it_began_has_not_diverged_and_one_that_is_not_finite_has():
    falls, lost = [-1.0, -5, -9, -90], [-9.0, -5, np.nan, np.nan]
    base, row, verdicts = rewarded([falls] * 2, [lost, falls])
    assert (base["diverged"], row["diverged"]) == (0, 1)
    assert row["final_reward_difference"]["each"] is None
    assert "1 of its 2 runs DIVERGED" in verdicts[-1]


def test_a_higher_end_is_said_to_be_better_and_a_lower_one_shouted():
    low, high = (
        [[-9.0] * 3 + [-8.0 - i] * 3 for i in range(3)],
        [[-9.0] * 3 + [-3.0 - i / 2] * 3 for i in range(3)],
    )
    assert rewarded(low, high)[2][-1].endswith(
        "linear − constant: +5.500 [+4.258, +6.742]: it ends higher."
    )
    assert rewarded(high, low)[2][-1].endswith(
        "linear − constant: -5.500 [-6.742, -4.258]: it ENDS LOWER."
    )


def test_a_jump_that_lowers_the_reward_is_a_dip():
    jumps = [(10, -20.0, -60.0, 1.0), (30, -10.0, -5.0, 1.0)]
    _, row, _ = rewarded([[-30.0] * 5] * 2, [[-30.0, -20, -40, -20, -5]] * 2, jumps=jumps)
    assert (row["jumps"]["dip"], row["jumps"]["worst_dip"]) == (-17.5, -40)
    assert row["jumps"]["steps_to_recover"] == 10  # of 20 (-60 to -20) and 0


def test_a_ratio_of_what_is_better_higher_is_above_1_where_the_arm_is_better():
    _, row, verdicts = rewarded(
        [[1.0, 2, 2, 2]] * 2, [[1.0, 6, 6, 6]] * 2, Metric("score", "higher", "ratio")
    )
    assert row["final_score_ratio"]["each"] == [3, 3]
    assert row["best_score"] == 6
    assert "Final validation score, linear / constant: 3.00" in verdicts[-1]


def test_differences_are_shown_with_a_sign_and_four_digits():
    assert metrics.shown(REWARD, [0.0123, -0.001, 0.03]) == "+0.0123 [-0.0010, +0.0300]"
    assert metrics.shown(REWARD, [-123.4, None, None]) == "-123.4"
    assert metrics.shown(REWARD, [None] * 3) == "–"
    assert metrics.shown(EFFORT, [1.234, 1.0, 2.0]) == "1.23× [1.00, 2.00]"


@pytest.mark.parametrize("shift", [0.0, 0.1, -0.5])
def test_a_difference_is_clear_where_a_paired_t_test_says_so(shift):
    rng = np.random.default_rng(1)
    base = 3 * rng.standard_normal(9)
    arm = base + shift + 0.3 * rng.standard_normal(9)
    difference = Metric("reward", "higher", "difference")
    found = metrics.compared(difference, base.tolist(), arm.tolist())
    theirs = stats.ttest_rel(arm, base)
    assert found["difference"][1:] == pytest.approx(theirs.confidence_interval())
    assert found["clear"] == (theirs.pvalue < 0.05)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"metrics": ()}, "Climb.metrics: must be a sequence of collect.tasks.Metric"),
        ({"metrics": (REWARD, REWARD)}, "Climb.metrics: 'reward' is there twice"),
        ({"metrics": (Metric("train_loss"),)}, "cannot be called 'train_loss'"),
        ({"metrics": (Metric("reward", "up"),)}, "better is 'lower' or 'higher'"),
        ({"metrics": (REWARD, Metric("length"))}, "Climb.evaluate: must give a dict with the"),
        ({"splits": "validation"}, "Climb.splits: must be a sequence of names"),
        ({"splits": ("test",)}, "climb has only a test split"),
    ],
)
def test_a_task_that_cannot_be_compared_is_refused_in_one_line(tmp_path, wrong, said):
    task = Climb()
    vars(task).update(wrong)
    with pytest.raises(UserError) as caught:
        compare(task, {"constant": Arm()}, tmp_path / "report", **SETTINGS)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report").exists()


def test_the_method_says_which_split_and_which_way(compared):
    lines = " ".join(words.method(compared[1]))
    assert "consecutive values is at or above it" in lines
    assert (
        "judged by their reward on the validation split as they go on, the only one that the task"
        " has." in lines
    )
