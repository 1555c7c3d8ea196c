"""Learned optimizers: against their papers' equations in NumPy, and as optax transformations."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from runs import close, loss, start

import nowcast
from collect.training import learned, optimizers
from collect.training.learned import KINDS, LearnedOptimizer, lstm
from collect.training.learned.kinds import log_and_sign
from meta_train.learners.fit import draw
from nowcast.types import UserError

gradient = jax.grad(loss)
RANDOM = np.random.default_rng(0)


def drawn(name, networks=None):
    kind = KINDS[name]
    return LearnedOptimizer(name, draw(kind, list(networks or kind.networks), 3))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_step(params, memory, x):
    """An LSTM's step, gate by gate, one coordinate at a time in double precision."""
    new = []
    for number, (h, c) in enumerate(memory, start=1):
        layer = {
            key: np.asarray(value, np.float64) for key, value in params[f"lstm_{number}"].items()
        }
        size = len(h)
        gate = [
            x @ layer["kernel"][:, k * size : (k + 1) * size]
            + h @ layer["recurrent"][:, k * size : (k + 1) * size]
            + layer["bias"][k * size : (k + 1) * size]
            for k in range(4)
        ]
        c = sigmoid(gate[1]) * c + sigmoid(gate[0]) * np.tanh(gate[2])
        x = sigmoid(gate[3]) * np.tanh(c)
        new.append((x, c))
    last = {key: np.asarray(value, np.float64) for key, value in params["linear"].items()}
    return float((x @ last["kernel"] + last["bias"])[0]), new


def zeros():
    return [(np.zeros(20), np.zeros(20)) for _ in range(2)]


def by_paper(name, params, gradients):
    """The updates of one coordinate for a series of gradients."""
    memory, first, second, updates = zeros(), 0.0, 0.0, []
    for g in gradients:
        if name == "l2o":
            if abs(g) >= np.exp(-5):
                read = [np.log(abs(g) + np.finfo(np.float32).eps) / 5, np.sign(g)]
            else:
                read = [-1.0, np.exp(5) * g]
        else:
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
            size = np.sqrt(second / 0.001 + 1e-10)
            read = [first / 0.1 / size, g / size]
        out, memory = numpy_step(params, memory, np.array(read))
        updates.append(0.01 * out if name == "l2o" else -0.1 * np.tanh(out))
    return updates


@pytest.mark.parametrize("name", KINDS)
def test_updates_are_those_of_the_paper_coordinate_by_coordinate(name):
    optimizer = drawn(name)
    kernels = RANDOM.normal(size=(6, 3, 3, 2, 2)) * 10.0 ** RANDOM.integers(-6, 1, (6, 3, 3, 2, 2))
    params = {"conv": {"kernel": jnp.zeros((3, 3, 2, 2))}, "fc": {"bias": jnp.zeros(5)}}
    tx = optimizer.transformation(0.5)
    state, found = tx.init(params), []
    for kernel in kernels:
        grads = {
            "conv": {"kernel": jnp.asarray(kernel, jnp.float32)},
            "fc": {"bias": jnp.arange(5.0)},
        }
        updates, state = tx.update(grads, state, params)
        found.append(updates)
    network = {"l2o": ("conv", "fc"), "l2o_amalgam": ("all", "all")}[name]
    for place in ((0, 0, 0, 0), (2, 1, 1, 0)):
        expected = by_paper(name, optimizer.params[network[0]], np.float32(kernels)[:, *place])
        got = [one["conv"]["kernel"][place] for one in found]
        np.testing.assert_allclose(got, 0.5 * np.array(expected), rtol=2e-4, atol=1e-7)
    expected = by_paper(name, optimizer.params[network[1]], [3.0] * 6)
    got = [one["fc"]["bias"][3] for one in found]
    np.testing.assert_allclose(got, 0.5 * np.array(expected), rtol=2e-4, atol=1e-7)


def test_sizes_and_signs_of_gradients_are_read_as_published():
    read = log_and_sign(jnp.array([1.0, -np.exp(-2.5), np.exp(-6.0), 0.0]))
    expected = [[0, 1], [-0.5, -1], [-1, np.exp(-1)], [-1, 0]]
    np.testing.assert_allclose(read, expected, atol=1e-5)


@pytest.mark.parametrize("keras", [False, True])
def test_initial_parameters_have_the_published_distributions(keras):
    params = lstm.init(jax.random.key(1), 2, (200, 20), keras=keras)
    first = params["lstm_1"]
    np.testing.assert_array_equal(first["bias"].reshape(4, 200).mean(1), [0, 1, 0, 0])
    if keras:
        product = first["recurrent"] @ first["recurrent"].T
        np.testing.assert_allclose(product, np.eye(200), atol=1e-4)
        assert jnp.max(jnp.abs(first["kernel"])) <= np.sqrt(6 / 802)
    else:
        assert jnp.max(jnp.abs(first["recurrent"])) <= 2 / np.sqrt(202)
        assert float(jnp.std(first["recurrent"])) == pytest.approx(0.88 / np.sqrt(202), rel=0.02)


@pytest.mark.parametrize("name", KINDS)
def test_it_runs_under_jit_scan_and_vmap_and_inside_periodic(name):
    tx = drawn(name).transformation()
    inside = nowcast.periodic(tx, nowcast.load("linear"), every=3, min_drift=None)

    def steps(params):
        def one(carry, _):
            params, state = carry
            updates, state = inside.update(gradient(params), state, params)
            return (optax.apply_updates(params, updates), state), loss(params)

        return jax.lax.scan(one, (params, inside.init(params)), None, length=16)[0][0]

    alone = jax.jit(steps)(start())
    double = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), start())
    together = jax.jit(jax.vmap(steps))(double)
    close(jax.tree.map(lambda leaf: leaf[1], together), alone, rtol=1e-4, atol=1e-6)


def test_weights_keep_their_dtype_and_masked_ones_stay():
    tx = drawn("l2o").transformation()
    params = {"kernel": jnp.ones((2, 2), jnp.bfloat16), "bias": jnp.ones(2)}
    updates, _ = tx.update(params, tx.init(params), params)
    assert (updates["kernel"].dtype, updates["bias"].dtype) == (jnp.bfloat16, jnp.float32)
    masked = optax.masked(tx, {"kernel": True, "bias": False})
    updates, _ = masked.update(params, masked.init(params), params)
    np.testing.assert_array_equal(updates["bias"], params["bias"])


def test_an_operation_without_a_network_goes_to_the_one_that_is_there():
    tx = drawn("l2o", ["conv"]).transformation()
    params = {"fc": {"kernel": jnp.ones((2, 2))}}
    updates, _ = tx.update(params, tx.init(params), params)
    assert jnp.all(updates["fc"]["kernel"] != 0)


@pytest.mark.parametrize("name", KINDS)
def test_a_bundle_comes_back_as_it_was(name, tmp_path):
    optimizer = drawn(name)
    card = learned.save(optimizer, tmp_path / "mine", {"task": "mlp-digits"})
    again = learned.load(tmp_path / "mine")
    assert (again.name, again.card) == (name, card)
    jax.tree.map(np.testing.assert_array_equal, again.params, optimizer.params)


def test_each_that_comes_with_the_project_says_how_it_was_made():
    for name in KINDS:
        card = learned.load(name).card
        assert f"learner={name}" in card["command"]
        assert set(learned.load(name).params) == set(KINDS[name].networks)


def damaged(folder):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "judged": -1}))


def test_bundles_that_are_no_learned_optimizers_are_refused_in_one_line(tmp_path):
    learned.save(drawn("l2o"), tmp_path / "l2o", {})
    with pytest.raises(UserError, match="holds a learned optimizer and no forecaster"):
        nowcast.load(tmp_path / "l2o")
    with pytest.raises(UserError, match="'wnn', which is no learned optimizer"):
        learned.load(nowcast.bundle_folder.PRETRAINED / "wnn")
    with pytest.raises(UserError, match="neither a name nor a bundle's folder"):
        learned.load(tmp_path / "none")
    with pytest.raises(UserError, match=r"is a bundle of l2o, and the optimizer is l2o_amalgam"):
        optimizers.make("l2o_amalgam", bundle=str(tmp_path / "l2o"))
    damaged(tmp_path / "l2o")
    with pytest.raises(UserError, match="is not as it was written"):
        learned.load(tmp_path / "l2o")


def test_no_weights_are_refused():
    with pytest.raises(UserError, match="there are no weights"):
        drawn("l2o").transformation().init({})
