"""Each option of ``nowcast.periodic`` and of ``nowcast.Jumps`` does what its docstring says,
against runs computed by hand.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import random_wnn
from orbax.checkpoint import v1 as ocp
from runs import EVERY, LINEAR, PERIOD, WINDOW, close, loss, same, start, train, without_jumps

import nowcast
from nowcast import Guard, NowcastState, WaitingGuard
from nowcast.forecasters import WNNMulti, wnn


def window(path):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *path[-PERIOD + EVERY - 1 :: EVERY])


def jumped(path, **how):
    """Where a jump from the end of this path leads."""
    return nowcast.forecast(LINEAR, window(path), **how)


FREE = without_jumps(4 * PERIOD, start())[0]


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
    # None for the others.
    assert sorted(leaf.size for leaf in jax.tree.leaves(state.history)) == [
        4,
        4,
        12,
        12,
    ]
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
    # Snapshots around 1000 that move by thousandths: half precision of the values themselves would
    # see no movement.
    params = jax.tree.map(lambda x: (1000 + x).astype(dtype), start())
    exact, _ = train(PERIOD, params, inner=optax.sgd(0.01))
    path, state = train(PERIOD, params, inner=optax.sgd(0.01), history_dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(state.history.moved)} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(state.history.first)} == {jnp.dtype(dtype)}
    moved = max(
        np.abs(a - b).max()
        for a, b in zip(*map(jax.tree.leaves, (exact[-1], exact[0])), strict=True)
    )
    close(path[-1], exact[-1], atol=0.02 * float(moved))


def test_a_horizon_may_change_from_jump_to_jump():
    horizon = nowcast.decaying_horizon(3, first=9, last=1)
    path, _ = train(3 * PERIOD, horizon=horizon)
    for number, far in enumerate((9, 4, 1)):
        begin = path[number * PERIOD]
        free, _ = without_jumps(PERIOD, begin)
        close(path[(number + 1) * PERIOD], jumped(free, horizon=far), atol=1e-4)
    close(train(PERIOD, horizon=lambda jump: 7)[0][-1], jumped(FREE[: PERIOD + 1], horizon=7))


def test_a_schedule_chooses_among_the_horizons_of_one_network():
    rng = np.random.default_rng(0)
    like = jax.eval_shape(lambda: wnn.init_network(jax.random.key(0), 5, 6))
    networks = {
        n: jax.tree.map(
            lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 4, jnp.float32), like
        )
        for n in ("conv", "fc", "bias")
    }
    multi = WNNMulti(params=networks, horizon=6)
    for far in (1, 3, 6):
        fixed, scheduled = (
            train(5 * EVERY, forecaster=multi, horizon=h)[0][-1]
            for h in (far, lambda _, far=far: far)
        )
        close(scheduled, fixed)
    with pytest.raises(nowcast.UserError, match=r"horizon=99: .* 1 to 6 snapshots ahead only"):
        train(1, forecaster=multi, horizon=lambda _: 99)
    with pytest.raises(nowcast.UserError, match="forecasts 5 snapshots ahead only"):
        train(1, forecaster=random_wnn(), horizon=lambda _: 3)


def test_weights_that_stand_still_stay_whatever_the_network_says():
    frozen = optax.partition(
        {"on": optax.sgd(0.1), "off": optax.set_to_zero()},
        {"conv": "on", "head": {"bias": "off", "kernel": "on"}},
    )
    path, state = train(5 * EVERY, inner=frozen, forecaster=random_wnn())
    same(path[-1]["head"]["bias"], start()["head"]["bias"])
    assert state.accepted == 1


def test_a_window_of_one_and_of_two_snapshots():
    for size in (1, 2):
        path, state = train(
            2 * size, forecaster=nowcast.forecasters.LastValue(window=size), every=2
        )
        close(path[-1], FREE[2 * size])
        assert state.accepted == 1
        assert sum(leaf.size for leaf in jax.tree.leaves(state.history)) == 28


def test_float64_weights_are_forecast_in_float64():
    with jax.enable_x64(True):
        params = {"kernel": jnp.arange(4.0, dtype=jnp.float64).reshape(2, 2)}
        jumps = nowcast.Jumps(forecaster=LINEAR, every=1, min_drift=None)
        state = jumps.init(params)
        for _ in range(WINDOW):
            params = {"kernel": params["kernel"] + 1e-9}
            params, state = jumps.step(params, state)
        np.testing.assert_allclose(params["kernel"] - np.arange(4.0).reshape(2, 2), 5e-9, rtol=1e-5)


def test_the_plain_form_sets_the_forecast_itself():
    jumps = nowcast.Jumps(forecaster=LINEAR, every=EVERY, min_drift=None)
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
    "options",
    [{}, {"guard": WaitingGuard(after=2)}, {"operations": ("fc",), "history_dtype": "bfloat16"}],
    ids=str,
)
@pytest.mark.parametrize("stop", [4, PERIOD + 1])
def test_a_run_that_is_saved_anywhere_goes_on_as_if_it_were_not(options, stop, tmp_path):
    inner = optax.adam(0.1)
    whole, expected = train(3 * PERIOD, inner=inner, **options)
    path, state = train(stop, inner=inner, **options)
    ocp.save(tmp_path / "saved", {"params": path[-1], "state": state})
    like = nowcast.periodic(inner, LINEAR, **({"every": EVERY, "min_drift": None} | options)).init(
        start()
    )
    loaded = ocp.load(tmp_path / "saved", {"params": start(), "state": like})
    resumed, state = train(
        3 * PERIOD - stop, loaded["params"], inner, LINEAR, loaded["state"], **options
    )
    same(resumed[-1], whole[-1])
    same(state, expected)


def test_a_population_shares_its_clock_and_forecasts_only_at_jumps():
    calls = []

    class Counting(nowcast.Forecaster):
        name = "counting"

        def leaf(self, history, operation, horizon):
            jax.debug.callback(calls.append, jnp.sum(history))
            return history[-1] + 1.0

    tx = nowcast.periodic(
        optax.adam(0.1),
        Counting(window=WINDOW),
        every=EVERY,
        min_drift=None,
        guard=Guard(tolerance=10.0),
    )
    axes = nowcast.POPULATION
    members = jax.tree.map(
        lambda p: jnp.stack([p, 2 * p, -p]), {"kernel": start()["head"]["kernel"]}
    )
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
        own_path, own_state = train(
            PERIOD, own, optax.adam(0.1), Counting(window=WINDOW), guard=Guard(tolerance=10.0)
        )
        close(jax.tree.map(lambda p, i=i: p[i], params), own_path[-1])
        assert own_state.accepted == state.accepted[i]


def test_numbers_of_numpy_are_numbers(unchecked):
    with jax.enable_x64(True):
        given = {
            "damping": np.float64(0.5),
            "min_drift": np.float64(-1.0),
            "forecaster": nowcast.load("linear"),
            "guard": Guard(tolerance=np.float32(9.0), dampings=np.array([0.5, 1.0])),
        }
        assert train(5 * EVERY, **given)[1].accepted == 1
