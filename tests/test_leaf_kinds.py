"""What parameters may be made of: Python's numbers, shapes alone, modules, any float; and what the
refusals say.
"""

from functools import partial

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from networks import random_wnn
from runs import start

import nowcast

LINEAR = nowcast.load("linear")


@pytest.mark.parametrize(
    "options", [{}, {"guard": nowcast.WaitingGuard(after=9)}, {"min_drift": None}], ids=str
)
def test_python_numbers_are_parameters_outside_jit(options):
    tx, params = nowcast.periodic(optax.sgd(1.0), LINEAR, every=1, **options), {"a": 1.0}
    state = tx.init(params)
    for _ in range(6):
        updates, state = tx.update({"a": 1.0}, state, params, value_fn=lambda p: p["a"])
        params = optax.apply_updates(params, updates)
    assert float(params["a"]) == pytest.approx(1 - 5 - 5 - 1, rel=1e-6)


def test_python_numbers_are_parameters():
    """Steps of −1: after five the forecast is another five lower."""
    tx, params = nowcast.periodic(optax.sgd(1.0), LINEAR, every=1), {"a": 1.0}
    state, step = tx.init(params), jax.jit(tx.update)
    for _ in range(6):
        updates, state = step({"a": 1.0}, state, params)
        params = optax.apply_updates(params, updates)
    assert float(params["a"]) == pytest.approx(1 - 5 - 5 - 1, rel=1e-6)
    assert step._cache_size() <= 2  # the numbers of the first step, and arrays from then on
    jumps = nowcast.Jumps(forecaster=LINEAR, every=1)
    state = jumps.init({"a": 1.0})
    for number in range(5):
        params, state = jumps.step({"a": -float(number)}, state)
    assert float(params["a"]) == pytest.approx(-9)
    with pytest.raises(nowcast.UserError, match="parameter 'a' is int32"):
        tx.init({"a": 1})


@pytest.mark.parametrize(
    "guard", [None, nowcast.WaitingGuard(after=2)], ids=["plain", "guard that waits"]
)
def test_a_state_is_made_of_shapes_alone_as_optaxs_are(guard):
    tx, params = nowcast.periodic(optax.adam(0.1), LINEAR, every=1, guard=guard), start()
    shapes = jax.eval_shape(lambda: start())
    got, expected = tx.init(shapes), tx.init(jax.tree.map(jnp.zeros_like, params))
    jax.tree.map(np.testing.assert_array_equal, got, expected)
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    with pytest.raises(nowcast.UserError, match="parameter 'table' is int32"):
        tx.init(jax.eval_shape(lambda: {"table": jnp.arange(3)}))


def test_explain_of_an_abstract_model_is_that_of_the_model(capsys):
    from flax import nnx

    make = lambda: nnx.Linear(4, 3, rngs=nnx.Rngs(0))  # noqa: E731
    nowcast.explain(make(), LINEAR)
    table = capsys.readouterr().out
    nowcast.explain(nnx.eval_shape(make), LINEAR)
    assert capsys.readouterr().out == table
    nowcast.explain(jax.eval_shape(lambda: start()))
    assert "conv/kernel" in capsys.readouterr().out
    large = jax.ShapeDtypeStruct((10**7, 10**7), jnp.float32)
    nowcast.explain({"kernel": large}, LINEAR)  # more than any memory holds
    assert "100,000,000,000,000 of 100,000,000,000,000 weights jump" in capsys.readouterr().out


@pytest.mark.parametrize(
    "dtype",
    [jnp.float8_e4m3fn, jnp.float8_e5m2, jnp.float4_e2m1fn],
    ids=lambda dtype: jnp.dtype(dtype).name,
)
def test_floats_without_promotion_are_refused_by_name(dtype):
    said = (
        f"'a/kernel' is {jnp.dtype(dtype).name}: weights can be nowcast in float32, bfloat16,"
        " float16, float64"
    )
    with pytest.raises(nowcast.UserError, match=said):
        nowcast.Jumps(forecaster=LINEAR, every=1).init({"a": {"kernel": jnp.zeros((2, 2), dtype)}})
    with pytest.raises(
        nowcast.UserError, match=jnp.dtype(dtype).name + ": forecasts are of float32"
    ):
        nowcast.forecast(LINEAR, {"kernel": jnp.zeros((5, 2), dtype)})


def test_a_whole_equinox_module_is_refused_with_its_own_filter():
    eqx = pytest.importorskip("equinox")
    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    tx = nowcast.periodic(optax.sgd(0.1), LINEAR, every=1)
    for params, leaf in (
        (model, "'activation'"),
        ({"net": model}, "'net/activation'"),
        (
            eqx.nn.Sequential([eqx.nn.Linear(2, 2, key=jax.random.key(0)), eqx.nn.Dropout(0.5)]),
            "'layers/1/p' is a float",
        ),
    ):
        for call in (tx.init, nowcast.explain):
            with pytest.raises(nowcast.UserError) as caught:
                call(params)
            assert leaf in str(caught.value)
            assert "eqx.filter(model, eqx.is_inexact_array)" in str(caught.value)
            assert "\n" not in str(caught.value)
    state = tx.init(eqx.filter(model, eqx.is_inexact_array))
    assert state.clock.total == 0


@pytest.mark.parametrize("leaf", ["x", object(), None.__eq__], ids=["text", "object", "function"])
def test_what_is_no_array_is_refused_by_name(leaf):
    said, params = f"is a {type(leaf).__name__}: pass the arrays alone", {"a": {"b": leaf}}
    tx, jumps = (
        nowcast.periodic(optax.adam(0.1), LINEAR, every=1),
        nowcast.Jumps(forecaster=LINEAR, every=1),
    )
    for call in (tx.init, jumps.init, nowcast.explain):
        with pytest.raises(nowcast.UserError, match=f"parameter 'a/b' {said}"):
            call(params)
    with pytest.raises(nowcast.UserError, match=said):
        nowcast.forecast(LINEAR, params)
    state = jumps.init({"a": {"b": jnp.zeros(2)}})
    with pytest.raises(nowcast.UserError, match="leaf 'a/b' is "):
        jumps.step(params, state)


@pytest.mark.parametrize(
    "inner", [optax.contrib.prodigy(), optax.contrib.dadapt_adamw()], ids=["prodigy", "dadapt"]
)
def test_a_donating_loop_takes_optimizers_that_keep_the_parameters(inner):
    tx, params = nowcast.periodic(inner, LINEAR, every=1), {"kernel": jnp.ones((2, 2))}
    state = tx.init(params)
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((params, state))]
    assert len(set(buffers)) == len(buffers)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state):
        updates, state = tx.update(params, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(5):
        params, state = step(params, state)
    assert state.accepted == 1


def gradients(params):
    return jax.tree.map(jnp.sin, params)


def test_an_inner_optimizer_may_take_gradients_of_a_part_of_its_parameters():
    """``optax.lookahead`` trains a fast and a slow copy, from gradients of the fast one."""
    inner = optax.lookahead(optax.sgd(0.1), sync_period=100, slow_step_size=0.5)
    tx = nowcast.periodic(inner, LINEAR, every=1)
    params = optax.LookaheadParams.init_synced(start())
    state, plain, plain_state = tx.init(params), start(), None
    plain_tx = nowcast.periodic(optax.sgd(0.1), LINEAR, every=1)
    plain_state = plain_tx.init(plain)
    for _ in range(6):
        updates, state = tx.update(gradients(params.fast), state, params)
        params = optax.apply_updates(params, updates)
        updates, plain_state = plain_tx.update(gradients(plain), plain_state, plain)
        plain = optax.apply_updates(plain, updates)
    assert state.accepted == 1
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), params.fast, plain)
    # Not synchronised yet, so it stands still.
    jax.tree.map(np.testing.assert_array_equal, params.slow, start())
    with pytest.raises(nowcast.UserError, match="gradient 'fast/conv/kernel' is gone"):
        tx.update({"head": gradients(params.fast)["head"]}, state, params)


def test_an_inner_optimizer_may_take_gradients_of_each_example():
    private = optax.contrib.differentially_private_aggregate(
        l2_norm_clip=1e9, noise_multiplier=0.0, key=jax.random.key(0)
    )
    tx = nowcast.periodic(optax.chain(private, optax.sgd(1.0)), LINEAR, every=1)
    params = {"kernel": jnp.zeros((2, 2))}
    state = tx.init(params)
    for _ in range(5):
        updates, state = tx.update({"kernel": jnp.ones((8, 2, 2))}, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params["kernel"], -10, rtol=1e-5)


@pytest.mark.parametrize("shape", [(2,), (1, 2), (8, 2, 1)])
def test_a_gradient_that_would_only_be_broadcast_is_refused(shape):
    tx = nowcast.periodic(optax.adam(0.1), LINEAR, every=1)
    params = {"kernel": jnp.ones((2, 2))}
    with pytest.raises(
        nowcast.UserError, match=r"gradient 'kernel' is float32.* was float32\(2, 2\)"
    ):
        tx.update({"kernel": jnp.ones(shape)}, tx.init(params), params)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    "options",
    [
        {"guard": nowcast.Guard.backtracking(tolerance=0.1)},
        {"guard": nowcast.WaitingGuard(after=1, give_up=1)},
        {"min_drift": 0.2, "damping": 0.5, "history_dtype": "bfloat16"},
        {"stop_after": 8, "start_after": 2, "moments": "reset"},
    ],
    ids=["guard", "guard that waits", "limits", "times"],
)
def test_with_strict_promotion_of_dtypes(options, dtype):
    value = lambda p: sum(jnp.sum(jnp.cos(x.astype(jnp.float32))) for x in jax.tree.leaves(p))  # noqa: E731
    with jax.numpy_dtype_promotion("strict"):
        tx, params = nowcast.periodic(optax.lion(1e-2), LINEAR, every=1, **options), start(dtype)
        state = tx.init(params)

        @jax.jit
        def step(params, state):
            updates, state = tx.update(gradients(params), state, params, value_fn=value)
            return optax.apply_updates(params, updates), state

        for _ in range(8):
            params, state = step(params, state)
    assert state.accepted + state.refused == 1
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}


FORECASTERS = [
    "gram",
    "introspection",
    "linear",
    "quadratic",
    "damped_linear",
    "autoregressive",
    "exponential",
    "average",
    "noise",
]


@pytest.mark.parametrize(
    "forecaster", [random_wnn(), *map(nowcast.load, FORECASTERS)], ids=lambda f: f.name
)
def test_every_forecaster_takes_strict_promotion(forecaster):
    rng = np.random.default_rng(0)
    history = jnp.asarray(rng.normal(size=(forecaster.window, 4, 3)), jnp.float32)
    loose = forecaster.leaf(history, "fc", forecaster.horizon)
    with jax.numpy_dtype_promotion("strict"):
        np.testing.assert_array_equal(forecaster.leaf(history, "fc", forecaster.horizon), loose)
        if forecaster.name not in ("wnn", "introspection"):  # they have one horizon
            scheduled = forecaster.leaf(history, "fc", jnp.int32(forecaster.horizon))
            np.testing.assert_allclose(scheduled, loose, rtol=1e-5, atol=1e-6)
        half = nowcast.forecast(forecaster, {"kernel": history.astype(jnp.bfloat16)})
    assert half["kernel"].dtype == jnp.bfloat16


def test_jumps_with_labels_have_a_hash():
    labels = {"a": "fc"}
    one, same = (nowcast.Jumps(forecaster=LINEAR, every=1, labels=dict(labels)) for _ in range(2))
    assert hash(one) == hash(same)
    assert one == same
    assert one != nowcast.Jumps(forecaster=LINEAR, every=1, labels={"a": "bias"})
    options = {
        "operations": ["fc"],
        "guard": nowcast.Guard(dampings=(0.5, 1.0)),
        "history_dtype": "bfloat16",
    }
    for forecaster in map(nowcast.load, ["wnn", "gram", "noise", "exponential"]):
        hash(nowcast.Jumps(forecaster=forecaster, every=1, labels=labels, **options))


@pytest.mark.parametrize("name", ["float6_e2m3fn", "float4_e2m1fn", "float8_e4m3b11fnuz"])
def test_a_float_that_no_device_takes_is_refused_by_name(name):
    with pytest.raises(
        nowcast.UserError, match=f"parameter 'layer/a' is {name}: weights can be nowcast in float32"
    ):
        nowcast.periodic(optax.sgd(0.1), LINEAR, every=1).init(
            {"layer": {"a": np.ones((2, 2), getattr(ml_dtypes, name))}}
        )
