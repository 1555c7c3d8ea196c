"""What users give to a jump and cannot be: one line, the value, the cure."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import random_wnn
from runs import LINEAR, start, train

import nowcast


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"moments": "forget"}, "moments='forget' must be one of keep, reset"),
        ({"moments": "reset_first"}, "moments='reset_first' must be one of keep, reset"),
        ({"operations": ("dense",)}, "operations: 'dense' is not an operation; there are conv"),
        ({"operations": ()}, r"operations=\(\) lets nothing jump"),
        (
            {"operations": ("norm",), "forecaster": random_wnn()},
            "no leaf would ever jump with operations=.'norm',.: leaf 'conv/kernel' is labelled"
            " 'conv'",
        ),
        (
            {
                "operations": ("fc", "norm"),
                "forecaster": random_wnn(),
                "labels": {"conv": {"kernel": "norm"}, "head": {"bias": "bias", "kernel": "fc"}},
            },
            "operations: this wnn does not forecast 'norm', of leaf 'conv/kernel'; leave"
            " it out, or meta-train with networks=.norm:norm.",
        ),
        (
            {
                "forecaster": random_wnn(),
                "labels": {"conv": {"kernel": "norm"}, "head": {"bias": "norm", "kernel": "other"}},
            },
            "no leaf would ever jump with this wnn: leaf 'conv/kernel' is labelled 'norm'",
        ),
        ({"start_after": -1}, "start_after=-1 must be a whole number"),
        ({"stop_after": 1.5}, r"stop_after=1\.5 must be a whole number"),
        ({"damping": float("nan")}, "damping=nan"),
        ({"min_drift": 1.5}, r"min_drift=1\.5 must lie between -1 and 1"),
        (
            {"min_drift": 0.2, "forecaster": nowcast.forecasters.Linear(window=3)},
            "min_drift=0.2 needs a window of 4 snapshots or more, and linear has 3",
        ),
        ({"history_dtype": "int8"}, "history_dtype='int8' must be one of float32"),
        ({"horizon": 0}, "horizon=0 must be a whole number"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(options, said, unchecked):
    with pytest.raises(nowcast.UserError, match=said):
        train(1, **options)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: {"conv": p["conv"]}, "leaf 'head/bias' is gone"),
        (lambda p: p | {"new": jnp.zeros(3)}, r"leaf 'new' is float32\(3,\), and was not there"),
        (
            lambda p: p | {"conv": {"kernel": jnp.zeros((2, 2))}},
            r"leaf 'conv/kernel' is float32\(2, 2\), and was float32\(2, 2, 1, 3\)",
        ),
    ],
    ids=["gone", "new", "other shape"],
)
def test_parameters_that_change_are_refused_by_name(change, said):
    jumps = nowcast.Jumps(forecaster=LINEAR, every=1, min_drift=None)
    state = jumps.init(start())
    with pytest.raises(nowcast.UserError, match=said + r".* make a new one with init"):
        jumps.step(change(start()), state)


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        (
            {},
            {"forecaster": nowcast.load("introspection")},
            "window is of 3 snapshots, and introspection reads 11",
        ),
        (
            {"forecaster": nowcast.load("introspection")},
            {},
            "window is of 11 snapshots, and linear reads 3",
        ),
        ({}, {"guard": nowcast.WaitingGuard(after=2)}, "made without a guard that waits"),
        (
            {"guard": nowcast.WaitingGuard(after=2)},
            {"guard": nowcast.Guard()},
            "made with a guard that waits",
        ),
    ],
    ids=["longer window", "shorter window", "guard", "no guard"],
)
def test_a_state_of_another_forecaster_or_guard_is_refused(was, now, said):
    state = nowcast.Jumps(**{"forecaster": LINEAR, "every": 1, "min_drift": None} | was).init(
        start()
    )
    with pytest.raises(nowcast.UserError, match=said + r".* make a new one with init"):
        nowcast.Jumps(**{"forecaster": LINEAR, "every": 1, "min_drift": None} | now).step(
            start(), state, value_fn=lambda _: 0.0
        )


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.complex64])
def test_leaves_that_are_no_real_numbers_are_refused_by_name(dtype):
    with pytest.raises(nowcast.UserError, match="parameter 'a/table' is " + jnp.dtype(dtype).name):
        nowcast.Jumps(forecaster=LINEAR, every=1, min_drift=None).init(
            {"a": {"table": jnp.zeros((2, 2), dtype)}}
        )


@pytest.mark.parametrize("inner", [optax.sgd(0.1), optax.adam(0.1)], ids=["sgd", "adam"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: {"conv": p["conv"]}, "leaf 'head/bias' is gone"),
        (lambda p: p | {"new": jnp.zeros(3)}, "leaf 'new' is .* was not there"),
        (lambda p: p | {"conv": {"kernel": jnp.zeros((2, 2))}}, "leaf 'conv/kernel' is"),
        (
            lambda p: jax.tree.map(lambda x: x.astype(jnp.bfloat16), p),
            "leaf 'conv/kernel' is bfloat16",
        ),
    ],
    ids=["gone", "new", "other shape", "other dtype"],
)
def test_an_update_with_other_parameters_is_refused_whatever_the_optimizer(
    inner, change, said, unchecked
):
    tx = nowcast.periodic(inner, LINEAR, every=1, min_drift=None)
    state, params = tx.init(start()), change(start())
    with pytest.raises(nowcast.UserError, match=said):
        tx.update(params, state, params)
    with pytest.raises(nowcast.UserError, match="none of nowcast's: make it with init"):
        tx.update(start(), state.inner, start())
    if "bfloat16" not in said:
        with pytest.raises(nowcast.UserError, match=said.replace("leaf", "gradient")):
            tx.update(params, state, start())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: nowcast.periodic(optax.sgd(0.1), "linear", every=1),
            r"forecaster='linear' is not a forecaster: pass nowcast.load\('linear'\)",
        ),
        (lambda: nowcast.forecast("linear", {}), "pass nowcast.load"),
        (lambda: nowcast.explain({}, "linear"), "pass nowcast.load"),
        (lambda: nowcast.forecasters.Noise(of="linear"), "pass nowcast.load"),
        (
            lambda: nowcast.periodic(1e-3, LINEAR, every=1, min_drift=None),
            "inner=0.001 is not an optimizer",
        ),
        (
            lambda: nowcast.periodic(nowcast.load("wnn"), optax.adam(1e-3), every=1),
            "inner is the forecaster wnn: the optimizer comes first",
        ),
        (
            lambda: nowcast.periodic({"kernel": np.zeros((90, 90))}, LINEAR, every=1),
            "inner=a dict is not an optimizer",
        ),
        (
            lambda: nowcast.periodic(optax.sgd(0.1), LINEAR, every=1, guard=nowcast.load("wnn")),
            "guard=.* is not a guard",
        ),
        (
            lambda: nowcast.periodic(optax.adam, LINEAR, every=1, min_drift=None),
            "is not an optimizer",
        ),
        (
            lambda: nowcast.periodic(optax.sgd(0.1), LINEAR, every=1, min_drift=None, guard=True),
            "guard=True is not a guard",
        ),
        (lambda: nowcast.Jumps(forecaster=LINEAR, every=10**10), "2,000,000,000 at most"),
        (
            lambda: nowcast.Jumps(forecaster=LINEAR, every=1, min_drift=None, damping="a"),
            "damping='a' must be a fraction",
        ),
        (
            lambda: nowcast.Jumps(forecaster=LINEAR, every=1, min_drift=None, damping=0),
            "damping=0.0 must be a fraction .* not 0",
        ),
        (
            lambda: nowcast.Jumps(forecaster=LINEAR, every=4, min_drift=None, stop_after=11),
            "stop_after=11 lets nothing jump: the first jump is at step 12",
        ),
        (
            lambda: nowcast.Jumps(forecaster=LINEAR, every=1, min_drift=None, history_dtype="foo"),
            "history_dtype='foo' must be one of",
        ),
        (
            lambda: nowcast.Jumps(
                forecaster=LINEAR, every=1, min_drift=None, history_dtype="float64"
            ),
            "float64 needs jax_enable_x64",
        ),
        (
            lambda: nowcast.Jumps(forecaster=LINEAR, every=1, min_drift=None, operations=5),
            "operations=5 lets nothing jump",
        ),
        (
            lambda: nowcast.Jumps(
                forecaster=LINEAR, every=1, min_drift=None, horizon=lambda jump: None
            ),
            "horizon: as a function it must give",
        ),
        (
            lambda: nowcast.Jumps(forecaster=LINEAR, every=1, min_drift=None, horizon=lambda: 3),
            "horizon: as a function it must give",
        ),
        (
            lambda: nowcast.Jumps(forecaster=LINEAR, every=1, min_drift=None).init({"a": "text"}),
            "parameter 'a' is a str: pass the arrays alone",
        ),
        (lambda: nowcast.explain({"a": jnp.arange(3)}), "parameter 'a' is int32"),
    ],
)
def test_what_a_newcomer_may_type_gets_a_cure(make, said, unchecked):
    with pytest.raises(nowcast.UserError, match=said) as caught:
        make()
    assert len(str(caught.value)) < 400  # no arrays
