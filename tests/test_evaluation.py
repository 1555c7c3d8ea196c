"""A comparison of a task of one's own, from Python; and what is said of forecasters."""

import json
import math
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from curves import validate
from test_nino import random_nino

import nowcast
from collect.tasks import LOSS, Metric
from collect.training import optimizers
from collect.training.loop import Loop
from evaluate import Arm
from evaluate.arms import Average, Jump
from evaluate.comparison import compare, write
from evaluate.folder import locked
from evaluate.forecasters import commands_of_bundles, describe_fits, load
from evaluate.inheritance import resolve
from evaluate.starts import prepared
from nowcast.types import UserError

ARMS = {
    "constant": Arm(),
    "linear": Arm(over="constant", forecaster="linear"),
    "tuned": Arm(learning_rate="tuned"),
    "mean": Arm(over="tuned", average=Average()),
    "noise": Arm(over="mean", forecaster="noise", of="average"),
}
SETTINGS = {
    "epochs": 7,
    "learning_rate": 0.02,
    "learning_rates": [0.01, 0.1],
    "warmups": [0.0],
    "seeds": [0, 1],
    "calibration_seeds": [9],
    "workers": 1,
}


class Line:
    """A line through 64 points: no accuracy, and a second metric."""

    name, steps_per_epoch = "line", 4
    metrics, splits = (LOSS, Metric("root")), ("validation", "test")

    def __init__(self):
        x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
        self.arrays = jnp.asarray(x), jnp.asarray(x @ np.float32([1, 2, 3]) + 1)
        self.labels = nowcast.label_ops(self.init(0)[0])

    def init(self, seed):
        return {"kernel": jax.random.normal(jax.random.key(seed), (3, 1)), "bias": jnp.zeros(1)}, {}

    def order(self, seed, epoch):
        return np.random.default_rng((seed, epoch)).permutation(64).reshape(4, 16)

    def batch(self, arrays, indices, key=None):
        return jax.tree.map(lambda a: a[indices], arrays)

    def loss(self, params, extra, batch, key):
        x, y = batch
        return jnp.mean((x @ params["kernel"][:, 0] + params["bias"][0] - y) ** 2), extra

    def evaluate(self, params, extra, split):
        loss = float(self.loss(params, extra, self.arrays, None)[0])
        return {"loss": loss, "root": loss**0.5}


class Scaled(Line):
    """The line with twice the weights, of which the sums of two are what it has."""

    name = "scaled"

    def init(self, seed):
        params, extra = super().init(seed)
        return {**params, "more": jnp.zeros((3, 1))}, extra

    def loss(self, params, extra, batch, key):
        return super().loss(
            {"kernel": params["kernel"] + params["more"], "bias": params["bias"]}, extra, batch, key
        )


class Kept(Line):
    """It gives the same arrays every time it is asked for a run's first weights."""

    def __init__(self):
        self._first = Line.init(self, 0)
        super().__init__()

    def init(self, seed):
        return self._first


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("line") / "report"
    results = compare(Line(), ARMS, folder, **SETTINGS, about={"points": 64})
    return folder, write(folder, results, ["python line.py"])


@pytest.mark.parametrize("name", ["prodigy", "dadapt_adamw", "mechanize"])
@pytest.mark.parametrize("together", [False, True])
def test_an_optimizer_that_keeps_the_parameters_themselves_trains_as_it_would(name, together):
    task, rates = Kept(), np.full(6, 0.5, np.float32)
    tx = nowcast.periodic(
        optimizers.make(name), nowcast.forecasters.Linear(window=3), every=2, min_drift=None
    )
    params, extra = task.init(0)
    state = tx.init(params)
    for step in range(6):  # nothing is compiled or donated here
        batch = task.batch(task.arrays, task.order(0, step // 4)[step % 4])
        grads = jax.grad(lambda p, batch=batch: task.loss(p, extra, batch, None)[0])(params)
        updates, state = jax.jit(tx.update)(grads, state, params, learning_rate=rates[step])
        params = optax.apply_updates(params, updates)
    loop = Loop(task, tx, nowcast.POPULATION)
    for _ in range(2):  # the task's own arrays are still there
        if together:
            *_, [last, _] = loop.run_together([0, 1], np.stack([rates, rates]))
        else:
            *_, last = loop.run(0, rates)
        jax.tree.map(
            lambda got, own: np.testing.assert_allclose(got, own, rtol=1e-4),
            last.state.params,
            params,
        )


def test_any_task_is_compared_and_reported(compared):
    folder, results = compared
    validate("results", results)
    assert json.loads((folder / "results.json").read_text()) == results
    assert [row["name"] for row in results["arms"]] == list(ARMS)
    assert results["targets"].keys() == {"constant", "tuned", "mean"}
    assert results["rates"]["tuned"]["learning_rate"] == 0.1
    assert results["metrics"] == [
        {"name": "loss", "better": "lower", "compare": "ratio"},
        {"name": "root", "better": "lower", "compare": "ratio"},
    ]
    assert results["splits"] == ["validation", "test"]
    for row in results["arms"]:
        assert not any("accuracy" in key for key in row)
        assert row["test_root"] == np.median(
            [run["test_root"] for run in results["curves"][row["name"]]]
        )
    for run in results["curves"]["constant"]:
        np.testing.assert_allclose(run["root"], np.sqrt(run["loss"]))
        assert run["test_root"] == run["root"][-1:]
    page = (folder / "report.html").read_text()
    assert "line (points 64), 7 epochs of 4 steps" in page
    assert "python line.py" in page


def test_an_arm_may_train_another_network_on_the_same_data(tmp_path):
    arms = {
        "constant": Arm(),
        "scaled": Arm(over="constant", model="scaled"),
        "scaled_linear": Arm(over="scaled", forecaster="linear"),
    }
    given = SETTINGS | {"networks": {"scaled": Scaled()}}
    folder = tmp_path / "report"
    results = write(folder, compare(Line(), arms, folder, **given))
    validate("results", results)
    rows = {row["name"]: row for row in results["arms"]}
    assert [row["parameters"] for row in rows.values()] == [4, 7, 7]
    assert rows["scaled_linear"]["words"].startswith("scaled, adam, constant; jumps")
    # Adam moves twice as many of the summed weights, so the run is another one.
    first, other = (results["curves"][name][0]["loss"] for name in ("constant", "scaled"))
    assert first[0] == other[0]
    assert first[1] > other[1]
    taken = results["curves"]["scaled_linear"][0]["jumps"]["seconds"]
    assert len(taken) == 1
    assert math.isfinite(taken[0])
    assert rows["scaled_linear"]["jumps"]["seconds"] is not None

    with pytest.raises(UserError, match=r"arm\.m\.model=scaled: needs a learning_rate of its own"):
        resolve(
            {"best": Arm(learning_rate="tuned"), "m": Arm(over="best", model="scaled")},
            optimizer="adam", learning_rate=1e-3,
        )  # fmt: skip
    with pytest.raises(UserError, match=r"arm\.m\.model=scaled: protocol=robust begins"):
        prepared({"m": Arm(schedule="cosine", model="scaled")}, optimizer="adam")

    def refused(networks, match):
        with pytest.raises(UserError, match=match):
            compare(Line(), arms, tmp_path / "other", **SETTINGS, networks=networks)

    refused(None, r"^arm\.scaled\.model='scaled': is for image classifiers; leave it out")
    other = Scaled()
    other.splits = ("test",)
    refused({"scaled": other}, r"other splits \(\('test',\)\) than the comparison")
    other = Scaled()
    other.order = lambda seed, epoch: np.arange(64).reshape(4, 16)
    refused({"scaled": other}, "other batches; give it the same data")
    refused({"scaled": Scaled(), "more": Scaled()}, "no arm has the model 'more'; leave it out")
    other = Scaled()
    other.init = lambda seed: Scaled.init(other, seed + 1)  # it begins elsewhere
    with pytest.raises(UserError, match=r"arm\.scaled: '.*' holds runs with other settings"):
        compare(Line(), arms, folder, **SETTINGS, networks={"scaled": other})


def test_an_arm_jumps_by_a_forecaster_of_whole_networks(tmp_path):
    nowcast.save(random_nino(), tmp_path / "nino")
    arms = {"constant": Arm(), "nino": Arm(over="constant", forecaster=str(tmp_path / "nino"))}
    arms["nino"].jump.min_drift = None
    results = compare(Line(), arms, tmp_path / "report", **SETTINGS | {"epochs": 10})
    row = results["arms"][1]
    assert row["jumps"]["accepted"] == 1
    assert row["forecast_error"] is None  # there is no forecast of a weight by itself


def test_it_goes_on_where_it_is_and_refuses_another_task(compared):
    folder, results = compared
    before = {file: file.stat().st_mtime_ns for file in folder.glob("runs/*/*/*")}
    again = compare(Line(), ARMS, folder, **SETTINGS, about={"points": 64})
    assert again["curves"].keys() == results["curves"].keys()
    assert {file: file.stat().st_mtime_ns for file in folder.glob("runs/*/*/*")} == before
    with pytest.raises(nowcast.UserError, match="points: 64 there, 65 in this command"):
        compare(Line(), ARMS, folder, **SETTINGS, about={"points": 65})


def test_a_base_that_diverges_sets_no_target(tmp_path):
    with pytest.raises(nowcast.UserError) as caught:
        compare(
            Line(),
            {"constant": Arm(optimizer="sgd")},
            tmp_path / "report",
            **SETTINGS | {"learning_rate": 90.0},
        )
    assert "arm.constant: after 0.5 of their length its calibration runs have a loss of" in str(
        caught.value
    )
    assert "lower the arm's learning rate" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"target_metric": "accuracy", "target_value": 0.9},
            "target_metric=accuracy: the task measures loss, root; give one of these, with a"
            " target_value",
        ),
        ({"target_value": math.nan}, "target_value=nan: must be a finite number"),
        (
            {"target_metric": "loss"},
            "target_metric=loss: target_value is missing; give both, or neither",
        ),
    ],
)
def test_a_target_that_cannot_be_is_refused_before_anything_is_trained(tmp_path, given, said):
    with pytest.raises(nowcast.UserError) as caught:
        compare(Line(), ARMS, tmp_path / "report", **SETTINGS, **given)
    assert str(caught.value) == said
    assert list(tmp_path.iterdir()) == []


def test_the_papers_protocol_is_of_any_metric_in_its_own_direction(compared, tmp_path):
    _, honest = compared
    arms = {name: ARMS[name] for name in ("constant", "linear")}
    target = {"target_metric": "root", "target_value": honest["curves"]["constant"][0]["root"][3]}
    found = write(tmp_path, compare(Line(), arms, tmp_path, **SETTINGS, **target))
    validate("results", found)
    assert found["protocol"]["target_metric"] == "root"
    steps = found["arms"][0]["against"]["constant"][found["protocol"]["headline"]]["steps"]
    assert steps["each"][0] == honest["curves"]["constant"][0]["step"][3]
    page = (tmp_path / "report.html").read_text()
    assert f"Target: test root {target['target_value']:g}, first crossing" in page
    assert "the first snapshot with this root on the test split" in page
    best = min(min(run["root"]) for runs in found["curves"].values() for run in runs)
    with pytest.raises(nowcast.UserError) as caught:
        compare(Line(), arms, tmp_path, **SETTINGS, target_metric="root", target_value=0)
    assert str(caught.value) == (
        "target_value=0: no run of any arm reaches this root, and the best run reaches"
        f" {best:.4f}; give a higher one, or more epochs: trained runs are kept"
    )


def test_a_forecaster_is_told_by_its_name_or_by_its_parameters(bundle_path):
    assert (load("linear").identity, load("linear").card) == ("linear", {})
    loaded = load(str(bundle_path))
    assert loaded.identity == loaded.card["params_sha256"]
    assert loaded.forecaster.learned


CARDS = {
    "wnn": {
        "command": "fit",
        "corpus": {"tasks": ["lenet-mnist", "mlp-digits"], "commands": ["collect a", "collect b"]},
    },
    "again": {"command": "fit", "corpus": {"tasks": ["lenet-mnist"], "commands": ["collect a"]}},
    "unknown": {"window": 5},
    "linear": {},
}


def test_a_reader_of_rates_is_no_forecaster_of_weights():
    with pytest.raises(UserError, match=r"reads learning rates .* arm\.NAME\.auto\.forecaster"):
        load("rate")


def test_what_a_forecaster_has_seen_is_said():
    assert describe_fits(CARDS, "mlp-digits") == [
        (
            "The forecaster of wnn was meta-trained on lenet-mnist, mlp-digits; it has ALREADY seen"
            " mlp-digits."
        ),
        "The forecaster of again was meta-trained on lenet-mnist; it has never seen mlp-digits.",
        (
            "The forecaster of unknown was meta-trained on what is not known; it has perhaps seen"
            " mlp-digits."
        ),
    ]


def test_the_commands_behind_bundles_are_named_once():
    assert commands_of_bundles(CARDS) == ["collect a", "collect b", "fit"]


def test_a_folder_is_of_one_task_one_protocol_and_one_target(tmp_path):
    arms = {"constant": Arm(), "linear": Arm(over="constant", forecaster="linear")}
    given = {
        "epochs": 7,
        "learning_rate": 0.02,
        "seeds": [0, 1],
        "calibration_seeds": [9],
        "workers": 1,
    }
    compare(Line(), arms, tmp_path / "a", **given)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    other = Line()
    other.arrays = jax.tree.map(lambda a: a + 1, other.arrays)
    for task, more, named in [
        (other, {}, "content"),
        (Line(), {"target_share": 0.5}, "target_share"),
        (Line(), {"learning_rate": 0.01}, "learning_rate"),
        (Line(), {"calibration_seeds": [8]}, "calibration"),
    ]:
        with pytest.raises(UserError, match=rf"another configuration \({named}"):
            compare(task, arms, tmp_path / "a", **given | more)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_what_was_chosen_stands(tmp_path):
    arms = {"constant": Arm(), "linear": Arm(over="constant", forecaster="linear")}
    given = {
        "epochs": 7,
        "learning_rate": 0.02,
        "seeds": [0],
        "calibration_seeds": [9],
        "workers": 1,
    }
    compare(Line(), arms, tmp_path, **given)
    file = tmp_path / "targets.json"
    chosen = file.read_text()
    file.write_text(chosen.replace('"0.5": ', '"0.5": 9'))
    with pytest.raises(
        UserError, match=r"the targets of constant would be .* an earlier command chose"
    ):
        compare(Line(), arms, tmp_path, **given)
    file.write_text("{")
    with pytest.raises(UserError, match="is damaged; remove it"):
        compare(Line(), arms, tmp_path, **given)
    file.unlink()
    compare(Line(), arms, tmp_path, **given)
    assert file.read_text() == chosen


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"seeds": []}, "no seed twice"),
        ({"seeds": [0, 0]}, "no seed twice"),
        ({"seeds": [9]}, "no seed twice"),
        ({"calibration_seeds": []}, "no seed twice"),
        ({"target_share": 7}, "target_share=7"),
        ({"record_every": 0}, "record_every=0"),
        ({"workers": 0}, "workers=0"),
        ({"learning_rates": [0.1, 0.1]}, "each once"),
        ({"epochs": 2}, "a run has 3 evaluations"),
    ],
)
def test_seeds_and_targets_that_cannot_be_are_refused(tmp_path, more, said):
    given = {"epochs": 7, "seeds": [0, 1], "calibration_seeds": [9]}
    with pytest.raises(UserError, match=said):
        compare(Line(), {"constant": Arm()}, tmp_path / "a", **given | more)
    with pytest.raises(UserError, match="letters, digits"):
        compare(Line(), {"../evil": Arm()}, tmp_path / "a", **given)
    assert not (tmp_path / "a").exists()


def test_an_arm_that_cannot_be_is_named_before_anything_is_trained(tmp_path):
    given = {"epochs": 7, "seeds": [0, 1], "calibration_seeds": [9]}
    for arm, said in [
        (Arm(schedule="foo"), "schedule='foo' is unknown"),
        (
            Arm(over="constant", forecaster="linear", jump=Jump(moments="foo")),
            "arm.mine: moments='foo' must be one of",
        ),
    ]:
        with pytest.raises(UserError, match=said):
            compare(Line(), {"constant": Arm(), "mine": arm}, tmp_path / "a", **given)
    assert not (tmp_path / "a").exists()


def test_two_commands_do_not_train_for_one_report(tmp_path):
    given = {"epochs": 7, "seeds": [0], "calibration_seeds": [9]}
    with locked(tmp_path / "a"):
        assert [file.name for file in (tmp_path / "a").rglob("*")] == ["runs", "lock"]
        with (
            pytest.raises(UserError, match="another command is at work there"),
            locked(tmp_path / "a"),
        ):
            pass
    shutil.rmtree(tmp_path / "a")
    compare(Line(), {"constant": Arm()}, tmp_path / "a", **given)
    with locked(tmp_path / "a"), pytest.raises(UserError, match="another command is at work there"):
        compare(Line(), {"constant": Arm()}, tmp_path / "a", **given)
