"""Comparing with the real loop: arms are paired, measured around their jumps, kept, and gone on
with.
"""

import dataclasses
import json
import math
import time
from functools import partial
from typing import ClassVar

import jax
import numpy as np
import optax
import pytest
from curves import untimed
from test_rate_forecaster import random_rate

import nowcast
from collect.config import DataConfig, ModelConfig
from collect.population import make_task
from collect.training import optimizers, wrappers
from collect.training.loop import Loop
from collect.training.stop import Stop
from evaluate import weight_samples
from evaluate.arm_options import Auto, Average, GuardOptions, Jump, Outer
from evaluate.arms import Arm
from evaluate.folder import claim, write_json
from evaluate.inheritance import resolve
from evaluate.training import Training
from evaluate.trials import Stopped, Trials
from nowcast.forecasters import Forecaster

RATE, EPOCHS, EACH = 3e-3, 11, 4
STEPS = EPOCHS * EACH
SEEDS = [0, 1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Times(Forecaster):
    """Knows better than any run where to go."""

    name: ClassVar[str] = "times"
    factor: float

    def leaf(self, history, operation, horizon):
        return self.factor * history[-1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Further(Forecaster):
    """Goes as far as it is told to."""

    name: ClassVar[str] = "further"

    def leaf(self, history, operation, horizon):
        return history[-1] + 1.0 * horizon


FORECASTERS = {
    "linear": nowcast.load("linear"),
    "last_value": nowcast.load("last_value"),
    "further": Further(),
    "lost": Times(factor=math.nan),
    "wrong": Times(factor=-3.0),
    "wild": Times(factor=1e20),
}
GIVEN = {
    "constant": Arm(),
    "linear": Arm(over="constant", forecaster="linear"),
    "still": Arm(over="constant", forecaster="last_value"),
    "lost": Arm(over="constant", forecaster="lost"),
    "late": Arm(over="constant", forecaster="linear", jump=Jump(start_after=0.5, damping=0.5)),
    "guarded": Arm(over="constant", forecaster="wrong", guard=GuardOptions(after=0.5)),
    "oracle": Arm(over="constant", forecaster="oracle"),
    "far": Arm(over="constant", forecaster="oracle", jump=Jump(horizon=100)),
    "ema": Arm(over="constant", average=Average(kind="ema", decay=0.8)),
    "ema_linear": Arm(over="ema", forecaster="linear"),
    "lawa": Arm(over="constant", average=Average(kind="lawa", last=3)),
    "free": Arm(over="constant", optimizer="schedule_free"),
    "lookahead": Arm(over="constant", outer=Outer(every=3, learning_rate=0.5)),
    "lookahead_linear": Arm(over="lookahead", forecaster="linear", jump=Jump(moments="reset")),
    "cosine": Arm(over="constant", schedule="cosine", learning_rate=1e-2),
}
for given in GIVEN.values():
    given.jump.min_drift = None  # every jump is taken
ARMS = {arm.name: arm for arm in resolve(GIVEN, optimizer="adam", learning_rate=RATE)[0]}
WITHOUT_JUMPS = ["constant", "ema", "lawa", "free", "lookahead", "cosine"]


@pytest.fixture(scope="module")
def task():
    made = make_task(ModelConfig("mlp", width=0.1), DataConfig(train_size=128), 32)
    assert made.steps_per_epoch == EACH
    return made


@pytest.fixture(scope="module")
def trials(task, tmp_path_factory):
    """Makes a comparison of that task; keywords override."""

    def make(folder=None, **options):
        folder = folder or tmp_path_factory.mktemp("runs")
        given = {
            "epochs": EPOCHS,
            "record_every": None,
            "forecasters": FORECASTERS,
            "folder": folder,
            "stop": Stop(),
        }
        return Trials(task, **(given | options))

    return make


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of the runs of ``trained``."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="module")
def trained(trials, folder):
    """All arms with both seeds. Read it, do not change it."""
    these = trials(folder)
    these.check(ARMS.values())
    these.train(ARMS.values(), SEEDS, "test")
    return these


@pytest.fixture(scope="module")
def curve(trained):
    """What an arm's run measured."""
    return lambda name, seed=0: trained.curve(ARMS[name], seed)


@pytest.fixture(scope="module")
def path(task):
    """``(parameters, optimizer state)`` of seed 0 after every step, by a loop without all that arms
    have around it.
    """

    def follow(tx):
        run = Loop(task, tx).run(0, np.full(STEPS, RATE, np.float32), record_every=1)
        return [jax.device_get((one.state.params, one.state.optimizer)) for one in run]

    return follow


@pytest.fixture(scope="module")
def loss(task):
    """The validation loss of weights."""
    _, extra = task.init(0)
    return lambda params: task.evaluate(params, extra, "validation")["loss"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["linear", "still", "lost", "guarded", "oracle", "far"])
def test_arms_of_a_seed_are_equal_bit_for_bit_until_the_first_jump(curve, name, seed):
    plain, jumping = curve("constant", seed), curve(name, seed)
    assert plain["step"] == list(range(0, STEPS + 1, EACH))
    assert plain["epoch"] == list(range(EPOCHS + 1))
    for key in ("loss", "accuracy", "train_loss"):  # the window is full after epoch 5
        np.testing.assert_array_equal(plain[key][:5], jumping[key][:5])
    assert plain["train_loss"][5] == jumping["train_loss"][5]  # of the steps before the jump
    assert jumping["jumps"]["before"][0] == plain["loss"][5]
    assert jumping["jumps"]["after"][0] == jumping["loss"][5]
    if name not in ("still", "lost"):
        assert jumping["loss"][5] != plain["loss"][5]
        assert jumping["train_loss"][6] != plain["train_loss"][6]


def test_seeds_differ_and_the_test_set_is_read_once(curve, task, path):
    assert curve("constant", 0)["loss"] != curve("constant", 1)["loss"]
    end = task.evaluate(path(optimizers.make("adam"))[-1][0], task.init(0)[1], "test")
    assert curve("constant")["test_loss"] == [pytest.approx(end["loss"], rel=1e-4)]
    assert curve("constant")["test_accuracy"] == [pytest.approx(end["accuracy"], abs=0.01)]


def test_the_loss_beside_a_schedule_is_that_of_its_own_rates(curve, task):
    rates = 1e-2 * (1 + np.cos(np.pi * np.arange(STEPS) / STEPS)) / 2
    run = Loop(task, optimizers.make("adam")).run(0, rates.astype(np.float32))
    losses = [task.evaluate(one.state.params, one.state.extra, "validation")["loss"] for one in run]
    np.testing.assert_allclose(curve("cosine")["loss"], losses, rtol=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_jumping_to_the_last_value_changes_nothing_but_rounding(curve, seed):
    np.testing.assert_allclose(
        curve("still", seed)["loss"], curve("constant", seed)["loss"], rtol=1e-4
    )
    assert curve("still", seed)["accepted"] == 2
    assert curve("still", seed)["jumps"]["damping"] == [1, 1]


def test_a_forecast_that_is_not_finite_is_refused_and_the_run_goes_on_as_its_base(curve):
    lost, plain = curve("lost"), curve("constant")
    assert (lost["accepted"], lost["refused"]) == (0, 2)
    assert lost["jumps"]["damping"] == [0, 0]
    assert (
        lost["jumps"]["after"] == lost["jumps"]["before"] == [plain["loss"][5], plain["loss"][10]]
    )
    assert lost["loss"] == plain["loss"]


def test_a_jump_goes_where_the_forecaster_says(curve, path, loss):
    weights = [params for params, _ in path(optimizers.make("adam"))][: 5 * EACH + 1 : EACH][1:]
    there = jax.tree.map(lambda *each: _line(np.stack(each), 5), *weights)
    assert curve("linear")["loss"][5] == pytest.approx(loss(there), rel=1e-3)


def _line(values, horizon):
    """Where NumPy's least-squares line through each weight goes."""
    flat = values.reshape(len(values), -1).astype(float)
    slope, height = np.polyfit(np.arange(len(values)), flat, 1)
    return (
        (height + slope * (len(values) - 1 + horizon)).reshape(values.shape[1:]).astype(np.float32)
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_the_oracle_lands_on_the_weights_that_its_base_will_have(curve, seed):
    oracle, plain = curve("oracle", seed), curve("constant", seed)
    assert oracle["jumps"]["step"] == [5 * EACH, 10 * EACH]
    assert oracle["loss"][5] == pytest.approx(plain["loss"][10], rel=1e-6)
    assert oracle["accuracy"][5] == plain["accuracy"][10]
    assert (oracle["accepted"], oracle["refused"]) == (2, 0)
    assert oracle["epoch"] == plain["epoch"]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_oracle_sees_no_further_than_the_end_of_the_run(curve, seed):
    far, plain = curve("far", seed), curve("constant", seed)
    assert far["loss"][5] == pytest.approx(plain["loss"][EPOCHS], rel=1e-6)


def test_no_arm_jumps_at_its_last_step(trials):
    for name in ("linear", "oracle"):
        ten = trials(epochs=10)
        ten.train([ARMS[name]], [0], "test")
        assert ten.curve(ARMS[name], 0)["jumps"]["step"] == [5 * EACH]
        with pytest.raises(
            nowcast.UserError, match=rf"arm\.{name}: .*20 steps.* after 20; train longer"
        ):
            trials(epochs=5).check([ARMS[name]])


@pytest.mark.parametrize("name", ["ema", "lawa"])
def test_averages_train_as_their_base_and_are_judged_differently(curve, name):
    average, plain = curve(name), curve("constant")
    np.testing.assert_allclose(average["train_loss"][1:], plain["train_loss"][1:], rtol=1e-5)
    assert average["loss"][0] == plain["loss"][0]
    assert (np.abs(np.array(average["loss"][2:]) / plain["loss"][2:] - 1) > 1e-3).all()


def test_lawa_is_the_mean_of_the_last_snapshots(curve, path, task, loss):
    weights = [params for params, _ in path(optimizers.make("adam"))][::EACH]
    means = [
        jax.tree.map(lambda *each: np.mean(each, axis=0), *weights[max(0, i - 2) : i + 1])
        for i in range(12)
    ]
    np.testing.assert_allclose(curve("lawa")["loss"], [loss(mean) for mean in means], rtol=1e-4)
    end = task.evaluate(means[-1], task.init(0)[1], "test")["loss"]
    assert curve("lawa")["test_loss"] == [pytest.approx(end, rel=1e-4)]


def test_an_ema_is_of_the_weights_after_all_steps(curve, path, loss):
    weights = [params for params, _ in path(optimizers.make("adam"))]
    expected = [loss(weights[0])]
    for end in range(EACH, STEPS + 1, EACH):
        shares = 0.8 ** np.arange(end)[::-1]
        means = jax.tree.map(
            lambda *each, w=shares: np.average(each, axis=0, weights=w), *weights[1 : end + 1]
        )
        expected.append(loss(jax.tree.map(np.float32, means)))
    np.testing.assert_allclose(curve("ema")["loss"], expected, rtol=1e-4)


def test_an_average_beside_jumps_begins_as_the_average_alone(curve):
    jumping, plain = curve("ema_linear"), curve("ema")
    assert jumping["loss"][:5] == plain["loss"][:5]
    assert jumping["jumps"]["before"][0] == plain["loss"][5]
    assert jumping["loss"][5] != plain["loss"][5]
    assert jumping["accepted"] == 2
    np.testing.assert_allclose(
        jumping["train_loss"][1:6], curve("linear")["train_loss"][1:6], rtol=1e-5
    )


def test_schedule_free_is_judged_by_its_averaged_weights(curve, path, loss):
    run = path(optimizers.make("schedule_free"))[::EACH]
    expected = [
        loss(optax.contrib.schedule_free_eval_params(state, params)) for params, state in run
    ]
    np.testing.assert_allclose(curve("free")["loss"], expected, rtol=1e-3)


def test_an_outer_arm_is_judged_by_its_slow_weights(curve, path, loss):
    run = path(wrappers.outer(optimizers.make("adam"), every=3, learning_rate=0.5, momentum=0.0))
    # Where both are the same.
    slow = [run[step - step % 3][0] for step in range(0, STEPS + 1, EACH)]
    np.testing.assert_allclose(
        curve("lookahead")["loss"], [loss(params) for params in slow], rtol=1e-3
    )


def test_an_arm_whose_rate_follows_the_drift_is_the_wrapped_optimizer(task):
    arms = {
        "plain": Arm(learning_rate=1e-4),
        "auto": Arm(over="plain", auto=Auto(every=2, until=0.75)),
    }
    _, arm = resolve(arms, optimizer="adam", learning_rate=RATE)[0]
    training, rates = Training(task, arm, None, EACH, STEPS), np.full(STEPS, 1e-4, np.float32)
    *_, last = training.pauses(arm, [0], together=False)
    tx = nowcast.auto_rate(optimizers.make("adam"), every=2, stop_after=round(0.75 * STEPS))
    *_, plain = Loop(task, tx).run(0, rates)
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
        last.snapshots[0].state.params,
        plain.state.params,
    )
    assert plain.state.optimizer.multiplier > 2
    said = "(every 2 steps, target 0.02, from 0.125 of the rate, until 0.75 of the run)"
    assert f"its rate follows the drift {said}" in arm.words
    assert arms["plain"].settings.keys() == arms["auto"].settings.keys() - {"auto"}


def test_an_arm_whose_rate_follows_a_reader_is_the_wrapped_optimizer_and_knows_it_by_hash(
    task, tmp_path
):
    rate = random_rate()
    card = nowcast.save(rate, tmp_path / "mine")
    auto = Auto(every=2, forecaster=str(tmp_path / "mine"))
    [arm], _ = resolve({"auto": Arm(auto=auto)}, optimizer="adam", learning_rate=RATE)
    training, rates = Training(task, arm, None, EACH, STEPS), np.full(STEPS, RATE, np.float32)
    *_, last = training.pauses(arm, [0], together=False)
    tx = nowcast.auto_rate(
        optimizers.make("adam"), every=2, stop_after=STEPS // 2, forecaster=rate, steps=STEPS
    )
    *_, alone = Loop(task, tx).run(0, rates)
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
        last.snapshots[0].state.params,
        alone.state.params,
    )
    assert abs(alone.state.optimizer.log_multiplier) > 0.01
    trials = Trials(
        task, epochs=EPOCHS, record_every=EACH, forecasters={}, folder=tmp_path, stop=Stop(None)
    )
    assert trials._described(arm)["auto"]["forecaster"] == card["params_sha256"]


def test_after_a_jump_slow_weights_begin_anew_where_it_landed(task):
    arm = ARMS["lookahead_linear"]
    training = Training(task, arm, FORECASTERS["linear"], EACH, STEPS)
    for pause in training.pauses(arm, [0], together=False):
        state = pause.snapshots[0].state
        if pause.before:
            before = jax.device_get(training.judged(pause.before[0]))
            params, judged = jax.device_get((state.params, training.judged(state)))
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), params, judged)
            assert any(
                np.abs(a - b).max() > 1e-3
                for a, b in zip(*map(jax.tree.leaves, (before, judged)), strict=True)
            )
            assert training.nowcast(state.optimizer).inner.since == 0
    assert training.nowcast(state.optimizer).accepted == 2


def test_a_jump_between_two_evaluations_is_measured_and_adds_no_row(curve):
    late, plain = curve("late"), curve("constant")
    assert late["jumps"]["step"] == [5 * EACH + 2, 10 * EACH + 2]
    assert late["step"] == plain["step"]
    assert late["loss"][:6] == plain["loss"][:6]
    assert late["loss"][6] != plain["loss"][6]
    assert late["jumps"]["before"][0] not in (plain["loss"][5], plain["loss"][6])
    assert late["jumps"]["after"][0] not in late["loss"]
    assert late["jumps"]["damping"] == [0.5, 0.5]
    assert (
        len(
            {
                len(late[key])
                for key in ("step", "epoch", "train_loss", "loss", "accuracy", "seconds")
            }
        )
        == 1
    )


def test_what_is_measured_before_a_jump_between_two_evaluations_is_the_bases_loss_there(
    curve, path, loss
):
    at = path(optimizers.make("adam"))[5 * EACH + 2][0]
    assert curve("late")["jumps"]["before"][0] == pytest.approx(loss(at), rel=1e-4)


def test_a_guard_undoes_a_jump_after_its_share_of_a_snapshot(curve):
    guarded, plain = curve("guarded"), curve("constant")
    # Two steps of waiting, then another window.
    assert guarded["jumps"]["step"] == [
        5 * EACH,
        10 * EACH + 2,
    ]
    assert guarded["jumps"]["damping"] == [1, 1]
    assert (np.divide(guarded["jumps"]["after"], guarded["jumps"]["before"]) > 2).all()
    assert (guarded["accepted"], guarded["refused"]) == (0, 2)
    assert [
        row for row in range(1, EPOCHS + 1) if guarded["loss"][row] > guarded["loss"][row - 1]
    ] == [5]
    assert guarded["loss"][6] < plain["loss"][5]  # two steps are lost, and two are taken again
    assert guarded["test_loss"][0] < 2 * plain["test_loss"][0]


@pytest.mark.parametrize(
    ("jump", "guard", "steps"),
    [
        (Jump(), None, [20, 40]),
        (Jump(every=2), None, [40]),
        (Jump(start_after=1.5), None, [26]),
        (Jump(stop_after=6.0), None, [20]),
        (Jump(), GuardOptions(), [20, 40]),
        (Jump(), GuardOptions(after=0.5), [20, 42]),
        (Jump(), GuardOptions(after=0.01), [20, 41]),  # a step at least
        (Jump(at=[13, 22, 43]), None, [13, 22, 43]),
        (Jump(at=[13], aim=1.1), GuardOptions(), [13]),
    ],
)
def test_times_of_jumps_are_in_snapshots(task, jump, guard, steps):
    arm = dataclasses.replace(ARMS["linear"], jump=jump, guard=guard)
    assert list(Training(task, arm, FORECASTERS["linear"], EACH, STEPS).jumps) == steps


@pytest.mark.parametrize("together", [False, True])
def test_a_jump_at_a_named_step_is_the_fit_of_four_weights_of_the_run(task, path, together):
    arm = dataclasses.replace(ARMS["linear"], jump=Jump(at=[13, 22]))
    training = Training(task, arm, FORECASTERS["linear"], EACH, STEPS)
    seeds = [0, 1][: 1 + together]
    found = {
        pause.snapshots[0].step: [
            np.array(one.params["head"]["kernel"], np.float64)
            for one in (pause.snapshots[0].state, pause.before[0])
        ]
        for pause in training.pauses(arm, seeds, together=together)
        if pause.before
    }
    weights = [params["head"]["kernel"] for params, _ in path(optimizers.make("adam"))]
    window = np.stack([weights[step].ravel() for step in (0, 5, 9, 13)])
    slope, start = np.polyfit([0, 0.4, 0.7, 1], window.astype(np.float64), 1)
    after, before = found[13]
    np.testing.assert_allclose(after.ravel(), start + 2 * slope, rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(before, weights[13], rtol=1e-3, atol=1e-5)
    assert [*found] == [13, 22]


@pytest.mark.parametrize(
    ("at", "said"),
    [([13, 44], "step 44 is named; name steps up to 43"), ([99], "a run has 44 steps")],
)
def test_a_step_beyond_the_run_cannot_be_named(task, at, said):
    arm = dataclasses.replace(ARMS["linear"], jump=Jump(at=at))
    with pytest.raises(nowcast.UserError, match=said):
        Training(task, arm, FORECASTERS["linear"], EACH, STEPS)


@pytest.mark.parametrize(
    ("jump", "bias", "kernel"),
    [
        (Jump(horizon=3, horizon_to=1), [3, 1], [3, 1]),
        (Jump(horizon=4, damping=0.5, operations=["fc"], history_dtype="bfloat16"), [0, 0], [2, 2]),
    ],
)
def test_a_jump_is_as_the_arm_says(task, jump, bias, kernel):
    arm = dataclasses.replace(ARMS["linear"], jump=jump, forecaster="further")
    moved = {"bias": [], "kernel": []}
    for pause in Training(task, arm, FORECASTERS["further"], EACH, STEPS).pauses(
        arm, [0], together=False
    ):
        for name in moved if pause.before else ():
            after, before = (
                one.params["head"][name] for one in (pause.snapshots[0].state, pause.before[0])
            )
            moved[name].append(np.asarray(after - before))
    for name, expected in (("bias", bias), ("kernel", kernel)):
        assert len(moved[name]) == 2
        for got, far in zip(moved[name], expected, strict=True):
            np.testing.assert_allclose(got, far, atol=1e-5)


@pytest.mark.parametrize("name", ARMS)
def test_seconds_begin_at_0_and_never_fall(curve, name):
    for seed in SEEDS:
        seconds = curve(name, seed)["seconds"]
        assert seconds[0] == 0
        assert (np.diff(seconds) > 0).all()
        assert curve(name, seed)["compile_seconds"] > 0


@pytest.mark.parametrize(("seeds", "together"), [([0], False), (SEEDS, True)])
def test_nothing_is_compiled_while_seconds_are_counted(task, seeds, together):
    training = Training(task, ARMS["linear"], FORECASTERS["linear"], EACH, STEPS)
    training.compile(seeds, together=together)
    program = (training.loop.together if together else training.loop.one_run).program
    assert program._cache_size() == 1
    assert len(list(training.pauses(training.arm, seeds, together=together))) == EPOCHS + 1
    assert program._cache_size() == 1


def test_a_run_says_what_it_is_made_of(curve, task):
    weights = sum(leaf.size for leaf in jax.tree.leaves(task.init(0)[0]))
    for name in ARMS:
        assert curve(name)["parameters"] == weights
        assert curve(name)["accepted"] + curve(name)["refused"] == len(curve(name)["jumps"]["step"])
    for name in [*WITHOUT_JUMPS, "oracle"]:
        assert curve(name)["history_bytes"] == 0
    assert {len(curve(name)["jumps"]["step"]) for name in WITHOUT_JUMPS} == {0}
    assert curve("linear")["history_bytes"] == 4 * 4 * weights  # four snapshots in single precision


def test_by_the_papers_protocol_rows_are_of_the_test_set_before_the_jump(
    trials, trained, task, path
):
    paper = trials(protocol="paper")
    paper.train([ARMS["constant"], ARMS["linear"]], [0], "test")
    plain, jumping = (paper.curve(ARMS[name], 0) for name in ("constant", "linear"))
    weights = [params for params, _ in path(optimizers.make("adam"))][::EACH]
    expected = [task.evaluate(params, task.init(0)[1], "test") for params in weights]
    np.testing.assert_allclose(plain["loss"], [one["loss"] for one in expected], rtol=1e-3)
    assert jumping["loss"][:6] == plain["loss"][:6]  # the row at the jump is that before it
    assert jumping["loss"][6] != plain["loss"][6]
    assert jumping["jumps"]["before"] == [jumping["loss"][5], jumping["loss"][10]]
    assert jumping["jumps"]["after"][0] != jumping["loss"][5]
    assert jumping["test_loss"] == [jumping["loss"][-1]]
    assert jumping["train_loss"][1:] == trained.curve(ARMS["linear"], 0)["train_loss"][1:]


def test_calibration_never_reads_the_test_set_along_the_way(trials, curve, tmp_path):
    paper = trials(tmp_path, protocol="paper")
    paper.train([ARMS["constant"]], [0], "test", calibrate=True)
    assert paper.curve(ARMS["constant"], 0)["loss"] == curve("constant")["loss"]
    assert not list(tmp_path.rglob("*.npz"))


@pytest.mark.slow
def test_together_arms_are_the_same_as_apart(trials, trained):
    names = ["constant", "linear", "guarded", "oracle", "ema_linear", "lawa", "lookahead_linear"]
    together = trials(together=True)
    together.train([ARMS[name] for name in names], SEEDS, "test")
    for name in names:
        for seed in SEEDS:
            one, other = together.curve(ARMS[name], seed), trained.curve(ARMS[name], seed)
            assert one.keys() == other.keys()
            for key in ("step", "epoch", "parameters", "history_bytes", "accepted", "refused"):
                assert one[key] == other[key], (name, key)
            for key in ("loss", "train_loss", "test_loss"):
                np.testing.assert_allclose(one[key], other[key], rtol=1e-3, err_msg=f"{name} {key}")
            np.testing.assert_allclose(one["accuracy"], other["accuracy"], atol=0.02)
            for key in ("step", "before", "after", "damping"):
                np.testing.assert_allclose(
                    one["jumps"][key], other["jumps"][key], rtol=1e-3, err_msg=f"{name} {key}"
                )
            assert one["seconds"][0] == 0
            assert (np.diff(one["seconds"]) > 0).all()


def test_together_only_missing_runs_are_trained(trials, trained, tmp_path):
    first = trials(tmp_path, epochs=2)
    first.train([ARMS["constant"]], [0], "test")
    file = tmp_path / "constant" / "0.003" / "seed0.json"
    before = file.stat().st_mtime_ns
    trials(tmp_path, epochs=2, together=True).train([ARMS["constant"]], SEEDS, "test")
    assert file.stat().st_mtime_ns == before
    assert first.curve(ARMS["constant"], 1)["loss"] == pytest.approx(
        trained.curve(ARMS["constant"], 1)["loss"][:3]
    )


def test_a_stopped_comparison_keeps_what_is_finished_and_goes_on(trials, trained, tmp_path):
    arms = [ARMS[name] for name in ("constant", "linear", "still")]
    trials(tmp_path).train(arms, [0], "test")
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*/*/seed*")}
    assert sorted(file.name for file in before) == ["seed0.json"] * 3 + ["seed0.npz"]
    with pytest.raises(Stopped, match="max_minutes"):
        trials(tmp_path, stop=Stop(max_minutes=0.0)).train(arms, SEEDS, "test")
    assert set(tmp_path.glob("*/*/seed*")) == set(before)
    time.sleep(0.01)
    again = trials(tmp_path)
    again.check(arms)
    again.train(arms, SEEDS, "test")
    assert {file: file.stat().st_mtime_ns for file in before} == before
    for arm in arms:
        for seed in SEEDS:
            np.testing.assert_equal(
                untimed(again.curve(arm, seed)), untimed(trained.curve(arm, seed))
            )


class Soon(Stop):
    """Comes after so many snapshots."""

    def __init__(self, snapshots):
        super().__init__()
        self.left = snapshots

    @property
    def reason(self):
        self.left -= 1
        return "enough" if self.left < 0 else ""


def test_a_run_that_is_stopped_midway_leaves_nothing(trials, tmp_path):
    with pytest.raises(Stopped, match="enough"):
        trials(tmp_path, stop=Soon(7), workers=1).train([ARMS["constant"]], [0], "test")
    assert not list(tmp_path.rglob("seed*"))


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"step": [0, 1]}'])
def test_a_damaged_file_is_trained_again(trials, trained, tmp_path, damage):
    these, arm = trials(tmp_path, epochs=2), ARMS["constant"]
    these.train([arm], SEEDS, "test")
    file, other = (tmp_path / "constant" / "0.003" / f"seed{seed}.json" for seed in SEEDS)
    before = other.stat().st_mtime_ns
    file.write_text(damage)
    these.train([arm], SEEDS, "test")
    assert other.stat().st_mtime_ns == before
    assert these.curve(arm, 0)["loss"] == trained.curve(arm, 0)["loss"][:3]


def test_the_same_settings_are_accepted_and_others_of_the_same_name_refused(trials, tmp_path):
    arm = ARMS["linear"]
    trials(tmp_path, epochs=6).train([arm], [0], "test")
    trials(tmp_path, epochs=6).check([arm])
    trials(tmp_path, epochs=6).check([arm.at(0.01)])  # another folder
    others = [
        dataclasses.replace(arm, jump=jump) for jump in (Jump(damping=0.5), Jump(min_drift=0.1))
    ]
    others.append(dataclasses.replace(arm, schedule="cosine"))
    another = trials(tmp_path, epochs=6, identities={"linear": "another bundle"})
    aims = trials(
        tmp_path,
        epochs=6,
        forecasters=FORECASTERS | {"linear": nowcast.forecasters.Linear(horizon=3)},
    )
    for these, changed in [
        *((trials(tmp_path, epochs=6), one) for one in others),
        (another, arm),
        (aims, arm),
    ]:
        with pytest.raises(
            nowcast.UserError, match=r"arm\.linear: .* holds runs with other settings"
        ) as refused:
            these.check([changed])
        assert "\n" not in str(refused.value)
    (tmp_path / "linear" / "arm.json").write_text("{")
    with pytest.raises(nowcast.UserError, match="holds runs with other settings"):
        trials(tmp_path, epochs=6).check([arm])


def test_runs_from_before_an_option_was_there_still_count(trials, tmp_path):
    trials(tmp_path, epochs=6).train([ARMS["linear"]], [0], "test")
    described = json.loads((tmp_path / "linear" / "arm.json").read_text())
    assert described["jump"] == {
        "every": 1,
        "horizon": 5,
        "horizon_to": None,
        "damping": 1.0,
        "operations": None,
        "start_after": 0.0,
        "stop_after": None,
        "moments": "keep",
        "max_relative_jump": None,
        "history_dtype": None,
    }


@pytest.mark.parametrize(("name", "first"), [("linear", 20), ("late", 22), ("oracle", 20)])
def test_a_run_too_short_for_a_jump_is_refused_with_the_cure(trials, name, first):
    with pytest.raises(
        nowcast.UserError,
        match=rf"arm\.{name}: .*16 steps.* after {first}; train longer \(epochs=…\)",
    ):
        trials(epochs=4).check([ARMS[name]])


def test_the_last_evaluation_is_at_the_end_whatever_lies_between_two(trials, curve):
    these, arm = trials(epochs=3, record_every=5), ARMS["constant"]
    these.train([arm], [0], "test")
    run = these.curve(arm, 0)
    assert run["step"] == [0, 5, 10, 12]
    assert run["loss"][-1] == curve("constant")["loss"][3]


def test_forecast_errors_are_those_of_the_bases_own_weights(trained, path):
    weights = [params for params, _ in path(optimizers.make("adam"))][::EACH]
    kernels = np.stack(
        [np.concatenate([w[k]["kernel"].ravel() for k in sorted(w)]) for w in weights]
    )
    missed = np.abs(_line(kernels[1:6], 5) - kernels[10]).sum()
    stayed = np.abs(kernels[5] - kernels[10]).sum()
    got = trained.forecast_errors(ARMS["linear"], ARMS["constant"], SEEDS)
    assert [sorted(one) for one in got] == [["bias", "fc"]] * 2
    assert got[0]["fc"] == pytest.approx(missed / stayed, rel=1e-3)
    assert got[1]["fc"] != got[0]["fc"]
    errors = trained.forecast_errors(ARMS["still"], ARMS["constant"], SEEDS)
    assert errors == [{"bias": 1.0, "fc": 1.0}] * 2


def test_there_are_no_forecast_errors_without_a_horizon_or_without_the_bases_weights(
    trained, trials, tmp_path
):
    falling = dataclasses.replace(ARMS["linear"], jump=Jump(horizon=5, horizon_to=1))
    assert trained.forecast_errors(ARMS["oracle"], ARMS["constant"], [0]) is None
    assert trained.forecast_errors(falling, ARMS["constant"], [0]) is None
    named = dataclasses.replace(ARMS["linear"], jump=Jump(at=[13]))
    assert trained.forecast_errors(named, ARMS["constant"], [0]) is None
    assert trained.forecast_errors(ARMS["linear"], ARMS["linear"], [0]) is None  # recorded without
    assert trials(tmp_path).forecast_errors(ARMS["linear"], ARMS["constant"], [0]) is None


@pytest.mark.parametrize("name", ["constant", "ema"])  # what trains, not what is judged
def test_a_base_keeps_its_own_weights_beside_it(trained, folder, path, name):
    weights = [params for params, _ in path(optimizers.make("adam"))][::EACH]
    biases = np.stack([np.concatenate([w[k]["bias"].ravel() for k in sorted(w)]) for w in weights])
    kept = weight_samples.read(folder / name / "0.003" / "seed0.npz")
    np.testing.assert_allclose(np.concatenate(kept["bias"], axis=1), biases, rtol=1e-3, atol=1e-4)


def test_an_arm_that_jumps_keeps_none(trained, folder):
    assert {file.parts[-3] for file in folder.rglob("*.npz")} == set(WITHOUT_JUMPS)


def test_a_folder_is_claimed_for_one_configuration_and_keeps_what_it_holds(tmp_path):
    folder = tmp_path / "report"
    claim(folder, {"epochs": 3, "seeds": (0, 1)})
    (folder / "runs").mkdir()
    before = (folder / "configuration.json").stat().st_mtime_ns
    claim(folder, {"epochs": 3, "seeds": (0, 1)})
    with pytest.raises(nowcast.UserError, match="epochs: 3 there, 4 in this command"):
        claim(folder, {"epochs": 4, "seeds": (0, 1)})
    with pytest.raises(nowcast.UserError, match=r"model: None there, 'mlp' in this command"):
        claim(folder, {"epochs": 3, "seeds": (0, 1), "model": "mlp"})
    assert (folder / "configuration.json").stat().st_mtime_ns == before
    assert (folder / "runs").is_dir()
    (folder / "configuration.json").write_text("[1")
    with pytest.raises(nowcast.UserError, match="damaged"):
        claim(folder, {"epochs": 3})


def test_a_folder_or_file_that_is_no_report_is_not_claimed(tmp_path):
    for name in ("folder", "hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("mine")
    (tmp_path / "hidden" / ".hydra").mkdir()
    (tmp_path / "file").write_text("mine")
    for name in ("folder", "file"):
        with pytest.raises(nowcast.UserError, match="is not a report; choose another folder"):
            claim(tmp_path / name, {"epochs": 3})
    assert (
        (tmp_path / "folder" / "thesis.tex").read_text()
        == (tmp_path / "file").read_text()
        == "mine"
    )
    claim(tmp_path / "hidden", {"epochs": 3})


def test_what_is_not_finite_becomes_null_and_comes_back_as_nan(trials, tmp_path):
    run = {
        "loss": [1.0, math.nan, math.inf],
        "jumps": {"before": (math.nan,)},
        "undisturbed": None,
        "refused": 0,
    }
    file = tmp_path / "constant" / "0.003" / "seed0.json"
    file.parent.mkdir(parents=True)
    write_json(file, run)
    assert json.loads(file.read_text()) == {
        "loss": [1, None, None],
        "jumps": {"before": [None]},
        "undisturbed": None,
        "refused": 0,
    }
    assert '"loss": [1.0, null, null],\n' in file.read_text()  # in one line
    expected = {
        "loss": [1, math.nan, math.nan],
        "jumps": {"before": [math.nan]},
        "undisturbed": None,
        "refused": 0,
    }
    np.testing.assert_equal(trials(tmp_path).curve(ARMS["constant"], 0), expected)


def test_a_run_that_diverges_is_kept_as_one(trials, tmp_path):
    arm = dataclasses.replace(ARMS["linear"], name="diverging", forecaster="wild")
    these = trials(tmp_path, epochs=6)
    these.train([arm], [0], "test")
    run = these.curve(arm, 0)
    assert np.isfinite(run["loss"][:5]).all()
    assert np.isnan([*run["loss"][5:], *run["test_loss"], *run["jumps"]["after"]]).all()
    file = tmp_path / "diverging" / "0.003" / "seed0.json"
    before = file.stat().st_mtime_ns
    these.train([arm], [0], "test")
    assert file.stat().st_mtime_ns == before


def test_a_run_of_other_settings_is_trained_again_where_nothing_else_tells(trials, tmp_path):
    arm = ARMS["linear"]
    trials(tmp_path, epochs=6).train([arm], [0], "test")
    [file] = tmp_path.glob("linear/*/seed0.json")
    before = file.stat().st_mtime_ns
    (tmp_path / "linear" / "arm.json").unlink()
    trials(tmp_path, epochs=6).train([arm], [0], "test")
    assert file.stat().st_mtime_ns == before
    (tmp_path / "linear" / "arm.json").unlink()
    trials(tmp_path, epochs=6).train(
        [dataclasses.replace(arm, jump=Jump(damping=0.5))], [0], "test"
    )
    assert file.stat().st_mtime_ns > before
