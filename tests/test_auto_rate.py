"""The rate that follows a run's drift: its rule by NumPy, its safeguards, and the ways in which
optimizers are used.
"""

import pickle
import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import nowcast
from nowcast import sample
from nowcast.memory import memory
from nowcast.types import UserError

EVERY = 3
STEPS = 40
SHAPES = {"bias": (7,), "kernel": (6, 7)}


def start(dtype=jnp.float32):
    return {name: jnp.zeros(shape, dtype) for name, shape in SHAPES.items()}


def gradients(step, straight=0.4, seed=0):
    """Noise around one direction: the same whenever one asks."""
    rng = np.random.default_rng((seed, step))
    return {name: jnp.float32(straight + rng.normal(size=shape)) for name, shape in SHAPES.items()}


def make(inner=None, every=EVERY, **options):
    return nowcast.auto_rate(inner or optax.sgd(0.01), every=every, **({"start": 1.0} | options))


def run(tx, params, state=None, steps=range(STEPS), grads=gradients, **extra):
    """Every step's parameters and states."""
    step, state = jax.jit(tx.update), tx.init(params) if state is None else state
    path = []
    for number in steps:
        updates, state = step(
            grads(number), state, params, **{key: value(number) for key, value in extra.items()}
        )
        params = optax.apply_updates(params, updates)
        path.append((params, state))
    return path


def flat(params):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)]).astype(np.float64)


def same(one, other, **tolerance):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.float32(a), np.float32(b), **tolerance),
        one,
        other,
    )


@pytest.mark.parametrize("target", [0.02, 0.2])
@pytest.mark.parametrize("stop_after", [None, 24])
@pytest.mark.parametrize("way", [0.4, 2.0])
def test_the_multiplier_is_the_rules(target, stop_after, way):
    path = run(
        make(target=target, stop_after=stop_after), start(), grads=lambda n: gradients(n, way)
    )
    looks, expected, straight = [], 0.0, 0
    for number, (_, state) in enumerate(path):  # so many steps are done before
        if number and number % EVERY == 0:
            looks.append(flat(path[number - 1][0]))
            if len(looks) >= 5 and number <= (stop_after or STEPS):
                moved = np.diff(looks[-5:], axis=0)
                unit = moved / np.linalg.norm(moved, axis=1, keepdims=True)
                drift = np.mean([unit[i] @ unit[j] for i in range(4) for j in range(i + 2, 4)])
                usual = np.clip(drift - target, -np.log(2), np.log(2))
                expected += np.log(4) if drift > 0.8 else usual
                straight += drift > 0.8
                np.testing.assert_allclose(state.drift, drift, atol=1e-4)
        np.testing.assert_allclose(state.log_multiplier, expected, atol=1e-3)
    assert abs(expected) > 0.3
    assert bool(straight) == (way > 1)


def test_updates_are_the_optimizers_and_from_the_first_full_window_times_the_multiplier():
    inner, here = optax.adam(0.01), start()
    inner_state, seen = inner.init(here), []
    for number, (params, state) in enumerate(run(make(inner, every=20), start(), steps=range(120))):
        multiplier = state.multiplier
        updates, inner_state = inner.update(gradients(number), inner_state, here)
        same(
            params,
            jax.tree.map(lambda p, u, m=multiplier: p + m * u, here, updates),
            rtol=1e-5,
            atol=1e-7,
        )
        here = params
        seen.append(multiplier.item())
    assert seen[99] == 1 != seen[100]


def test_a_straight_run_is_four_times_as_fast_at_every_look_and_one_to_and_fro_sinks():
    straight = run(
        make(every=1), start(), steps=range(8), grads=lambda n: jax.tree.map(jnp.ones_like, start())
    )
    np.testing.assert_allclose(
        [state.multiplier for _, state in straight], [1, 1, 1, 1, 1, 4, 16, 64], rtol=1e-5
    )
    pair = run(
        make(every=1),
        start(),
        steps=range(20),
        grads=lambda n: jax.tree.map(lambda p: p + (-1.0) ** (n // 2), start()),
    )
    assert pair[-1][1].multiplier < 0.5


def test_a_run_begins_at_an_eighth_of_its_rate_unless_it_is_told_otherwise():
    firsts = [
        run(nowcast.auto_rate(optax.sgd(0.01), every=1, **options), start(), steps=range(6))
        for options in ({}, {"start": 0.125}, {"start": 1.0})
    ]
    same(firsts[0], firsts[1], rtol=0, atol=0)
    for (low, low_state), (given, given_state) in zip(firsts[0][:4], firsts[2][:4], strict=True):
        same(low, jax.tree.map(lambda leaf: leaf / 8, given), rtol=1e-5, atol=1e-8)
        assert (low_state.multiplier, given_state.multiplier) == (pytest.approx(0.125), 1)
    # The drift is that of a run in which every step is an eighth as long.
    np.testing.assert_allclose(firsts[0][4][1].drift, firsts[2][4][1].drift, rtol=1e-4)


def test_it_does_not_grow_where_gradients_have_gone_to_zero():
    small = lambda n: jax.tree.map(lambda p: p + (1.0 if n < 4 else 1e-3), start())  # noqa: E731
    seen = [
        state.multiplier.item()
        for _, state in run(make(every=1), start(), steps=range(30), grads=small)
    ]
    assert 1 < seen[10] == seen[-1] < 5000


@pytest.mark.parametrize(
    ("first", "now", "left"),
    [(2.0, 1.0, 1), (2.0, 0.06, 0.2), (-3.0, -4.0, 1), (1e-3, 1e-4, 2 / 3)],
)
def test_it_grows_by_less_where_most_of_the_loss_is_gained(first, now, left):
    ones = lambda n: jax.tree.map(jnp.ones_like, start())  # noqa: E731
    loss = lambda n: jnp.float32(first if n < 2 else now)  # noqa: E731
    _, state = run(make(every=1), start(), steps=range(20), grads=ones, value=loss)[-1]
    _, before = run(make(every=1), start(), steps=range(19), grads=ones, value=loss)[-1]
    assert float(state.log_multiplier - before.log_multiplier) == pytest.approx(
        left * np.log(4), rel=1e-3
    )


@pytest.mark.parametrize("given", ["value", "value_fn"])
def test_where_the_loss_runs_away_it_steps_back_and_comes_again_slowly(given):
    loss = lambda n: jnp.where(n < 12, 5.0 - 0.3 * n, 9.0)  # noqa: E731
    tx, params = make(every=1), start()
    state, seen = tx.init(params), []

    @jax.jit
    def step(n, grads, state, params):
        more = {given: loss(n) if given == "value" else lambda params: loss(n)}
        updates, state = tx.update(grads, state, params, **more)
        return optax.apply_updates(params, updates), state

    for n in range(80):
        params, state = step(n, gradients(n, 0.8), state, params)
        seen.append(state.multiplier.item())
    peak = int(np.argmax(seen[:14]))
    assert seen[peak + 1] == pytest.approx(seen[peak] / 4, rel=1e-4)
    held = np.array(seen[peak + 2 :]) / (seen[peak] / 2)  # by a ceiling, 7 % higher at each look
    assert (held <= 1.002 * np.exp(0.0693147 * np.arange(1, len(held) + 1))).all()
    assert held[-1] > 1


def test_a_loss_that_is_noise_is_no_reason_to_step_back_where_the_run_goes_straight():
    loss = lambda n: jnp.float32(2.3 + 0.1 * np.random.default_rng(n).normal())  # noqa: E731
    for way, steps_back in ((2.0, False), (0.2, True)):  # drifts of 0.8 and 0.04
        grads = partial(gradients, straight=way)
        path = run(make(every=1), start(), steps=range(20), grads=grads, value=loss)
        seen = [state.log_multiplier.item() for _, state in path]
        assert (min(np.diff(seen)) < -1) == steps_back


def test_without_a_loss_a_leap_counts_as_running_away():
    leaps = lambda n: jax.tree.map(lambda p: p + (100.0 if n == 9 else 1.0), start())  # noqa: E731
    seen = [
        state.multiplier.item()
        for _, state in run(make(every=1), start(), steps=range(12), grads=leaps)
    ]
    assert seen[10] == pytest.approx(seen[9] / 4, rel=1e-4)


def test_what_is_not_finite_leaves_the_multiplier_finite():
    lost = lambda n: jax.tree.map(lambda p: p + (jnp.nan if n == 9 else 1.0), start())  # noqa: E731
    assert np.isfinite(
        [state.multiplier for _, state in run(make(every=1), start(), steps=range(14), grads=lost)]
    ).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_state_is_final_from_init_and_nothing_compiles_twice(dtype):
    tx, params = make(optax.adam(0.01), every=20), start(dtype)
    step, state = jax.jit(tx.update), tx.init(params)
    kinds = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
    for number in range(110):
        grads = jax.tree.map(lambda g: g.astype(dtype), gradients(number))
        updates, state = step(grads, state, params, value=jnp.float32(1))
        params = optax.apply_updates(params, updates)
    assert step._cache_size() == 1
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) == kinds
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype(dtype)}
    assert state.multiplier != 1


def test_in_a_scan_eagerly_and_after_a_restart_it_is_the_same_run():
    tx, params = make(), start()
    each = jax.tree.map(lambda *g: jnp.stack(g), *map(gradients, range(STEPS)))

    def body(carry, grads):
        updates, state = tx.update(grads, carry[1], carry[0])
        return (optax.apply_updates(carry[0], updates), state), None

    whole = run(tx, params)
    scanned = jax.jit(lambda p, s: jax.lax.scan(body, (p, s), each)[0])(params, tx.init(params))
    same(scanned, whole[-1], rtol=1e-5, atol=1e-6)
    state, here = tx.init(params), params
    for number in range(20):
        updates, state = tx.update(gradients(number), state, here)
        here = optax.apply_updates(here, updates)
    same((here, state), whole[19], rtol=1e-5, atol=1e-6)
    saved, kept = pickle.loads(pickle.dumps(jax.device_get(whole[16])))
    resumed = run(tx, saved, kept, steps=range(17, STEPS))
    jax.tree.map(np.testing.assert_array_equal, resumed[-1], whole[-1])


def test_multi_steps_and_masked_leave_out_what_they_leave_out():
    accumulated = run(
        optax.MultiSteps(make(every=1), 2),
        start(),
        steps=range(16),
        grads=lambda n: gradients(n // 2),
    )
    plain = run(make(every=1), start(), steps=range(8))
    same(accumulated[-1][1].inner_opt_state.log_multiplier, plain[-1][1].log_multiplier, rtol=1e-3)
    tx = optax.masked(make(every=1), {"bias": False, "kernel": True})
    path = run(tx, start(), steps=range(9))
    kernel = run(
        make(every=1),
        {"kernel": start()["kernel"]},
        steps=range(9),
        grads=lambda n: {"kernel": gradients(n)["kernel"]},
    )
    same(path[-1][1].inner_state.log_multiplier, kernel[-1][1].log_multiplier, rtol=1e-5)


def test_a_population_shares_the_clock_and_each_member_has_its_own_rate():
    tx, axes = make(), nowcast.RATE_POPULATION
    params = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), start())
    state = jax.vmap(tx.init, out_axes=axes)(params)
    step = jax.jit(jax.vmap(tx.update, in_axes=(0, axes, 0), out_axes=(0, axes)))
    for number in range(STEPS):
        each = [gradients(number, straight=0.3 * member, seed=member) for member in range(3)]
        updates, state = step(jax.tree.map(lambda *g: jnp.stack(g), *each), state, params)
        params = optax.apply_updates(params, updates)
    for member in range(3):
        member_run = run(
            make(), start(), grads=lambda n, m=member: gradients(n, straight=0.3 * m, seed=m)
        )
        np.testing.assert_allclose(
            state.log_multiplier[member], member_run[-1][1].log_multiplier, atol=1e-4
        )


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_on_8_devices_a_split_run_is_the_same_and_no_leaf_is_gathered(kind):
    mesh = jax.make_mesh((8,), ("x",), axis_types=(kind,))
    place = lambda tree: jax.device_put(tree, NamedSharding(mesh, P("x")))  # noqa: E731
    params = {"kernel": jnp.zeros((64, 40))}
    grads = lambda n: {"kernel": jnp.float32(0.4 + np.random.default_rng(n).normal(size=(64, 40)))}  # noqa: E731
    tx = make(scalars=500)
    whole = run(tx, params, grads=grads)
    split = run(tx, place(params), grads=lambda n: place(grads(n)))
    same(split[-1], whole[-1], rtol=1e-4, atol=1e-5)
    text = (
        jax.jit(tx.update).lower(place(grads(0)), split[-1][1], place(params)).compile().as_text()
    )
    assert "f32[64,40]" not in "".join(line for line in text.splitlines() if "all-gather" in line)


def test_inside_shard_map_the_axis_is_named():
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    params, grads = (
        {"kernel": jnp.zeros((64, 4))},
        lambda n: {"kernel": gradients(n)["kernel"][:1, :4] * jnp.ones((64, 1))},
    )
    tx, axes = make(axis_name="x"), {"kernel": P("x")}
    whole = run(make(), params, grads=grads)

    def steps(params):
        state = tx.init(params)
        for number in range(20):
            updates, state = tx.update(jax.tree.map(lambda g: g[:8], grads(number)), state, params)
            params = optax.apply_updates(params, updates)
        return params, state.log_multiplier[None]

    out = jax.jit(
        jax.shard_map(steps, mesh=mesh, in_specs=(axes,), out_specs=(axes, P("x")), check_vma=False)
    )(params)
    same(out[0], whole[19][0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out[1], np.full(8, whole[19][1].log_multiplier), atol=1e-4)


def test_flax_nnx_with_its_optimizer():
    model = nnx.Linear(6, 7, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, make(every=1), wrt=nnx.Param)
    for _ in range(9):
        optimizer.update(model, nnx.state(jax.tree.map(jnp.ones_like, model), nnx.Param))
    assert optimizer.opt_state.log_multiplier[...] == pytest.approx(4 * np.log(4), rel=1e-4)


def test_inside_of_jumps_the_window_begins_anew_at_each():
    tx = nowcast.periodic(make(every=1), nowcast.load("linear"), every=2)
    path = run(tx, start(), steps=range(12), grads=lambda n: jax.tree.map(jnp.ones_like, start()))
    assert [state.inner.filled.item() for _, state in path] == [0, 1, 2, 3, 4, 5, 5, 5, 5, 0, 0, 1]
    assert path[-1][1].accepted == 1


def test_a_sample_speaks_for_the_whole():
    leaf = jnp.float32(np.random.default_rng(0).normal(size=(300, 200)))
    np.testing.assert_allclose(
        jnp.sum(sample.take(leaf, 4096) ** 2), np.sum(np.square(leaf)), rtol=0.1
    )
    np.testing.assert_allclose(sample.take(leaf, leaf.size), np.ravel(leaf))
    assert sample.take(jnp.float32(2), 1) == 2
    assert sample.sizes(
        {"a": jnp.zeros(10), "b": jnp.zeros((1000, 100)), "c": jnp.zeros(900)}, 1000
    ) == [10, 991, 64]


def test_ten_million_weights_take_less_than_a_hundredth_more():
    state = jax.eval_shape(make().init, {"kernel": jax.ShapeDtypeStruct((2500, 4000), jnp.float32)})
    own = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state._replace(inner=())))
    assert own < 0.01 * 4 * 10_000_000


@pytest.mark.parametrize(
    ("optimizer", "steps"),
    [
        (optax.adam(1e-3), 20),
        (optax.adamw(1e-3, b1=0.8), 10),
        (optax.sgd(0.1, momentum=0.95), 40),
        (optax.sgd(0.1), None),
        (optax.chain(optax.clip(1.0), optax.adam(1e-3, b1=0.95)), 40),
        (optax.lion(1e-3), 20),
        (optax.contrib.muon(1e-2, beta=0.95), 40),
    ],
)
def test_an_optimizers_memory_is_that_of_its_first_moment(optimizer, steps):
    assert memory(optimizer) == steps


def test_every_is_the_memory_unless_it_is_given_and_less_is_warned_of():
    path = run(make(optax.sgd(0.01, momentum=0.5), every=None), start(), steps=range(20))
    assert [state.filled.item() for _, state in path][4:9:4] == [1, 2]
    with pytest.warns(UserWarning, match="every=5 is below the optimizer's memory of 20 steps"):
        make(optax.adam(1e-3), every=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(optax.adam(1e-3), every=20)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"every": 0}, "every=0 must be a whole number of optimizer steps"),
        ({"target": 1.0}, "target=1.0 must be a drift"),
        ({"target": "low"}, "target='low' must be a drift"),
        ({"start": 0}, "start=0 must be a multiplier of the rate"),
        ({"start": 2.0}, "start=2.0 must be a multiplier of the rate"),
        ({"stop_after": -1}, "stop_after=-1"),
        ({"scalars": 0}, "scalars=0"),
        ({"inner": 3}, "inner=3 is not an optimizer"),
        ({"axis_name": 3}, "axis_name=3 must be"),
    ],
)
def test_options_out_of_range_are_refused_in_one_line(unchecked, options, said):
    with pytest.raises(UserError, match=said.replace("(", r"\(")) as caught:
        nowcast.auto_rate(**({"inner": optax.sgd(0.1)} | options))
    assert "\n" not in str(caught.value)


def test_outside_of_jumps_it_is_refused():
    tx = nowcast.auto_rate(nowcast.periodic(optax.sgd(0.1), nowcast.load("linear"), every=1))
    with pytest.raises(UserError, match=r"inner jumps: .* nowcast\.periodic\(nowcast\.auto_rate\("):
        tx.init(start())


def test_without_parameters_it_says_what_to_call():
    tx = make()
    with pytest.raises(UserError, match="needs the parameters"):
        tx.update(gradients(0), tx.init(start()))
