"""Forecasts a piece at a time: the same numbers, in bounded memory, wherever a leaf is split over
devices.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from networks import random_wnn

import nowcast
from nowcast import chunks

COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
SHAPES = [(5,), (64,), (1,), (3, 3, 16, 32), (7, 11, 13), (1009,), (50, 257), (2, 1), (512, 24)]


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setitem(chunks.LIMIT, "cpu", 64)


@pytest.mark.parametrize(
    "shape", [*SHAPES, (10_000_000,), (3, 3, 512, 512), (50257, 768), (4096, 4096)]
)
@pytest.mark.parametrize("limit", [64, 8192])
def test_pieces_divide_their_axes_and_are_neither_large_nor_crumbs(shape, limit):
    cuts = chunks.pieces(shape, limit)
    assert all(size % cut == 0 for size, cut in zip(shape, cuts, strict=True))
    size = math.prod(shape) // math.prod(cuts)
    assert size <= 16 * limit
    assert size >= min(limit // 16, math.prod(shape))
    for axis, cut in zip(shape, cuts, strict=True):
        if limit == 8192:
            assert axis // cut % math.gcd(axis, 8) == 0  # eight devices still have their own


@pytest.mark.parametrize("shape", SHAPES)
def test_a_forecast_by_pieces_is_the_forecast(shape, small_pieces, monkeypatch):
    history = {
        "kernel": jnp.asarray(np.random.default_rng(0).normal(size=(5, *shape)), jnp.float32)
    }
    by_pieces = nowcast.forecast(random_wnn(), history, labels={"kernel": "fc"})["kernel"]
    monkeypatch.setitem(chunks.LIMIT, "cpu", 10**9)
    whole = nowcast.forecast(random_wnn(), history, labels={"kernel": "fc"})["kernel"]
    np.testing.assert_allclose(by_pieces, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "spec",
    [P("a"), P(None, "a"), P("b", "a"), P(None, None, None, ("a", "b")), P("a", None, "b")],
    ids=str,
)
@pytest.mark.parametrize("forecaster", ["wnn", "linear"])
def test_a_leaf_split_over_devices_along_any_axis_needs_no_communication(spec, forecaster):
    forecaster = random_wnn() if forecaster == "wnn" else nowcast.load(forecaster)
    mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 8, 16, 16, 32)), jnp.float32)
    split = jax.device_put(x, NamedSharding(mesh, P(None, *spec)))
    run = jax.jit(
        lambda h: nowcast.forecast(forecaster, {"kernel": h}, labels={"kernel": "conv"})["kernel"]
    )
    text = run.lower(split).compile().as_text()
    assert not [word for word in COLLECTIVES if word in text]
    if forecaster.name == "wnn":
        assert "while" in text  # it does go by pieces
    got = run(split)
    assert got.sharding.is_equivalent_to(NamedSharding(mesh, spec), 4)
    np.testing.assert_allclose(got, run(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        (P("a"), {}),
        pytest.param(P(None, ("a", "b")), {}, marks=pytest.mark.slow),
        (P("b", None, None, "a"), {"damping": 0.5}),
        pytest.param(P("a"), {"forecaster": nowcast.forecasters.Noise()}, marks=pytest.mark.slow),
        (P("a"), {"history_dtype": "bfloat16", "guard": nowcast.Guard(tolerance=1e9)}),
    ],
    ids=str,
)
def test_axes_of_an_explicit_mesh_are_kept(spec, options):
    mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=(AxisType.Explicit,) * 2)
    params = {
        "kernel": jnp.asarray(np.random.default_rng(0).normal(size=(8, 16, 16, 32)), jnp.float32)
    }
    tx = nowcast.periodic(optax.sgd(0.1), **({"forecaster": random_wnn(), "every": 1} | options))

    @jax.jit
    def step(params, state):
        updates, state = tx.update(
            params, state, params, value_fn=lambda p: jnp.sum(p["kernel"] ** 2)
        )
        return optax.apply_updates(params, updates), state

    def train(params):
        state = tx.init(params)
        for _ in range(6):
            params, state = step(params, state)
        return params["kernel"], state

    expected, _ = train(params)
    with jax.set_mesh(mesh):
        got, state = train(jax.device_put(params, NamedSharding(mesh, spec)))
        assert got.sharding.is_equivalent_to(NamedSharding(mesh, spec), 4)
        assert state.history.first["kernel"].sharding.is_equivalent_to(NamedSharding(mesh, spec), 4)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    assert state.accepted == 1


def test_memory_is_bounded():
    x = jax.ShapeDtypeStruct((5, 1000, 1000), jnp.float32)
    run = jax.jit(lambda h: nowcast.forecast(random_wnn(), {"kernel": h}, labels={"kernel": "fc"}))
    used = run.lower(x).compile().memory_analysis().temp_size_in_bytes
    assert used < 5 * 1000 * 1000 * 4  # the network alone would need 128 numbers a weight
