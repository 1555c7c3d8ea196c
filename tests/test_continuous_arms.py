"""Arms of continuous methods in the real loop: judged by the right weights, refused where they do
not go, with BatchNorm, and with jumps.
"""

import jax
import numpy as np
import pytest

import nowcast
from collect.config import DataConfig, ModelConfig
from collect.population import make_task
from collect.training import continuous, optimizers, wrappers
from collect.training.loop import Loop
from collect.training.stop import Stop
from evaluate.arm_continuous import AirbenchLookahead, EmaNesterov, Gpa, TailBlend
from evaluate.arm_options import Average, GuardOptions, Jump, Outer
from evaluate.arms import Arm
from evaluate.inheritance import resolve
from evaluate.training import Training
from evaluate.trials import Trials
from nowcast.types import UserError

RATE, EACH, STEPS = 3e-3, 4, 24
RATES = optimizers.rates("cosine", RATE, STEPS)
METHODS = {
    "ema_nesterov": EmaNesterov(gamma=0.8, start=0.1),
    "gpa": Gpa(mu_x=0.8),
    "airbench_lookahead": AirbenchLookahead(every=3),
    "tail_blend": TailBlend(start=0.5),
}


def arms(**more):
    """The resolved arms over a cosine base, by name."""
    base = {"cosine": Arm(schedule="cosine", learning_rate=RATE)}
    given = {name: Arm(over="cosine", **{name: method}) for name, method in METHODS.items()}
    found, _ = resolve(base | given | more, optimizer="adam", learning_rate=RATE)
    return {arm.name: arm for arm in found}


@pytest.fixture(scope="module")
def task():
    return make_task(ModelConfig("mlp", width=0.1), DataConfig(train_size=128), 32)


def judged_by_hand(task):
    """For each method the weights to judge by after every ``EACH`` steps, by a loop without all
    that arms have around it.
    """
    adam = optimizers.make("adam")
    nesterov, gpa, ahead, tail = METHODS.values()
    by_hand = {
        "ema_nesterov": (
            continuous.ema_nesterov(adam, steps=STEPS, gamma=0.8, start=0.1),
            lambda p, s: continuous.behind(s, p),
        ),
        "gpa": (
            continuous.gpa(adam, mu_x=0.8),
            lambda p, s: continuous.averaged_primal(s, p, gpa.mu_y),
        ),
        "airbench_lookahead": (
            continuous.airbench_lookahead(adam, steps=STEPS, every=ahead.every),
            lambda p, s: s.slow,
        ),
        "tail_blend": (
            wrappers.tail_averaged(adam, steps=STEPS, power=2.0, start=tail.start),
            lambda p, s: wrappers.blend_of(s, p, tail.weight, task.labels),
        ),
    }
    assert nesterov.beta == 0.6
    for name, (tx, weights) in by_hand.items():
        run = Loop(task, tx).run(0, RATES, record_every=EACH)
        yield name, [jax.device_get(weights(one.state.params, one.state.optimizer)) for one in run]


def test_an_arm_is_judged_by_the_weights_of_its_method(task):
    for name, expected in judged_by_hand(task):
        arm = arms()[name]
        training, last = Training(task, arm, None, EACH, STEPS), len(expected) - 1
        apart = 0.0
        for pause, weights in zip(training.pauses(arm, [0], together=False), expected, strict=True):
            state = pause.snapshots[0].state
            got, own = jax.device_get((training.judged(state), state.params))
            for a, b, c in zip(*map(jax.tree.leaves, (got, weights, own)), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6, err_msg=name)
                apart = max(apart, np.abs(a - c).max())
        assert apart > 1e-4, name
        assert last == STEPS // EACH


def test_a_blend_follows_the_schedule_and_others_share_a_program(task, tmp_path):
    found = arms(
        wsd=Arm(over="cosine", schedule="wsd"),
        wsd_blend=Arm(over="wsd", tail_blend=METHODS["tail_blend"]),
    )
    trials = Trials(
        task, epochs=6, record_every=EACH, forecasters={}, folder=tmp_path, stop=Stop(None)
    )
    made = {name: trials._training(arm) for name, arm in found.items()}
    assert made["wsd"] is made["cosine"]
    assert len({id(training) for training in made.values()}) == len(made) - 1


def test_a_run_that_jumps_lands_where_its_method_is_judged(task):
    linear = nowcast.load("linear")
    found = arms(
        gpa_linear=Arm(over="gpa", forecaster="linear"),
        nesterov_linear=Arm(over="ema_nesterov", forecaster="linear"),
        blend_linear=Arm(over="tail_blend", forecaster="linear"),
        airbench_linear=Arm(
            over="airbench_lookahead", forecaster="linear", jump=Jump(moments="reset")
        ),
        guarded=Arm(over="gpa", forecaster="linear", guard=GuardOptions(kind="backtracking")),
    )
    for name in (
        "gpa_linear", "nesterov_linear", "blend_linear", "airbench_linear", "guarded"
    ):  # fmt: skip
        training = Training(task, found[name], linear, EACH, STEPS)
        for pause in training.pauses(found[name], [0], together=False):
            state = pause.snapshots[0].state
        own = training.nowcast(state.optimizer)
        assert int(own.accepted) + int(own.refused) == 1, name
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(training.judged(state)))


@pytest.mark.slow
def test_with_batch_norm_every_method_learns_and_its_statistics_are_those_of_its_weights():
    task = make_task(ModelConfig("resnet", width=0.25, depth=8), DataConfig(train_size=256), 64)
    for name, arm in arms().items():
        training = Training(task, arm, None, EACH, STEPS)
        values = []
        for pause in training.pauses(arm, [0], together=False):
            state = pause.snapshots[0].state
            values.append(task.evaluate(training.judged(state), state.extra, "validation")["loss"])
        assert values[-1] < 0.9 * values[0], name
        stale = jax.tree.map(
            lambda leaf: 0.6 * leaf if leaf.dtype == np.float32 else leaf, state.extra
        )
        again = task.evaluate(training.judged(state), stale, "validation")["loss"]
        assert again == values[-1], name  # no running average, whatever its momentum, is read


WRONG = {
    "two wrappers": (
        Arm(over="cosine", gpa=Gpa(), ema_nesterov=EmaNesterov()),
        ["arm.mine.gpa=…", "cannot be combined with ema_nesterov", "leave one of them out"],
    ),
    "an outer step too": (
        Arm(over="cosine", outer=Outer(), gpa=Gpa()),
        ["arm.mine.gpa=…", "cannot be combined with outer"],
    ),
    "Schedule-Free": (
        Arm(over="cosine", optimizer="schedule_free", gpa=Gpa()),
        ["arm.mine.optimizer=schedule_free", "leave gpa out"],
    ),
    "a blend of an average": (
        Arm(over="cosine", average=Average(), tail_blend=TailBlend()),
        ["arm.mine.tail_blend=…", "cannot be combined with average"],
    ),
    "a blend without a decay": (
        Arm(over="cosine", schedule="constant", tail_blend=TailBlend()),
        ["arm.mine.schedule=constant", "use cosine or wsd"],
    ),
    "slow weights that a jump does not reset": (
        Arm(over="cosine", airbench_lookahead=AirbenchLookahead(), forecaster="linear"),
        ["arm.mine.jump.moments=keep", "must be reset: airbench_lookahead keeps weights"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_go_together_is_refused_in_one_line_with_key_and_cure(case):
    arm, said = WRONG[case]
    with pytest.raises(UserError) as caught:
        arms(mine=arm)
    assert "\n" not in str(caught.value)
    for words in said:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: EmaNesterov(gamma=1.0), "ema_nesterov.gamma=1.0"),
        (lambda: EmaNesterov(beta=-0.1), "ema_nesterov.beta=-0.1"),
        (lambda: EmaNesterov(start=0.8), "ema_nesterov.start, stop=0.8, 0.76"),
        (lambda: Gpa(mu_y=0.0), "gpa.mu_y=0.0"),
        (lambda: Gpa(mu_x=1.0), "gpa.mu_x=1.0"),
        (lambda: AirbenchLookahead(every=0), "airbench_lookahead.every=0"),
        (lambda: AirbenchLookahead(decay=1.0), "airbench_lookahead.decay=1.0"),
        (lambda: AirbenchLookahead(power=-1.0), "airbench_lookahead.power=-1.0"),
        (lambda: TailBlend(weight=1.1), "tail_blend.weight=1.1"),
        (lambda: TailBlend(start=1.0), "tail_blend.start=1.0"),
    ],
)
def test_options_out_of_their_range_are_refused(wrong, said):
    with pytest.raises(UserError) as caught:
        wrong()
    assert said in str(caught.value)
    assert "must be" in str(caught.value)


def test_settings_and_words_have_a_method_only_where_there_is_one():
    found = arms(jumps=Arm(over="gpa", forecaster="linear"))
    assert "gpa" not in found["cosine"].settings
    assert found["gpa"].settings["gpa"] == {"mu_y": 0.7, "mu_x": 0.8}
    assert found["jumps"].gpa == found["gpa"].gpa
    assert {name: found[name].words.removeprefix("adam, cosine; ") for name in METHODS} == {
        "ema_nesterov": "EMA-Nesterov γ 0.8, β 0.6, from 0.1 to 0.76 of the run",
        "gpa": "GPA μ_y 0.7, μ_x 0.8",
        "airbench_lookahead": "Lookahead of airbench every 3 steps, decay 0.95, power 3",
        "tail_blend": "judged by 0.6 of an average of its tail, from 0.5 of the run",
    }
