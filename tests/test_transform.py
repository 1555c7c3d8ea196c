"""``nowcast.periodic`` keeps optax's contract, whatever it wraps: optimizers × forecasters ×
properties.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import random_wnn
from orbax.checkpoint import v1 as ocp
from runs import close, follow, same, start

import nowcast

OPTIMIZERS = {
    "sgd": lambda: optax.sgd(0.1),
    "adam": lambda: optax.adam(optax.linear_schedule(0.1, 0.01, 20)),
    "adamw": lambda: optax.adamw(0.05),
    "clipped": lambda: optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1, momentum=0.9)),
}
FORECASTERS = {
    "linear": nowcast.load("linear"),
    "last_value": nowcast.load("last_value"),
    "wnn": random_wnn(),
}
EVERY, WINDOW = 2, 5
FIRST_JUMP = EVERY * WINDOW

PAIRS = [(o, f) for o in OPTIMIZERS for f in FORECASTERS]
every_pair = pytest.mark.parametrize(("optimizer", "forecaster"), PAIRS)


def make(optimizer="adam", forecaster="linear", **settings):
    return nowcast.periodic(
        OPTIMIZERS[optimizer](),
        FORECASTERS[forecaster],
        **({"every": EVERY, "min_drift": None} | settings),
    )


def gradient(params):
    return jax.grad(lambda p: sum(jnp.sum(jnp.cos(x) ** 2) for x in jax.tree.leaves(p)))(params)


def train(tx, params, steps, state=None):
    """The parameters after every step, and the last state."""
    path, states = follow(tx, params, steps, gradient, state)
    return path, states[-1]


@every_pair
def test_the_state_is_final_from_init_and_nothing_compiles_twice(optimizer, forecaster):
    tx, params = make(optimizer, forecaster), start()
    state = tx.init(params)
    described = jax.tree.map(jax.typeof, state)
    traces = 0

    @jax.jit
    def step(params, state):
        nonlocal traces
        traces += 1
        updates, state = tx.update(gradient(params), state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(FIRST_JUMP + 1):
        params, state = step(params, state)
        assert jax.tree.map(jax.typeof, state) == described
    assert traces == 1
    assert state.clock.windows == 1


@every_pair
def test_before_the_first_jump_it_is_the_inner_optimizer(optimizer, forecaster):
    plain, _ = train(OPTIMIZERS[optimizer](), start(), FIRST_JUMP)
    wrapped, _ = train(make(optimizer, forecaster), start(), FIRST_JUMP)
    for before, after in zip(plain[:-1], wrapped[:-1], strict=True):
        close(after, before, rtol=1e-6, atol=1e-7)
    if forecaster != "last_value":
        assert np.abs(plain[-1]["head"]["kernel"] - wrapped[-1]["head"]["kernel"]).max() > 1e-3


@every_pair
def test_a_jump_lands_on_the_forecast_of_the_window(optimizer, forecaster):
    tx = make(optimizer, forecaster)
    path, state = train(tx, start(), FIRST_JUMP - 1)
    inner_updates, inner_state = OPTIMIZERS[optimizer]().update(
        gradient(path[-1]), state.inner, path[-1]
    )
    snapshots = [*path[EVERY::EVERY], optax.apply_updates(path[-1], inner_updates)]
    window = jax.tree.map(lambda *leaves: jnp.stack(leaves), *snapshots)
    updates, state = tx.update(gradient(path[-1]), state, path[-1])
    target = nowcast.forecast(FORECASTERS[forecaster], window)
    close(optax.apply_updates(path[-1], updates), target, rtol=0, atol=1e-5)
    close(state.inner, inner_state, rtol=1e-5, atol=1e-7)  # left as it is
    assert [int(n) for n in state.clock] == [0, 0, 1, FIRST_JUMP]


@pytest.mark.parametrize("forecaster", FORECASTERS)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_parameters_keep_their_dtype(forecaster, dtype):
    path, state = train(make("sgd", forecaster), start(dtype), FIRST_JUMP)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves((path[-1], state.history)))
    assert state.clock.windows == 1
    assert state.refused == 0


def test_two_windows_of_sgd_and_linear_fit_as_computed_by_hand():
    forecaster = nowcast.forecasters.Linear(window=3, horizon=2)
    tx = nowcast.periodic(optax.sgd(0.5), forecaster, every=2, min_drift=None)
    grads = np.random.default_rng(0).normal(size=(13, 4)).astype(np.float32)
    x, window, expected, jumps = np.zeros(4), [], [], []
    for i, g in enumerate(grads, start=1):
        x = x - 0.5 * g
        if i % 2 == 0:
            window.append(x)
        if len(window) == 3:
            slope, intercept = np.polyfit([0, 1, 2], window, 1)
            x, window = intercept + slope * 4, []  # it empties: no window straddles a jump
            jumps.append(i)
        expected.append(x)
    params = {"bias": jnp.zeros(4)}
    state, got = tx.init(params), []
    for g in grads:
        updates, state = tx.update({"bias": g}, state, params)
        params = optax.apply_updates(params, updates)
        got.append(params["bias"])
    assert jumps == [6, 12]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert state.clock._asdict() == {"step": 1, "filled": 0, "windows": 2, "total": 13}


def test_every_1_jumps_after_each_window_of_steps():
    _, state = train(make("sgd", every=1), start(), 2 * WINDOW + 3)
    assert state.clock._asdict() == {"step": 0, "filled": 3, "windows": 2, "total": 2 * WINDOW + 3}


def test_the_horizon_asked_for_is_used():
    near, far = (train(make("sgd", horizon=h), start(), FIRST_JUMP)[0][-1] for h in (1, 9))
    plain = train(OPTIMIZERS["sgd"](), start(), FIRST_JUMP)[0][-1]
    moved = [np.abs(p["head"]["kernel"] - plain["head"]["kernel"]).mean() for p in (near, far)]
    assert moved[1] > 5 * moved[0] > 0


def test_labels_decide_which_network_forecasts():
    guessed = train(make("sgd", "wnn"), start(), FIRST_JUMP)[0][-1]
    labels = jax.tree.map(lambda _: "norm", start())
    labels["conv"]["kernel"] = "conv"
    given = train(make("sgd", "wnn", labels=labels), start(), FIRST_JUMP)[0][-1]
    plain = train(OPTIMIZERS["sgd"](), start(), FIRST_JUMP)[0][-1]
    close(given["conv"], guessed["conv"], rtol=1e-6, atol=1e-6)
    close(given["head"], plain["head"], rtol=1e-6, atol=1e-6)
    assert np.abs(guessed["head"]["kernel"] - plain["head"]["kernel"]).max() > 1e-3


def test_half_a_window_survives_a_checkpoint(tmp_path):
    tx, params = make("adam", "wnn"), start()
    whole, _ = train(tx, params, 2 * FIRST_JUMP + 1)
    path, state = train(tx, params, FIRST_JUMP + 5)
    ocp.save(tmp_path / "saved", {"params": path[-1], "state": state})
    loaded = ocp.load(tmp_path / "saved", {"params": params, "state": tx.init(params)})
    same(loaded["state"], state)
    resumed, _ = train(tx, loaded["params"], FIRST_JUMP - 4, loaded["state"])
    same(resumed[-1], whole[-1])


class Broken(nowcast.Forecaster):
    """Not finite for biases only: the whole jump must be refused."""

    name = "broken"

    def leaf(self, history, operation, horizon):
        return history[-1] + (jnp.nan if operation == "bias" else 1.0)


def test_a_forecast_that_is_not_finite_is_refused_and_counted():
    tx = nowcast.periodic(optax.sgd(0.1), Broken(), every=EVERY)
    path, state = train(tx, start(), 2 * FIRST_JUMP + 1)
    plain, _ = train(optax.sgd(0.1), start(), 2 * FIRST_JUMP + 1)
    close(path[-1], plain[-1], rtol=1e-6, atol=1e-7)
    assert state.refused == 2
    assert state.clock._asdict() == {
        "step": 1,
        "filled": 0,
        "windows": 2,
        "total": 2 * FIRST_JUMP + 1,
    }


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "10", None], ids=repr)
def test_every_must_be_a_whole_number_of_steps(every, unchecked):
    with pytest.raises(nowcast.UserError, match=f"every={every!r}".replace(".", r"\.")):
        make(every=every)


def test_numpys_whole_numbers_are_whole_numbers(unchecked):
    assert make(every=np.int64(2)).init(start()).clock.step == 0
    with pytest.raises(nowcast.UserError, match=r"horizon=2\.5 must be a whole number"):
        nowcast.load("linear").check_horizon(2.5)


def test_a_tree_without_weights_is_left_alone():
    tx = make(every=1)
    state = tx.init({})
    for _ in range(WINDOW + 1):
        updates, state = tx.update({}, state, {})
    assert updates == {}
    assert state.clock.windows == 1


@pytest.mark.parametrize(
    ("labels", "params", "said"),
    [
        ({"w": "dense"}, {"w": jnp.zeros(2)}, "'dense'"),
        ({"v": "fc"}, {"w": jnp.zeros(2)}, "'w'"),
        (None, {"w": jnp.zeros(2), "table": jnp.zeros(2, jnp.int32)}, "'table' is int32"),
    ],
)
def test_init_refuses_what_it_cannot_nowcast_by_name(labels, params, said):
    with pytest.raises(nowcast.UserError) as caught:
        make(labels=labels).init(params)
    assert said in str(caught.value)


def test_update_without_params_is_refused():
    tx, params = make(), start()
    with pytest.raises(nowcast.UserError, match="params"):
        tx.update(params, tx.init(params))


def test_a_user_error_is_a_value_error():
    assert issubclass(nowcast.UserError, ValueError)


def test_a_horizon_that_the_forecaster_lacks_is_refused_at_once():
    with pytest.raises(nowcast.UserError, match="horizon=3"):
        make(forecaster="wnn", horizon=3)
