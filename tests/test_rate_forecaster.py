"""A learned reader of rates: what it sees, how the multiplier follows it, what is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_auto_rate import flat, gradients, make, run, same, start

import nowcast
from nowcast.bundle import read_card
from nowcast.rate_forecaster import Rate, init_network, inputs

EVERY, STEPS = 3, 60


def random_rate(seed=0):
    """One that says something else of every window."""
    params = init_network(jax.random.key(seed))
    noise = jax.random.key(seed + 1)
    return Rate(params=jax.tree.map(lambda p: p + 0.3 * jax.random.normal(noise, p.shape), params))


def constant_rate(mean, deviation):
    """One that says the same of every window."""
    params = init_network(jax.random.key(0))
    said = jnp.array([mean, np.log(deviation)], jnp.float32)
    estimate = {"kernel": jnp.zeros_like(params["estimate"]["kernel"]), "bias": said}
    return Rate(params=params | {"estimate": estimate})


def seen(gram, share, each):
    """:func:`inputs` of one window, by NumPy."""
    lengths = np.sqrt(np.diagonal(gram))
    cosines = gram / np.outer(lengths, lengths)
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    drift = np.mean([cosines[i, j] for i, j in pairs if j - i >= 2])
    beside = np.log(lengths / np.sqrt(np.mean(lengths**2)))
    angles = [np.arcsinh(cosines[pair] / 0.05) / 2 for pair in pairs]
    share = np.clip(share, 0.02, 1)
    looks = np.log(np.clip(each, 0.015, 0.1)) + 3.5
    return [*beside, *angles, np.arcsinh(drift / 0.05), share, np.log(share) / 2, looks]


def answer(rate, gram, share, each):
    """Mean and deviation, by NumPy."""
    layers = jax.tree.map(lambda p: np.asarray(p, np.float64), dict(rate.params))
    hidden = np.array(seen(gram, share, each))
    for name in ("first", "second"):
        hidden = np.tanh(hidden @ layers[name]["kernel"] + layers[name]["bias"])
    mean, log = hidden @ layers["estimate"]["kernel"] + layers["estimate"]["bias"]
    return mean, np.exp(np.clip(log, -3, 2))


def moved(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return scale * (rng.normal(size=(4, 50)) + rng.normal(size=50))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_what_it_sees_are_lengths_cosines_drift_and_share_whatever_the_scale(share):
    for seed, scale in ((0, 1.0), (1, 1e-6), (2, 1e4)):
        steps = moved(seed, scale)
        found = inputs(
            jnp.float32(steps @ steps.T)[None], jnp.float32([share]), jnp.float32([0.03])
        )[0]
        np.testing.assert_allclose(found, seen(steps @ steps.T, share, 0.03), atol=2e-3)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_multiplier_goes_the_way_that_is_read_from_steps_freed_of_it(seed):
    rate = random_rate(seed)
    tx = make(every=EVERY, forecaster=rate, steps=2 * STEPS)
    looks, past, log = [], [], 0.0
    path = run(tx, start(), steps=range(STEPS))
    for number, (_, state) in enumerate(path):  # so many steps are done before
        if number and number % EVERY == 0:
            looks, past = [*looks, flat(path[number - 1][0])], [*past, log]
            if len(looks) >= 5:
                own = np.diff(looks[-5:], axis=0) / np.exp(past[-4:])[:, None]
                mean, deviation = answer(
                    rate, own @ own.T, number / (2 * STEPS), EVERY / (2 * STEPS)
                )
                way = np.mean(past[-4:]) + mean - log
                log += np.clip(way / (1 + (deviation / np.log(2)) ** 2), -np.log(4), np.log(4))
        np.testing.assert_allclose(state.log_multiplier, log, atol=0.02)
    assert np.ptp([state.log_multiplier for _, state in path]) > 0.1


def test_it_goes_less_far_where_it_is_less_sure_and_by_a_factor_of_4_at_most():
    def multiplier(mean, deviation):
        rate = constant_rate(mean, deviation)
        tx = make(every=1, forecaster=rate, steps=100)
        return run(tx, start(), steps=range(6))[-1][1].multiplier

    np.testing.assert_allclose(multiplier(1.0, np.log(2)), np.exp(1 / 2), rtol=1e-4)
    np.testing.assert_allclose(multiplier(-1.0, 2 * np.log(2)), np.exp(-1 / 5), rtol=1e-4)
    np.testing.assert_allclose(multiplier(20.0, 0.1), 4, rtol=1e-4)
    np.testing.assert_allclose(multiplier(-20.0, 0.1), 1 / 4, rtol=1e-4)


def test_what_it_has_gone_since_the_window_counts_as_gone():
    tx = make(every=1, forecaster=constant_rate(0.0, 0.1), steps=1000)
    params = start()
    state = tx.init(params)._replace(log_multiplier=jnp.float32(1.0))
    logs = [s.log_multiplier for _, s in run(tx, params, state, steps=range(60))]
    np.testing.assert_allclose(logs[:5], 1, atol=1e-5)  # its window was made at this multiplier
    np.testing.assert_allclose(logs[-1], 1, atol=1e-4)


def test_after_the_last_look_that_counts_it_stays_and_gradients_that_are_gone_do_not_raise_it():
    rate = constant_rate(5.0, 0.1)
    tx = make(every=1, forecaster=rate, steps=100, stop_after=8)
    logs = [state.log_multiplier.item() for _, state in run(tx, start(), steps=range(12))]
    assert logs[4] == 0 < logs[5] < logs[8] == logs[-1]
    small = lambda n: jax.tree.map(lambda p: p + (1.0 if n < 4 else 1e-3), start())  # noqa: E731
    tx = make(every=1, forecaster=rate, steps=100)
    rates = [state.multiplier.item() for _, state in run(tx, start(), steps=range(30), grads=small)]
    assert rates[-1] == rates[12]


def test_where_the_loss_runs_away_it_steps_back_too():
    tx = make(every=1, forecaster=constant_rate(2.0, 0.1), steps=99)
    value = lambda n: jnp.float32(2.0 - 0.1 * n if n < 10 else 50.0)  # noqa: E731
    seen = [s.log_multiplier.item() for _, s in run(tx, start(), steps=range(14), value=value)]
    assert seen[10] < seen[9] - 1


def test_in_a_scan_it_is_the_same_and_its_state_is_final():
    tx = make(every=EVERY, forecaster=random_rate(), steps=STEPS)
    grads = jax.tree.map(lambda *g: jnp.stack(g), *map(gradients, range(STEPS)))

    def step(carry, grads):
        params, state = carry
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), state.multiplier

    (params, _), multipliers = jax.lax.scan(step, (start(), tx.init(start())), grads)
    last = run(tx, start(), steps=range(STEPS))[-1]
    same(params, last[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(multipliers[-1], last[1].multiplier, rtol=1e-3)


def test_members_of_a_population_follow_each_its_own():
    tx = make(every=EVERY, forecaster=random_rate(), steps=STEPS)
    axes = nowcast.RATE_POPULATION
    both = jax.tree.map(lambda p: jnp.stack([p, p + 1]), start())
    states = jax.vmap(tx.init, out_axes=axes)(both)
    step = jax.jit(jax.vmap(tx.update, in_axes=(0, axes, 0), out_axes=(0, axes)))
    params = both
    for number in range(30):
        pair = jax.tree.map(lambda a, b: jnp.stack([a, b]), gradients(number), gradients(number, 2))
        updates, states = step(pair, states, params)
        params = optax.apply_updates(params, updates)
    alone = run(tx, start(), steps=range(30))[-1][1]
    logs = states.log_multiplier
    np.testing.assert_allclose(logs[0], alone.log_multiplier, atol=1e-3)
    assert abs(logs[0] - logs[1]) > 1e-3


def test_a_bundle_holds_it_and_is_for_rates_alone(tmp_path, unchecked):
    rate = random_rate()
    nowcast.save(rate, tmp_path / "mine", {"command": "make it"})
    loaded = nowcast.load(tmp_path / "mine")
    same(loaded.params, rate.params)
    assert read_card(tmp_path / "mine")["forecaster"] == "rate"
    assert repr(loaded) == "Rate(…)"
    with pytest.raises(
        nowcast.UserError, match=r"is not a forecaster: pass one that forecasts weights, such"
    ):
        nowcast.periodic(optax.adam(0.1), loaded, every=5)
    card = json.loads((tmp_path / "mine" / "card.json").read_text())
    assert not {"window", "horizon"} & card.keys()


def test_parameters_of_another_shape_are_refused():
    params = init_network(jax.random.key(0))
    with pytest.raises(nowcast.UserError, match=r"rate: first/bias has shape \(\), not \(16,\)"):
        Rate(params={name: params[name] for name in ("second", "estimate")})


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"forecaster": "rate", "steps": 9}, r"pass nowcast\.load\('rate'\)"),
        (
            {"forecaster": nowcast.load("linear"), "steps": 9},
            "'linear' forecasts no rates; pass a bu",
        ),
        ({"forecaster": random_rate()}, "steps=None: .*give the run's length in optimizer steps"),
        ({"forecaster": random_rate(), "steps": 0}, "steps=0"),
        ({"steps": 9}, "steps=9 is for a forecaster; give forecaster=… too, or leave it out"),
    ],
)
def test_bad_input_is_refused(options, line, unchecked):
    with pytest.raises(nowcast.UserError, match=line):
        nowcast.auto_rate(optax.sgd(0.1), every=5, **options)
