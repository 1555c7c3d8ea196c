"""``nowcast.periodic`` inside what optax and JAX offer: masks, accumulation, scans, donation,
sharding.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from networks import random_wnn

import nowcast

STEPS = 12  # of windows of 5: two jumps, and two steps more


WHEN = {"every": {"every": 1}, "at": {"at": [5, 10]}}


@pytest.fixture(params=WHEN)
def make(request):
    """Makes a wrapped optimizer, with jumps after full windows or at named steps."""

    def made(inner=None, labels=None):
        inner = optax.sgd(0.1) if inner is None else inner
        return nowcast.periodic(inner, nowcast.load("linear"), labels=labels, **WHEN[request.param])

    return made


def start():
    rng = np.random.default_rng(0)
    return {"kernel": jnp.asarray(rng.normal(size=(8, 3)), jnp.float32), "bias": jnp.arange(8.0)}


def step(tx, params, state, **extra):
    grads = jax.tree.map(jnp.sin, params)
    updates, state = tx.update(grads, state, params, **extra)
    return optax.apply_updates(params, updates), state


def loop(tx, params, steps=STEPS):
    state, jitted = tx.init(params), jax.jit(lambda p, s: step(tx, p, s))
    for _ in range(steps):
        params, state = jitted(params, state)
    return params, state


def assert_close(got, expected):
    jax.tree.map(lambda g, e: np.testing.assert_allclose(g, e, rtol=1e-5, atol=1e-6), got, expected)


def test_extra_arguments_reach_the_inner_optimizer(make):
    def update(updates, state, params=None, *, factor, **_):
        return jax.tree.map(lambda u: -factor * u, updates), state

    inner = optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)
    tx, params = make(inner), start()
    got, _ = step(tx, params, tx.init(params), factor=2.0, unknown_to_the_inner_one=1)
    np.testing.assert_allclose(got["bias"], params["bias"] - 2 * jnp.sin(params["bias"]), rtol=1e-6)


def test_extra_arguments_may_be_given_to_an_inner_optimizer_that_takes_none(make):
    tx, params = make(optax.sgd(0.1)), start()
    got, _ = step(tx, params, tx.init(params), learning_rate=3.0)
    expected, _ = step(tx, params, tx.init(params))
    assert_close(got, expected)


def test_in_a_scan_it_does_what_it_does_in_a_loop(make):
    tx, params = make(optax.adam(0.1)), start()
    carry = (params, tx.init(params))
    scanned, _ = jax.lax.scan(lambda c, _: (step(tx, *c), None), carry, length=STEPS)
    expected = loop(tx, params)
    assert_close(scanned, expected)
    assert scanned[1].clock.windows == 2


def test_multi_steps_counts_accumulated_steps(make):
    # Two halves of one gradient make one step, so the run is that of the plain loop with steps
    # twice as long.
    tx = optax.MultiSteps(make(), every_k_schedule=2)
    params, state = start(), tx.init(start())
    for _ in range(STEPS):
        grads = jax.tree.map(jnp.sin, params)
        for half in (0.5, 1.5):
            updates, state = tx.update(jax.tree.map(lambda g, h=half: h * g, grads), state, params)
            params = optax.apply_updates(params, updates)
    assert state.inner_opt_state.clock.windows == 2
    assert_close(params, loop(make(), start())[0])


@pytest.mark.parametrize(
    "labels", [None, {"kernel": "fc", "bias": "bias", "table": "other"}], ids=["guessed", "given"]
)
def test_masked_leaves_out_what_cannot_be_nowcast(make, labels):
    mask = {"kernel": True, "bias": True, "table": False}
    tx = optax.masked(make(labels=labels), mask)
    params, state = start() | {"table": jnp.arange(3)}, None
    state = tx.init(params)
    for _ in range(STEPS):
        grads = jax.tree.map(jnp.sin, {k: params[k] for k in ("kernel", "bias")})
        updates, state = tx.update(grads | {"table": jnp.zeros(3, jnp.int32)}, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(params.pop("table"), [0, 1, 2])
    assert_close(params, loop(make(), start())[0])


def test_donated_buffers_are_reused(make):
    tx, params = make(optax.adam(0.1)), start()
    jitted = jax.jit(lambda p, s: step(tx, p, s), donate_argnums=(0, 1))
    state = tx.init(params)
    params = jax.tree.map(jnp.copy, params)
    for _ in range(STEPS):
        given = params, state
        params, state = jitted(*given)
        assert given[1].history.moved[-1]["kernel"].is_deleted()
    assert_close(params, loop(tx, start())[0])


@pytest.mark.parametrize(
    "labels", [None, {"kernel": "fc", "bias": "bias"}], ids=["guessed", "given"]
)
def test_map_params_reaches_moments_and_history_and_leaves_the_clock(make, labels):
    tx = make(optax.adam(0.1), labels)
    _, state = loop(tx, start(), 3)
    doubled = optax.tree.map_params(tx, lambda x: 2 * x, state)
    for tree in (lambda s: s.history, lambda s: s.inner[0].mu):
        assert_close(tree(doubled), jax.tree.map(lambda x: 2 * x, tree(state)))
    assert doubled.clock == state.clock
    assert doubled.inner[0].count == 3


def test_on_8_devices_the_window_is_sharded_like_the_parameters_and_the_numbers_are_the_same(make):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, P("data"))
    tx = make(optax.adam(0.1))
    params = jax.device_put(start(), sharding)
    state, jitted = tx.init(params), jax.jit(lambda p, s: step(tx, p, s))
    for _ in range(STEPS):
        for name, leaf in params.items():
            assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim)
            for kept in (state.history.first, *state.history.moved):
                assert {shard.data.shape for shard in kept[name].addressable_shards} == {
                    (1, *leaf.shape[1:])
                }
        params, state = jitted(params, state)
    assert_close(params, loop(tx, start())[0])


def test_a_jump_on_8_devices_needs_no_communication():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    place = lambda tree, spec: jax.device_put(tree, NamedSharding(mesh, spec))  # noqa: E731
    history = place(jax.tree.map(lambda p: jnp.stack([p] * 5), start()), P(None, "data"))
    compiled = (
        jax.jit(lambda h: nowcast.forecast(nowcast.load("linear"), h)).lower(history).compile()
    )
    text = compiled.as_text()
    assert "fusion" in text or "multiply" in text  # it is the program we think it is
    assert not any(
        word in text for word in ("all-reduce", "all-gather", "all-to-all", "collective-permute")
    )


def test_a_step_that_may_jump_on_8_devices_agrees_on_one_number_and_moves_no_weight():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    params = jax.device_put(start(), NamedSharding(mesh, P("data")))
    tx = nowcast.periodic(optax.adam(0.1), random_wnn(), every=1, min_drift=None)
    text = jax.jit(lambda p, s: step(tx, p, s)).lower(params, tx.init(params)).compile().as_text()
    found = re.findall(
        r"= (.+?) (?:all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)\(", text
    )
    assert found == ["(pred[], pred[])"]  # of each leaf, whether its forecast is finite


@pytest.mark.parametrize(
    "options",
    [{"operations": ("fc",)}, {"guard": nowcast.WaitingGuard(after=1)}],
    ids=["some leaves", "guard"],
)
def test_map_params_reaches_all_that_is_like_the_parameters(options):
    tx = nowcast.periodic(optax.adam(0.1), nowcast.load("linear"), every=1, **options)
    params, state = start(), tx.init(start())
    for _ in range(3):
        params, state = step(tx, params, state, value_fn=lambda p: jnp.sum(p["bias"]))
    doubled = optax.tree.map_params(tx, lambda x: 2 * x, state)
    for tree in (
        lambda s: s.history,
        lambda s: s.inner[0].mu,
        lambda s: s.kept and (s.kept.params, s.kept.carry[0].nu),
    ):
        assert_close(tree(doubled), jax.tree.map(lambda x: 2 * x, tree(state)))
    assert doubled.clock == state.clock
    assert jax.tree.structure(doubled) == jax.tree.structure(state)


@pytest.mark.parametrize(
    "options",
    [{}, {"guard": nowcast.WaitingGuard(dampings=(0.5, 1.0), after=1)}],
    ids=["plain", "guard"],
)
def test_in_a_scan_with_every_option_of_a_guard(options):
    tx = nowcast.periodic(optax.adam(0.1), nowcast.load("linear"), every=1, **options)
    value_fn = lambda p: sum(jnp.sum(jnp.cos(x)) for x in jax.tree.leaves(p))  # noqa: E731
    carry = (start(), tx.init(start()))
    scanned, _ = jax.lax.scan(
        lambda c, _: (step(tx, *c, value_fn=value_fn), None), carry, length=STEPS
    )
    for _ in range(STEPS):
        carry = step(tx, *carry, value_fn=value_fn)
    assert_close(scanned, carry)
    assert scanned[1].accepted + scanned[1].refused == 2


def test_flaxs_and_optaxs_ways_to_partition_an_optimizer_state_work(make):
    mesh = jax.make_mesh((8,), ("m",), axis_types=(AxisType.Auto,))
    tx = make(optax.adam(0.1))
    specs, params = {"kernel": P("m"), "bias": P(None)}, start()
    states = optax.tree.map_params(
        tx,
        lambda _, spec: NamedSharding(mesh, spec),
        tx.init(params),
        specs,
        transform_non_params=lambda _: NamedSharding(mesh, P()),
    )
    state = jax.device_put(tx.init(params), states)
    assert {
        part["kernel"].sharding.spec for part in (state.history.first, *state.history.moved)
    } == {P("m")}
    with jax.set_mesh(mesh):
        model = nnx.Linear(
            16,
            32,
            rngs=nnx.Rngs(0),
            kernel_init=nnx.with_partitioning(nnx.initializers.lecun_normal(), (None, "m")),
            bias_init=nnx.with_partitioning(nnx.initializers.zeros, ("m",)),
        )
        whole = nnx.state(nnx.Optimizer(model, tx, wrt=nnx.Param))
        shardings = jax.tree.map(
            lambda spec: NamedSharding(mesh, spec),
            nnx.get_partition_spec(whole),
            is_leaf=lambda spec: isinstance(spec, P),
        )
        placed = jax.lax.with_sharding_constraint(whole, shardings)
        history = (
            placed["opt_state"].history
            if hasattr(placed["opt_state"], "history")
            else placed["opt_state"]["history"]
        )
        shapes = {
            leaf.addressable_shards[0].data.shape
            for leaf in jax.tree.leaves(history)
            if leaf.ndim == 2
        }
        assert shapes == {(16, 4)}
