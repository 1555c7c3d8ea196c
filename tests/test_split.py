"""Inside ``shard_map`` over a model axis a run is the unsharded one, or says what is missing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from networks import random_wnn

import nowcast

STEPS = 12


def mesh():
    return jax.make_mesh((2,), ("model",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])


def start():
    """A kernel that is split, and a bias that both devices hold."""
    rng = np.random.default_rng(0)
    return {"kernel": jnp.asarray(rng.normal(size=(8, 6)), jnp.float32), "bias": jnp.arange(6.0)}


WHERE = {"kernel": P("model"), "bias": P()}


def run(forecaster, sharded, *, check_vma=True, where=WHERE, params=None, **options):
    """Parameters and state after some steps, in ``shard_map`` or without."""
    tx = nowcast.periodic(
        optax.sgd(0.1, momentum=0.9), forecaster, every=1, **({"min_drift": None} | options)
    )
    params = start() if params is None else params

    def step(params, state):
        updates, state = tx.update(jax.tree.map(jnp.sin, params), state, params)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    specs = optax.tree.map_params(
        tx, lambda _, spec: spec, state, where, transform_non_params=lambda _: P()
    )
    if sharded:
        step = jax.shard_map(
            step,
            mesh=mesh(),
            in_specs=(where, specs),
            out_specs=(where, specs),
            check_vma=check_vma,
        )
    step = jax.jit(step)
    for _ in range(STEPS):
        params, state = step(params, state)
    return params, state


def assert_same(got, expected):
    jax.tree.map(
        lambda g, e: np.testing.assert_allclose(g, e, rtol=2e-4, atol=2e-5), got[0], expected[0]
    )
    assert (got[1].accepted, got[1].refused) == (expected[1].accepted, expected[1].refused)


FORECASTERS = [
    nowcast.load("gram"),
    nowcast.load("autoregressive"),
    nowcast.load("linear"),
    random_wnn(),
]


@pytest.mark.parametrize(
    ("forecaster", "check_vma"),
    [
        pytest.param(
            forecaster,
            check_vma,
            id=f"{forecaster.name}-{check_vma}",
            marks=[pytest.mark.slow] * twin,
        )
        for forecaster in FORECASTERS
        for check_vma, twin in (
            (True, forecaster.name in ("autoregressive", "wnn")),
            (False, False),
        )
    ],
)
def test_with_the_axis_named_a_sharded_run_is_the_unsharded_one(forecaster, check_vma):
    got = run(forecaster, True, check_vma=check_vma, axis_name="model")
    assert_same(got, run(forecaster, False))
    assert got[1].accepted == 2


def test_the_limits_of_a_jump_are_of_whole_leaves_too():
    options = {"damping": 0.5, "min_drift": 0.3}
    got = run(FORECASTERS[2], True, axis_name=("model",), **options)
    assert_same(got, run(FORECASTERS[2], False, **options))
    free = run(FORECASTERS[2], False)
    assert np.abs(got[0]["kernel"] - free[0]["kernel"]).max() > 0.01  # they do something


def test_large_leaves_are_forecast_by_pieces_there():
    rng = np.random.default_rng(1)
    params = {
        "kernel": jnp.asarray(rng.normal(size=(256, 160)), jnp.float32),
        "bias": jnp.arange(6.0),
    }
    given = {"params": params, "axis_name": "model"}
    assert_same(run(FORECASTERS[2], True, **given), run(FORECASTERS[2], False, params=params))


def test_a_forecast_that_is_not_finite_on_one_device_is_refused_on_all():
    class Broken(nowcast.Forecaster):
        name = "broken"

        def leaf(self, history, operation, horizon):
            return jnp.where(history[-1] > 2, jnp.inf, history[-1] + 1)

    params = start() | {"kernel": jnp.zeros((8, 6)).at[0].set(3.0)}
    got = run(Broken(), True, check_vma=False, axis_name="model", params=params)
    assert_same(got, run(Broken(), False, params=params))
    assert (got[1].accepted, got[1].refused) == (0, 2)


@pytest.mark.parametrize(
    ("forecaster", "check_vma", "options", "said"),
    [
        (
            "gram",
            True,
            {},
            "leaves differ between the devices of mesh axis 'model' .* pass axis_name='model'",
        ),
        (
            "linear",
            True,
            {},
            "leaves differ between the devices of mesh axis 'model' .* pass axis_name='model'",
        ),
        (
            "gram",
            False,
            {},
            (
                "gram sums over whole leaves, .* 'model': pass axis_name='model' if .*,"
                " axis_name=.. if"
            ),
        ),
        ("autoregressive", False, {}, "autoregressive sums over whole leaves"),
        ("noise", False, {}, "noise sums over whole leaves"),
        ("permuted", False, {}, "permuted sums over whole leaves"),
        ("permuted", False, {"axis_name": "model"}, "cannot be permuted; use noise there"),
        ("linear", False, {"min_drift": 0.2}, "min_drift sums over whole leaves"),
        (
            "gram",
            False,
            {"axis_name": "modle"},
            "axis_name='modle' is not an axis of this mesh: it has 'model'",
        ),
    ],
)
def test_what_is_not_said_is_asked_for(forecaster, check_vma, options, said):
    with pytest.raises(nowcast.UserError, match=said) as caught:
        run(nowcast.load(forecaster), True, check_vma=check_vma, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("check_vma", "options"), [(True, {}), (False, {"axis_name": ()})])
def test_where_each_device_holds_whole_leaves_nothing_is_summed_twice(check_vma, options):
    whole = {"kernel": P(), "bias": P()}
    got = run(FORECASTERS[0], True, check_vma=check_vma, where=whole, **options)
    assert_same(got, run(FORECASTERS[0], False))


def test_a_forecast_inside_shard_map_is_that_of_whole_leaves():
    history = {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=(5, 8, 6)), jnp.float32)}
    gram, where = nowcast.load("gram"), {"kernel": P(None, "model")}

    def sharded(**options):
        work = lambda history: nowcast.forecast(gram, history, **options)  # noqa: E731
        return jax.jit(
            jax.shard_map(work, mesh=mesh(), in_specs=(where,), out_specs={"kernel": P("model")})
        )(history)

    np.testing.assert_allclose(
        sharded(axis_name="model")["kernel"],
        nowcast.forecast(gram, history)["kernel"],
        rtol=1e-5,
        atol=1e-5,
    )
    with pytest.raises(nowcast.UserError, match="gram sums over whole leaves"):
        sharded()


def test_an_axis_name_is_a_name(unchecked):
    for wrong in (3, [1]):
        with pytest.raises(
            nowcast.UserError, match=r"axis_name=.* must be the name of a mesh axis"
        ):
            nowcast.Jumps(forecaster=FORECASTERS[2], every=1, axis_name=wrong)
