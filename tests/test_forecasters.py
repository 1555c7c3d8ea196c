"""Forecasters against NumPy; WNN against its paper and a second implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import constant_wnn, random_wnn
from scipy import optimize

import nowcast
from nowcast.forecasters import (
    SIMPLE,
    AutoRegressive,
    DampedLinear,
    Exponential,
    Introspection,
    IntrospectionLinear,
    LastValue,
    Linear,
    Noise,
    Permuted,
    Quadratic,
    WNNMulti,
    exponential,
    introspection,
)
from nowcast.forecasters import wnn as module


@pytest.fixture
def history():
    """Windows of a model with a leaf of each usual operation."""
    rng = np.random.default_rng(0)
    shapes = {
        "conv": {"kernel": (3, 3, 2, 4), "bias": (4,)},
        "head": {"kernel": (6, 3), "bias": (3,)},
    }
    steps = jax.tree.map(
        lambda s: rng.normal(size=(5, *s)), shapes, is_leaf=lambda s: isinstance(s, tuple)
    )
    return jax.tree.map(lambda s: jnp.asarray(np.cumsum(s, axis=0), jnp.float32), steps)


@pytest.mark.parametrize(("window", "horizon"), [(3, 1), (5, 5), (5, 1), (9, 40)])
@pytest.mark.parametrize("kind", [Linear, Quadratic])
def test_fits_are_numpys_least_squares(kind, window, horizon):
    x = np.random.default_rng(0).normal(size=(window, 7, 3)).astype(np.float32)
    fit = np.polyfit(np.arange(window), x.reshape(window, -1).astype(float), kind.degree)
    expected = (np.array([window - 1 + horizon]) ** np.arange(kind.degree, -1, -1) @ fit).reshape(
        7, 3
    )
    got = nowcast.forecast(kind(window=window, horizon=horizon), {"kernel": x})["kernel"]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_introspection_is_its_paper(unchecked):
    params = introspection.init_network(jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 241
    params = jax.tree.map(lambda x: x + 0.1, params)
    x = np.random.default_rng(0).normal(size=(11, 6, 2)).astype(np.float32)
    columns = 1000 * np.stack([x[10], x[7], x[4], x[0]], axis=-1)  # t, 0.7t, 0.4t, 0
    hidden = columns @ np.asarray(params["hidden"]["kernel"]) + np.asarray(params["hidden"]["bias"])
    for kind, active in ((Introspection, np.maximum(hidden, 0)), (IntrospectionLinear, hidden)):
        expected = (
            active @ np.asarray(params["out"]["kernel"]) + np.asarray(params["out"]["bias"])
        )[..., 0] / 1000
        got = nowcast.forecast(
            kind(params={"all": params}), {"kernel": x}, labels={"kernel": "fc"}
        )["kernel"]
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_many_horizons_are_the_outputs_of_one_network():
    params = module.init_network(jax.random.key(0), 5, 7)
    multi = WNNMulti(params={"fc": params}, horizon=7)
    x = np.cumsum(np.random.default_rng(0).normal(size=(5, 6, 2)), axis=0).astype(np.float32)
    inputs, base, scale = module.normalise(jnp.asarray(x.reshape(5, -1).T))
    expected = np.asarray(base)[:, None] + np.asarray(scale)[:, None] * np.asarray(
        module.features(params, inputs)
    )
    for horizon in range(1, 8):
        got = nowcast.forecast(multi, {"kernel": x}, labels={"kernel": "fc"}, horizon=horizon)[
            "kernel"
        ]
        np.testing.assert_allclose(np.ravel(got), expected[:, horizon - 1], rtol=1e-5)
    assert np.array_equal(
        nowcast.forecast(multi, {"kernel": x}, labels={"kernel": "fc"})["kernel"],
        nowcast.forecast(multi, {"kernel": x}, labels={"kernel": "fc"}, horizon=7)["kernel"],
    )
    with pytest.raises(
        nowcast.UserError, match="horizon=8: this wnn_multi was fitted to forecast 1 to 7 snapshots"
    ):
        nowcast.forecast(multi, {"kernel": x}, horizon=8)


def test_the_horizon_of_one_call_goes_before_the_forecasters_own():
    x = jnp.arange(5.0)[:, None]
    assert nowcast.forecast(Linear(horizon=5), {"b": x})["b"][0] == 9
    assert nowcast.forecast(Linear(horizon=5), {"b": x}, horizon=2)["b"][0] == 6


def test_last_value_is_the_last_snapshot(history):
    got = nowcast.forecast(LastValue(), history)
    jax.tree.map(lambda g, h: np.testing.assert_array_equal(g, h[-1]), got, history)


@pytest.mark.parametrize(
    "forecaster", [LastValue(), Linear(), Quadratic(), constant_wnn(0.0)], ids=lambda f: f.name
)
def test_weights_that_stand_still_stay_bit_for_bit(forecaster):
    constant = np.random.default_rng(1).normal(size=100).astype(np.float32) * np.logspace(
        -8, 8, 100, dtype=np.float32
    )
    got = nowcast.forecast(forecaster, {"bias": jnp.stack([jnp.asarray(constant)] * 5)})["bias"]
    np.testing.assert_array_equal(got, constant)


def test_a_zero_increment_is_the_identity_for_every_operation(history):
    got = nowcast.forecast(constant_wnn(0.0), history)
    jax.tree.map(lambda g, h: np.testing.assert_array_equal(g, h[-1]), got, history)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Linear(window=1), "window=1"),
        (lambda: Quadratic(window=2), "window=2 is too short: it needs 3"),
        (lambda: LastValue(window=0), "window=0"),
        (lambda: Linear(horizon=0), "horizon=0"),
        (lambda: Linear(horizon=-5), "horizon=-5"),
        (lambda: nowcast.forecast(Linear(), {"w": jnp.zeros((5, 2))}, horizon=0), "horizon=0"),
        (lambda: nowcast.forecast(Linear(), {"w": jnp.zeros((4, 2))}), "(4, 2)"),
        (lambda: nowcast.forecast(Linear(), {"w": jnp.zeros(())}), "['w']"),
        (lambda: nowcast.forecast(Linear(), {"w": jnp.zeros((5, 2), jnp.int32)}), "int32"),
        (lambda: nowcast.forecast(random_wnn(), {"w": jnp.zeros((5, 2))}, horizon=7), "horizon=7"),
    ],
)
def test_what_cannot_be_forecast_is_refused_by_name(make, said):
    with pytest.raises(nowcast.UserError) as caught:
        make()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wnn_has_the_published_parameters_layer_by_layer():
    params = module.init_network(jax.random.key(0))
    count = {name: sum(x.size for x in jax.tree.leaves(layer)) for name, layer in params.items()}
    assert (count["x_in"], count["dx_in"], count["head"]) == (384, 320, 65)
    for stream in ("x", "dx"):
        assert sum(count[f"{stream}_{name}"] for name in ("hidden", "a", "b", "c")) == 2248
        assert count[f"{stream}_out"] == 2080
    assert sum(count.values()) == 9425


def test_a_wnn_starts_from_the_published_distributions():
    params = module.init_network(jax.random.key(0))
    main = {"x_in": 5, "dx_in": 4, "x_out": 64, "dx_out": 64}  # fan-in
    for name, layer in params.items():
        rows, columns = layer["kernel"].shape
        bound = np.sqrt(3 * 0.1 / main[name]) if name in main else np.sqrt(6 / (rows + columns))
        largest = np.abs(layer["kernel"]).max()
        assert 0.85 * bound < largest <= bound, name
        assert np.std(layer["kernel"]) == pytest.approx(bound / np.sqrt(3), rel=0.25), name
        np.testing.assert_array_equal(layer["bias"], 0)


def dense(layer, x):
    return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)


def wnn_in_numpy(params, x):
    """The paper's network once more, one weight after another, in float64."""
    out = []
    for window in np.asarray(x, np.float64):
        s = 2 * (window.max() - window.min() + 1e-8 + 1e-5)
        big = (window - window[0]) / s
        streams = []
        for name, inputs in (("x", big), ("dx", big[1:] - big[:-1])):
            u = dense(params[f"{name}_in"], inputs)
            h = np.maximum(dense(params[f"{name}_hidden"], u), 0)
            a, b, c = (dense(params[f"{name}_{letter}"], h) for letter in "abc")
            y = dense(params[f"{name}_out"], a * np.exp(b * u) + c)
            streams.append(np.where(y > 0, y, 0.3 * y))
        increment = np.tanh(dense(params["head"], np.concatenate(streams)))[0]
        out.append(window[0] + s * (big[-1] + increment))
    return np.array(out)


def test_wnn_is_the_network_of_the_paper():
    forecaster = random_wnn(3)
    x = np.cumsum(np.random.default_rng(0).normal(size=(5, 60)), axis=0).astype(np.float32)
    shaped = {"conv": (1, 1, 6, 10), "fc": (6, 10), "bias": (60,)}
    for op, shape in shaped.items():
        got = nowcast.forecast(forecaster, {"w": x.reshape(5, *shape)}, labels={"w": op})["w"]
        expected = wnn_in_numpy(forecaster.params[op], x.T)
        assert np.abs(expected - x[-1]).max() > 0.1  # it moves
        np.testing.assert_allclose(got, expected.reshape(shape), rtol=1e-4, atol=1e-4)


def test_wnn_follows_a_change_of_scale_and_origin():
    forecaster = random_wnn(4)
    x = jnp.cumsum(jax.random.normal(jax.random.key(1), (5, 40)), axis=0)
    plain = nowcast.forecast(forecaster, {"bias": x})["bias"]
    moved = nowcast.forecast(forecaster, {"bias": 8 * x - 3})["bias"]
    assert np.abs(plain - x[-1]).max() > 0.1
    np.testing.assert_allclose(moved, 8 * plain - 3, rtol=1e-3, atol=1e-3)


def test_a_constant_increment_is_one_of_the_windows_own_range():
    x = jnp.asarray([[0.0, 3.0, 1.0, 4.0, 2.0]]).T  # range 4, so the unit is 8
    got = nowcast.forecast(constant_wnn(0.5), {"b": x})["b"]
    np.testing.assert_allclose(got, 2 + 8 * np.tanh(0.5), rtol=1e-5)


def test_each_operation_has_its_own_network():
    forecaster = random_wnn(5)
    x = jnp.cumsum(jax.random.normal(jax.random.key(2), (5, 8)), axis=0)
    got = {
        op: nowcast.forecast(forecaster, {"w": x}, labels={"w": op})["w"]
        for op in nowcast.OPERATIONS
    }
    assert np.abs(got["conv"] - got["fc"]).max() > 1e-2
    assert np.abs(got["bias"] - got["fc"]).max() > 1e-2
    np.testing.assert_array_equal(got["depthwise_conv"], got["conv"])


@pytest.mark.parametrize("op", ["norm", "embedding", "other"])
def test_weights_that_no_network_serves_come_back_bit_for_bit(op):
    x = jnp.cumsum(jax.random.normal(jax.random.key(2), (5, 8)), axis=0)
    np.testing.assert_array_equal(
        nowcast.forecast(random_wnn(), {"w": x}, labels={"w": op})["w"], x[-1]
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("forecaster", [LastValue(), Linear(), random_wnn()], ids=lambda f: f.name)
def test_a_forecast_has_the_dtype_and_shape_of_the_weights(forecaster, dtype):
    got = nowcast.forecast(forecaster, {"w": jnp.ones((5, 3, 4), dtype)})["w"]
    assert got.dtype == dtype
    assert got.shape == (3, 4)


@pytest.mark.parametrize("rate", [0.3, 0.7, 0.9])
@pytest.mark.parametrize("horizon", [1, 5, 20])
def test_exponential_fit_is_scipys_where_the_weights_do_come_to_rest(rate, horizon):
    rng = np.random.default_rng(0)
    times = np.arange(6.0)
    level, way = rng.normal(size=(2, 20))
    x = (level + way * rate ** times[:, None]).astype(np.float32)
    got = nowcast.forecast(Exponential(window=6, horizon=horizon), {"kernel": x})["kernel"]
    expected = []
    for column in x.T.astype(float):
        fit, _ = optimize.curve_fit(
            lambda t, a, b, r: a + b * r**t,
            times,
            column,
            p0=(column[-1], column[0] - column[-1], 0.5),
            maxfev=10_000,
        )
        expected.append(fit[0] + fit[1] * fit[2] ** (5 + horizon))
    np.testing.assert_allclose(got, expected, atol=0.04 * np.abs(way).max())  # its rates are a grid


def test_exponential_fit_of_a_line_is_the_line():
    x = np.linspace(0, 1, 5, dtype=np.float32)[:, None] * np.array([1.0, -2.0, 0.1], np.float32)
    got = nowcast.forecast(Exponential(horizon=4), {"bias": x})["bias"]
    np.testing.assert_allclose(got, 2 * x[-1], rtol=1e-3)
    for rate in exponential.RATES[5::8]:  # and of one of its own curves, that curve
        curve = (rate ** np.arange(5.0))[:, None].astype(np.float32) * np.ones((1, 2), np.float32)
        got = nowcast.forecast(Exponential(horizon=3), {"bias": curve})["bias"]
        np.testing.assert_allclose(got, rate**7, atol=1e-4)


def test_damped_linear_is_holts_damped_trend():
    x = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    slope, place = np.polyfit(np.arange(5), x, 1)[0], x[-1].astype(float)
    for step in range(1, 8):
        place = place + slope * 0.8**step
        got = nowcast.forecast(DampedLinear(horizon=step), {"bias": x})["bias"]
        np.testing.assert_allclose(got, place, atol=1e-5)


def process(rho, *, weights=40_000, seed=0):
    """Windows of weights whose increments have this correlation with the ones before."""
    rng = np.random.default_rng(seed)
    moved = [rng.normal(size=weights)]
    for _ in range(3):
        moved.append(rho * moved[-1] + np.sqrt(1 - rho**2) * rng.normal(size=weights))
    return np.cumsum([np.zeros(weights), *moved], axis=0).astype(np.float32)


@pytest.mark.parametrize(("rho", "horizon"), [(0.9, 1), (0.6, 5), (0.0, 5), (-0.5, 1), (-0.5, 5)])
def test_autoregressive_finds_how_movements_go_on(rho, horizon):
    """Of many weights; and its error is about the least that any forecast of such weights has."""
    x = process(rho)
    got = nowcast.forecast(AutoRegressive(horizon=horizon), {"kernel": x})["kernel"]
    best = x[-1] + (x[-1] - x[-2]) * sum(rho**step for step in range(1, horizon + 1))
    np.testing.assert_allclose(got, best, atol=0.03 * horizon * np.abs(x[-1] - x[-2]).max())


def test_autoregressive_goes_ahead_on_a_line_and_back_to_the_middle_where_weights_only_shake():
    line = np.arange(5, dtype=np.float32)[:, None] * np.array([1.0, -2.0, 0.1], np.float32)
    got = nowcast.forecast(AutoRegressive(horizon=2), {"bias": line})["bias"]
    np.testing.assert_allclose(got, line[-1] + (0.95 + 0.95**2) * (line[-1] - line[-2]), rtol=1e-5)
    shaking = np.random.default_rng(0).normal(size=(5, 10_000)).astype(np.float32)
    got = nowcast.forecast(AutoRegressive(), {"kernel": shaking})["kernel"]
    assert np.mean(got**2) < 0.75 * np.mean(shaking[-1] ** 2)


def test_autoregressive_keeps_what_stands_still_and_takes_each_leaf_for_itself():
    constant = {"kernel": np.ones((5, 3, 2), np.float32), "bias": process(0.9)[:, :7]}
    got = nowcast.forecast(AutoRegressive(), constant)
    np.testing.assert_array_equal(got["kernel"], constant["kernel"][-1])
    only_bias = nowcast.forecast(AutoRegressive(), {"bias": constant["bias"]})["bias"]
    np.testing.assert_array_equal(got["bias"], only_bias)
    scaled = nowcast.forecast(AutoRegressive(), {"bias": 100 * constant["bias"]})["bias"]
    np.testing.assert_allclose(scaled, 100 * only_bias, rtol=1e-4)
    with pytest.raises(nowcast.UserError, match="it needs 3 snapshots or more"):
        AutoRegressive(window=2)


def test_average_is_the_mean():
    x = np.random.default_rng(0).normal(size=(5, 7, 2)).astype(np.float32)
    np.testing.assert_allclose(
        nowcast.forecast(nowcast.load("average"), {"kernel": x})["kernel"],
        x.mean(axis=0),
        atol=1e-6,
    )


@pytest.mark.parametrize("kind", [Noise, Permuted])
def test_null_jumps_have_the_size_of_the_others_and_not_its_direction(kind, history):
    for other in (Linear(horizon=3), random_wnn()):
        true = nowcast.forecast(other, history)
        null = nowcast.forecast(kind(of=other), history)
        again, seeded = (nowcast.forecast(kind(of=other, seed=seed), history) for seed in (0, 1))
        for t, n, a, s, h in zip(
            *map(jax.tree.leaves, (true, null, again, seeded, history)), strict=True
        ):
            jump, wrong = np.ravel(t - h[-1]), np.ravel(n - h[-1])
            np.testing.assert_allclose(np.linalg.norm(wrong), np.linalg.norm(jump), rtol=1e-4)
            np.testing.assert_array_equal(n, a)
            assert np.abs(s - n).max() > 1e-3
            if kind is Permuted:
                np.testing.assert_allclose(np.sort(wrong), np.sort(jump), atol=1e-5)
            if jump.size > 10:
                assert abs(np.dot(wrong, jump)) < 0.8 * np.dot(jump, jump)
    assert kind(of=Linear(window=7, horizon=3)).window == 7
    with pytest.raises(nowcast.UserError, match="forecast 5 snapshots ahead only"):
        nowcast.forecast(kind(of=random_wnn()), history, horizon=3)


@pytest.mark.parametrize("name", SIMPLE)
def test_every_simple_forecaster_leaves_weights_that_stand_still_and_is_finite(name, history):
    forecaster = nowcast.load(name)
    constant = jax.tree.map(lambda h: jnp.stack([h[0]] * 5), history)
    for got, at in zip(
        *map(jax.tree.leaves, (nowcast.forecast(forecaster, constant), constant)), strict=True
    ):
        if name == "noise":
            continue  # 0/0 of nothing
        np.testing.assert_allclose(got, at[-1], atol=1e-6)
    for leaf in jax.tree.leaves(nowcast.forecast(forecaster, history)):
        assert np.isfinite(leaf).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: DampedLinear(fade=1.0), "fade=1.0 must be above 0 and below 1"),
        (lambda: DampedLinear(window=1), "window=1 is too short"),
        (lambda: Exponential(window=3), "window=3 is too short"),
    ],
)
def test_settings_out_of_range_are_refused(make, said):
    with pytest.raises(nowcast.UserError, match=said):
        make()
