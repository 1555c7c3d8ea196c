"""Each option of ``nowcast.periodic`` and of ``nowcast.Jumps`` does what its docstring says, against runs computed by hand."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import random_wnn
from orbax.checkpoint import v1 as ocp

import nowcast
from nowcast import Guard, NowcastState
from nowcast.forecasters import WNNMulti, wnn

EVERY, WINDOW = 2, 3
PERIOD = EVERY * WINDOW
LINEAR = nowcast.forecasters.Linear(window=WINDOW, horizon=2)


def start(dtype=jnp.float32):
    rng = np.random.default_rng(0)
    shapes = {"conv": {"kernel": (2, 2, 1, 3)}, "head": {"bias": (4,), "kernel": (3, 4)}}
    tree = jax.tree.map(lambda s: rng.normal(size=s), shapes, is_leaf=lambda s: isinstance(s, tuple))
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)


def loss(params):
    return sum(jnp.sum(1 + jnp.cos(x)) for x in jax.tree.leaves(params))


def train(steps, params=None, inner=None, forecaster=LINEAR, state=None, *, value_fn=loss, **options):
    """The parameters after every step, from the start on, and the last state."""
    tx = nowcast.periodic(inner or optax.sgd(0.1), forecaster, **({"every": EVERY} | options))
    params = start() if params is None else params
    state = tx.init(params) if state is None else state

    @jax.jit
    def step(params, state):
        updates, state = tx.update(jax.grad(loss)(params), state, params, value_fn=value_fn)
        return optax.apply_updates(params, updates), state

    path = [params]
    for _ in range(steps):
        params, state = step(params, state)
        path.append(params)
    return path, state


def alone(steps, params, inner=None, state=None):
    inner = inner or optax.sgd(0.1)
    state = inner.init(params) if state is None else state
    path = [params]
    for _ in range(steps):
        updates, state = inner.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return path, state


def close(got, expected, atol=1e-5):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(lambda g, e: np.testing.assert_allclose(g, e, rtol=1e-5, atol=atol), got, expected)


def same(got, expected):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def window(path):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *path[-PERIOD + EVERY - 1 :: EVERY])


def jumped(path, **how):
    """Where a jump from the end of this path leads."""
    return nowcast.forecast(LINEAR, window(path), **how)


FREE = alone(4 * PERIOD, start())[0]


def test_damping_takes_a_fraction_of_the_jump():
    path, state = train(PERIOD, damping=0.25)
    here, there = FREE[PERIOD], jumped(FREE[: PERIOD + 1])
    close(path[-1], jax.tree.map(lambda q, t: q + 0.25 * (t - q), here, there))
    assert state.damping == 0.25


def test_operations_jump_and_the_others_train_on():
    path, state = train(PERIOD, operations=("conv", "bias"))
    expected = jumped(FREE[: PERIOD + 1])
    expected["head"]["kernel"] = FREE[PERIOD]["head"]["kernel"]
    close(path[-1], expected)
    assert sorted(leaf.size for leaf in jax.tree.leaves(state.history)) == [4, 4, 12, 12]  # none for the others
    assert sum(leaf.size for leaf in jax.tree.leaves(train(1)[1].history)) == (WINDOW - 1) * 28


def test_one_operation_may_be_given_as_a_word():
    same(train(PERIOD, operations="fc")[0][-1], train(PERIOD, operations=("fc",))[0][-1])


def test_start_after_begins_the_first_window_later_and_stop_after_ends_the_jumps():
    path, _ = train(5 + PERIOD, start_after=5)
    close(path[:-1], FREE[: 5 + PERIOD])
    close(path[-1], jumped(FREE[: 5 + PERIOD + 1]))
    counts = {after: int(train(40, stop_after=after)[1].accepted) for after in (6, 11, 12, 40)}
    assert counts == {6: 1, 11: 1, 12: 2, 40: 6}
    assert train(40, start_after=5, stop_after=5 + 2 * PERIOD)[1].accepted == 2
    assert train(40, start_after=5, stop_after=4 + 2 * PERIOD)[1].accepted == 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_half_precision_history_is_of_what_moved(dtype):
    # Snapshots around 1000 that move by thousandths: half precision of the values themselves would see no movement.
    params = jax.tree.map(lambda x: (1000 + x).astype(dtype), start())
    exact, _ = train(PERIOD, params, inner=optax.sgd(0.01))
    path, state = train(PERIOD, params, inner=optax.sgd(0.01), history_dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(state.history.moved)} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(state.history.first)} == {jnp.dtype(dtype)}
    moved = max(np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (exact[-1], exact[0])), strict=True))
    close(path[-1], exact[-1], atol=0.02 * float(moved))


@pytest.mark.parametrize(
    "inner",
    [optax.adam(optax.linear_schedule(0.1, 0.01, 50)), optax.chain(optax.clip(1.0), optax.sgd(0.1, momentum=0.9))],
)
@pytest.mark.parametrize("moments", ["keep", "reset", "reset_first"])
def test_moments(inner, moments):
    _, before = alone(PERIOD, start(), inner)
    path, state = train(PERIOD, inner=inner, moments=moments)
    fresh = inner.init(path[-1])
    get = optax.tree_utils.tree_get
    for name in ("mu", "nu", "trace"):
        if get(fresh, name) is None:
            continue
        assert np.abs(get(before, name)["conv"]["kernel"]).min() > 1e-4  # there is something to reset
        resets = moments == "reset" or (moments == "reset_first" and name != "nu")
        close(get(state.inner, name), get(fresh if resets else before, name))
    if get(fresh, "nu") is not None:
        assert state.inner[0].count == (0 if moments == "reset" else PERIOD)  # or its bias correction would be wrong
        assert state.inner[1].count == PERIOD  # the schedule goes on
    close(path[:-1], alone(PERIOD - 1, start(), inner)[0])


def test_a_long_jump_is_scaled_down_leaf_by_leaf():
    path, _ = train(PERIOD, max_relative_jump=0.05)
    free = jax.tree.map(lambda t, q: t - q, jumped(FREE[: PERIOD + 1]), FREE[PERIOD])
    for there, here, jump in zip(*map(jax.tree.leaves, (path[-1], FREE[PERIOD], free)), strict=True):
        far, most = np.linalg.norm(jump), 0.05 * np.linalg.norm(here)
        np.testing.assert_allclose(there - here, jump * min(1, most / far), rtol=1e-3, atol=1e-5)
    lengths = [
        np.linalg.norm(j) / np.linalg.norm(h) for j, h in zip(*map(jax.tree.leaves, (free, FREE[PERIOD])), strict=True)
    ]
    assert max(lengths) > 0.05
    close(train(PERIOD, max_relative_jump=100.0)[0][-1], jumped(FREE[: PERIOD + 1]))
    zeros = {"kernel": jnp.zeros((2, 2))}
    jumps = nowcast.Jumps(forecaster=LINEAR, every=1, max_relative_jump=0.5)
    state = jumps.init(zeros)
    for _ in range(WINDOW):
        params, state = jumps.step(zeros, state)
    same(params, zeros)


def test_a_horizon_may_change_from_jump_to_jump():
    horizon = nowcast.decaying_horizon(3, first=9, last=1)
    path, _ = train(3 * PERIOD, horizon=horizon)
    for number, far in enumerate((9, 4, 1)):
        begin = path[number * PERIOD]
        free, _ = alone(PERIOD, begin)
        close(path[(number + 1) * PERIOD], jumped(free, horizon=far), atol=1e-4)
    close(train(PERIOD, horizon=lambda jump: 7)[0][-1], jumped(FREE[: PERIOD + 1], horizon=7))


def test_a_schedule_chooses_among_the_horizons_of_one_network():
    rng = np.random.default_rng(0)
    like = jax.eval_shape(lambda: wnn.init_network(jax.random.key(0), 5, 6))
    networks = {
        n: jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 4, jnp.float32), like)
        for n in ("conv", "fc", "bias")
    }
    multi = WNNMulti(params=networks, horizon=6)
    for far in (1, 3, 6):
        fixed, scheduled = (train(5 * EVERY, forecaster=multi, horizon=h)[0][-1] for h in (far, lambda _, far=far: far))
        close(scheduled, fixed)
    with pytest.raises(nowcast.UserError, match=r"horizon=99: .* 1 to 6 snapshots ahead only"):
        train(1, forecaster=multi, horizon=lambda _: 99)
    with pytest.raises(nowcast.UserError, match="forecasts 5 snapshots ahead only"):
        train(1, forecaster=random_wnn(), horizon=lambda _: 3)


def test_weights_that_stand_still_stay_whatever_the_network_says():
    frozen = optax.partition(
        {"on": optax.sgd(0.1), "off": optax.set_to_zero()}, {"conv": "on", "head": {"bias": "off", "kernel": "on"}}
    )
    path, state = train(5 * EVERY, inner=frozen, forecaster=random_wnn())
    same(path[-1]["head"]["bias"], start()["head"]["bias"])
    assert state.accepted == 1


def test_a_window_of_one_and_of_two_snapshots():
    for size in (1, 2):
        path, state = train(2 * size, forecaster=nowcast.forecasters.LastValue(window=size), every=2)
        close(path[-1], FREE[2 * size])
        assert state.accepted == 1
        assert sum(leaf.size for leaf in jax.tree.leaves(state.history)) == 28


def test_float64_weights_are_forecast_in_float64():
    with jax.enable_x64(True):
        params = {"kernel": jnp.arange(4.0, dtype=jnp.float64).reshape(2, 2)}
        jumps = nowcast.Jumps(forecaster=LINEAR, every=1)
        state = jumps.init(params)
        for _ in range(WINDOW):
            params = {"kernel": params["kernel"] + 1e-9}
            params, state = jumps.step(params, state)
        np.testing.assert_allclose(params["kernel"] - np.arange(4.0).reshape(2, 2), 5e-9, rtol=1e-5)


def test_the_plain_form_sets_the_forecast_itself():
    jumps = nowcast.Jumps(forecaster=LINEAR, every=EVERY)
    state, path = jumps.init(start()), [start()]
    step = jax.jit(jumps.step)
    for _ in range(2 * PERIOD):
        params = jax.tree.map(lambda p, g: p - 0.1 * g, path[-1], jax.grad(loss)(path[-1]))
        before, (params, state) = params, step(params, state)
        path.append(params)
        if int(state.clock.windows) == 1 and int(state.clock.filled) == int(state.clock.step) == 0:
            snapshots = [*path[EVERY:PERIOD:EVERY], before]
            stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *snapshots)
            close(params, nowcast.forecast(LINEAR, stacked), atol=1e-6)
    close(path, train(2 * PERIOD)[0])
    assert state.accepted == 2


@pytest.mark.parametrize(
    "options", [{}, {"guard": Guard(after=2)}, {"operations": ("fc",), "history_dtype": "bfloat16"}], ids=str
)
@pytest.mark.parametrize("stop", [4, PERIOD + 1])
def test_a_run_that_is_saved_anywhere_goes_on_as_if_it_were_not(options, stop, tmp_path):
    inner = optax.adam(0.1)
    whole, expected = train(3 * PERIOD, inner=inner, **options)
    path, state = train(stop, inner=inner, **options)
    ocp.save(tmp_path / "saved", {"params": path[-1], "state": state})
    like = nowcast.periodic(inner, LINEAR, **({"every": EVERY} | options)).init(start())
    loaded = ocp.load(tmp_path / "saved", {"params": start(), "state": like})
    resumed, state = train(3 * PERIOD - stop, loaded["params"], inner, LINEAR, loaded["state"], **options)
    same(resumed[-1], whole[-1])
    same(state, expected)


def test_a_population_shares_its_clock_and_forecasts_only_at_jumps():
    calls = []

    class Counting(nowcast.Forecaster):
        name = "counting"

        def leaf(self, history, operation, horizon):
            jax.debug.callback(calls.append, jnp.sum(history))
            return history[-1] + 1.0

    tx = nowcast.periodic(optax.adam(0.1), Counting(window=WINDOW), every=EVERY, guard=Guard(tolerance=10.0))
    axes = nowcast.POPULATION
    members = jax.tree.map(lambda p: jnp.stack([p, 2 * p, -p]), {"kernel": start()["head"]["kernel"]})
    state = jax.vmap(tx.init, out_axes=axes)(members)

    def step(params, state):
        updates, state = tx.update(jax.grad(loss)(params), state, params, value_fn=loss)
        return optax.apply_updates(params, updates), state

    together = jax.jit(jax.vmap(step, in_axes=(0, axes), out_axes=(0, axes)))
    params = members
    for _ in range(PERIOD):
        params, state = together(params, state)
    jax.effects_barrier()
    assert len(calls) == 3  # once per member
    assert isinstance(state, NowcastState)
    assert state.accepted.shape == (3,)
    assert state.clock.windows.shape == ()
    for i in range(3):
        own = jax.tree.map(lambda p, i=i: p[i], members)
        own_path, own_state = train(PERIOD, own, optax.adam(0.1), Counting(window=WINDOW), guard=Guard(tolerance=10.0))
        close(jax.tree.map(lambda p, i=i: p[i], params), own_path[-1])
        assert own_state.accepted == state.accepted[i]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"moments": "forget"}, "moments='forget' must be one of keep, reset, reset_first"),
        ({"operations": ("dense",)}, "operations: 'dense' is none; they are conv"),
        ({"operations": ()}, r"operations=\(\) lets nothing jump"),
        ({"operations": ("norm",), "forecaster": random_wnn()}, "no leaf would ever jump with operations=.'norm',.: leaf 'conv/kernel' is labelled 'conv'"),
        ({"operations": ("fc", "norm"), "forecaster": random_wnn(), "labels": {"conv": {"kernel": "norm"}, "head": {"bias": "bias", "kernel": "fc"}}}, "operations: 'norm', of leaf 'conv/kernel', is served by no network"),
        ({"forecaster": random_wnn(), "labels": {"conv": {"kernel": "norm"}, "head": {"bias": "norm", "kernel": "other"}}}, "no leaf would ever jump with this wnn: leaf 'conv/kernel' is labelled 'norm'"),
        ({"start_after": -1}, "start_after=-1 must be a whole number"),
        ({"stop_after": 1.5}, r"stop_after=1\.5 must be a whole number"),
        ({"damping": float("nan")}, "damping=nan"),
        ({"max_relative_jump": 0.0}, "max_relative_jump=0.0 must be above 0"),
        ({"history_dtype": "int8"}, "history_dtype='int8' must be one of float32"),
        ({"horizon": 0}, "horizon=0 must be a whole number"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_refused(options, said, unchecked):
    with pytest.raises(nowcast.UserError, match=said):
        train(1, **options)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: {"conv": p["conv"]}, "leaf 'head/bias' is gone"),
        (lambda p: p | {"new": jnp.zeros(3)}, r"leaf 'new' is float32\(3,\), and was not there"),
        (lambda p: p | {"conv": {"kernel": jnp.zeros((2, 2))}}, r"leaf 'conv/kernel' is float32\(2, 2\), and was float32\(2, 2, 1, 3\)"),
    ],
    ids=["gone", "new", "other shape"],
)  # fmt: skip
def test_parameters_that_change_are_refused_by_name(change, said):
    jumps = nowcast.Jumps(forecaster=LINEAR, every=1)
    state = jumps.init(start())
    with pytest.raises(nowcast.UserError, match=said + r".* make a new one with init"):
        jumps.step(change(start()), state)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.complex64])
def test_leaves_that_are_no_real_numbers_are_refused_by_name(dtype):
    with pytest.raises(nowcast.UserError, match="parameter 'a/table' is " + jnp.dtype(dtype).name):
        nowcast.Jumps(forecaster=LINEAR, every=1).init({"a": {"table": jnp.zeros((2, 2), dtype)}})


class Means(NamedTuple):
    """Parameters with a field that is called like a moment."""

    mu: jax.Array
    sigma: jax.Array


OPTIMIZERS = {  # what each resets, beside nothing: all of it, and what reset_first does
    "adam": (lambda: optax.adam(0.1), {"mu", "nu", "count"}, {"mu"}),
    "momentum": (lambda: optax.sgd(0.1, momentum=0.9), {"trace"}, {"trace"}),
    "adam, scheduled": (lambda: optax.adam(optax.linear_schedule(0.1, 0.0, 99)), {"mu", "nu", "count"}, {"mu"}),
    "adafactor": (lambda: optax.adafactor(0.1, momentum=0.9), {"v", "v_row", "v_col", "ema", "count"}, {"ema"}),
    "ademamix": (lambda: optax.contrib.ademamix(0.1), {"m1", "m2", "nu", "count", "count_m2"}, {"m1", "m2"}),
    "partition": (lambda: optax.partition({"a": optax.adam(0.1)}, lambda p: jax.tree.map(lambda _: "a", p)), {"mu", "nu", "count"}, {"mu"}),
    "schedule_free": (lambda: optax.contrib.schedule_free_adamw(0.1, warmup_steps=3), {"z", "nu", "count", "weight_sum", "step_count", "max_lr"}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("moments", ["reset", "reset_first"])
def test_moments_of_optaxs_optimizers(name, moments):
    make, reset, reset_first = OPTIMIZERS[name]
    allowed = reset if moments == "reset" else reset_first
    params = Means(jnp.ones((2, 2)), jnp.arange(1.0, 4.0))
    if allowed is None:
        with pytest.raises(
            nowcast.UserError, match=f"moments='{moments}': this optimizer has none that it would reset"
        ):
            nowcast.periodic(make(), LINEAR, every=1, moments=moments).init(params)
        return
    states = []
    for how in ("keep", moments):
        tx, p = nowcast.periodic(make(), LINEAR, every=1, moments=how), params
        state = tx.init(p)
        for _ in range(WINDOW):
            updates, state = tx.update(jax.tree.map(jnp.cos, p), state, p)
            p = optax.apply_updates(p, updates)
        states.append(state.inner)
    kept, begun = (jax.tree.flatten_with_path(state)[0] for state in states)
    changed = set()
    for (path, before), (_, after) in zip(kept, begun, strict=True):
        names = [key.name for key in path if hasattr(key, "name")]
        field = names[-2] if names[-1] in Means._fields and len(names) > 1 else names[-1]
        if not np.array_equal(before, after):
            changed.add(field)
            if field not in ("z", "params0"):
                assert "sigma" not in names or np.abs(after).max() <= 1e-6 or field == "estim_lr"
    assert changed
    assert changed <= allowed
    if moments == "reset_first":
        assert changed == allowed


def test_a_schedule_inside_a_part_with_moments_goes_on():
    inner = optax.MultiSteps(optax.chain(optax.trace(0.0), optax.scale_by_schedule(lambda c: -(1 - 0.01 * c))), 1)
    for moments in ("keep", "reset"):
        tx = nowcast.periodic(
            inner.gradient_transformation(), nowcast.forecasters.LastValue(window=3), every=1, moments=moments
        )
        params, got = {"w": jnp.zeros(2)}, []
        state = tx.init(params)
        for _ in range(6):
            updates, state = tx.update({"w": jnp.ones(2)}, state, params)
            params = optax.apply_updates(params, updates)
            got.append(float(updates["w"][0]))
        np.testing.assert_allclose(got, [-1, -0.99, -0.98, -0.97, -0.96, -0.95], rtol=1e-5)


@pytest.mark.parametrize(
    "inner", [optax.sgd(0.1), optax.flatten(optax.adam(0.1)), optax.lbfgs()], ids=["sgd", "flatten", "lbfgs"]
)
def test_moments_that_cannot_be_reset_are_refused(inner):
    with pytest.raises(nowcast.UserError, match=r"moments='reset': .* use 'keep'"):
        nowcast.periodic(inner, LINEAR, every=1, moments="reset").init(start())


@pytest.mark.parametrize("inner", [optax.sgd(0.1), optax.adam(0.1)], ids=["sgd", "adam"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: {"conv": p["conv"]}, "leaf 'head/bias' is gone"),
        (lambda p: p | {"new": jnp.zeros(3)}, "leaf 'new' is .* was not there"),
        (lambda p: p | {"conv": {"kernel": jnp.zeros((2, 2))}}, "leaf 'conv/kernel' is"),
        (lambda p: jax.tree.map(lambda x: x.astype(jnp.bfloat16), p), "leaf 'conv/kernel' is bfloat16"),
    ],
    ids=["gone", "new", "other shape", "other dtype"],
)  # fmt: skip
def test_an_update_with_other_parameters_is_refused_whatever_the_optimizer(inner, change, said, unchecked):
    tx = nowcast.periodic(inner, LINEAR, every=1)
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
        (lambda: nowcast.periodic(optax.sgd(0.1), "linear", every=1), r"forecaster='linear' is a str; pass nowcast.load\('linear'\)"),
        (lambda: nowcast.forecast("linear", {}), "pass nowcast.load"),
        (lambda: nowcast.explain({}, "linear"), "pass nowcast.load"),
        (lambda: nowcast.forecasters.Noise(of="linear"), "pass nowcast.load"),
        (lambda: nowcast.periodic(1e-3, LINEAR, every=1), "inner=0.001 is no optimizer"),
        (lambda: nowcast.periodic(optax.adam, LINEAR, every=1), "is no optimizer"),
        (lambda: nowcast.periodic(optax.sgd(0.1), LINEAR, every=1, guard=True), "guard=True must be one"),
        (lambda: nowcast.Jumps(forecaster=LINEAR, every=10**10), "2,000,000,000 at most"),
        (lambda: nowcast.Jumps(forecaster=LINEAR, every=1, damping="a"), "damping='a' must be a fraction"),
        (lambda: nowcast.Jumps(forecaster=LINEAR, every=1, damping=0), "damping=0.0 must be a fraction .* not 0"),
        (lambda: nowcast.Jumps(forecaster=LINEAR, every=1, max_relative_jump="a"), "max_relative_jump='a' must"),
        (lambda: nowcast.Jumps(forecaster=LINEAR, every=4, stop_after=11), "stop_after=11 lets nothing jump: the first jump is at step 12"),
        (lambda: nowcast.Jumps(forecaster=LINEAR, every=1, history_dtype="foo"), "history_dtype='foo' must be one of"),
        (lambda: nowcast.Jumps(forecaster=LINEAR, every=1, history_dtype="float64"), "float64 needs jax_enable_x64"),
        (lambda: nowcast.Jumps(forecaster=LINEAR, every=1, operations=5), "operations=5 lets nothing jump"),
        (lambda: nowcast.Jumps(forecaster=LINEAR, every=1, horizon=lambda jump: None), "horizon: as a function it must give"),
        (lambda: nowcast.Jumps(forecaster=LINEAR, every=1, horizon=lambda: 3), "horizon: as a function it must give"),
        (lambda: nowcast.Jumps(forecaster=LINEAR, every=1).init({"a": "text"}), "parameter 'a' is a str: pass the arrays alone"),
        (lambda: nowcast.explain({"a": jnp.arange(3)}), "parameter 'a' is int32"),
    ],
)  # fmt: skip
def test_what_a_newcomer_may_type_gets_a_cure(make, said, unchecked):
    with pytest.raises(nowcast.UserError, match=said):
        make()


def test_numbers_of_numpy_are_numbers(unchecked):
    with jax.enable_x64(True):
        given = {
            "damping": np.float64(0.5),
            "max_relative_jump": np.float64(9.0),
            "guard": Guard(tolerance=np.float32(9.0), dampings=np.array([0.5, 1.0])),
        }
        assert train(PERIOD, **given)[1].accepted == 1
