"""Celo: against numbers of its authors' code and a NumPy version, as an optax transformation, in
the loop; and files that only look like its weights.
"""

import json
import os
from pathlib import Path

import celo_files
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from runs import close, loss, start
from test_evaluation import Line

import nowcast
from collect.training import optimizers
from collect.training.learned import celo, celo_file, celo_inputs
from collect.training.loop import Loop
from nowcast.types import UserError

GOLDEN = json.loads((Path(__file__).parent / "data" / "celo.json").read_text())
"""By ``length/step``: where the code published with Celo moved the leaves of ``celo_files.weights``
(github.com/amoudgl/celo, commit 66d9761), with ``celo_files.random_tensors``. ``authors/20``: the
same with the authors' weights.
"""
SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "reference" / "celo"
AUTHORS = Path(os.environ.get("CELO_THETA", SHARED / "theta.state"))
needs_authors = pytest.mark.skipif(
    not AUTHORS.exists(),
    reason="the authors' file lies outside the project; CELO_THETA=FILE names it",
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return celo_files.write(
        tmp_path_factory.mktemp("celo") / "theta.state", celo_files.random_tensors()
    )


@pytest.fixture(scope="module")
def net(file):
    return celo.load(file)


def compare(net, length, golden):
    """Compare a run of this length, step by step, with the numbers whose keys begin so."""
    tx, begun = net.transformation(length), celo_files.weights()
    params = jax.tree.map(jnp.asarray, begun)
    state, update, compared = tx.init(params), jax.jit(tx.update), 0
    for step, (grads, value) in enumerate(celo_files.gradients_and_losses(), start=1):
        updates, state = update(grads, state, params, value=value)
        params = optax.apply_updates(params, updates)
        for name, leaf in GOLDEN.get(f"{golden}/{step}", {}).items():
            expected = np.reshape(leaf, celo_files.SHAPES[name])
            way = np.linalg.norm(expected - begun[name])
            bound = 1e-4 * way + 2e-7 * np.linalg.norm(expected)  # and what float32 cannot hold
            assert np.linalg.norm(params[name] - expected) < bound, (step, name)
            compared += 1
    assert compared == len(begun) * sum(key.startswith(f"{golden}/") for key in GOLDEN) > 0


@pytest.mark.parametrize("length", [20, 3000])
def test_a_run_is_that_of_the_published_code(net, length):
    compare(net, length, str(length))


@needs_authors
def test_a_run_with_the_authors_weights_is_that_of_the_published_code():
    compare(celo.load(AUTHORS), celo_files.STEPS, "authors")


def test_the_scheduler_is_the_papers_in_numpy(net):
    """The loss's running means, the time and the LSTM, once more in double precision."""
    theta = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), net.theta)
    length, decays = 40, np.exp(-1 / np.logspace(1, np.log10(40), 10))
    means, lowest, h, c = np.zeros(10), np.full(10, 1e12), theta.hidden, theta.cell
    tx = net.transformation(length)
    state = tx.init({})
    for step, (_, value) in enumerate(celo_files.gradients_and_losses()):
        highest = value if step == 0 else (means / (1 - decays ** (step + 1))).max()
        means = decays * means + (1 - decays) * min(value, 2 * highest)
        corrected = means / (1 - decays ** (step + 1))
        lowest = np.minimum(lowest, corrected)
        span = np.maximum(corrected[1:] - lowest[:-1], 1e-8)
        place = np.clip((corrected - lowest)[:-1] / span - 1, -1, 1) * (step >= 2)
        x = np.r_[np.tanh(10 * (step / length - np.array(celo_inputs.TIMES))), place]
        x = np.maximum(x @ theta.mixed.kernel + theta.mixed.bias, 0) + (
            x @ theta.plain.kernel + theta.plain.bias
        )
        i, g, f, o = np.split(np.r_[x, h] @ theta.lstm.kernel + theta.lstm.bias, 4)
        c = c / (1 + np.exp(-f - 1)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        _, state = tx.update({}, state, {}, value=value)
        hidden = np.asarray(state.scheduler.hidden)
        np.testing.assert_allclose(hidden, h, rtol=1e-3, atol=1e-3)
    assert int(state.scheduler.step) == celo_files.STEPS


def test_it_runs_under_jit_scan_and_vmap_and_inside_periodic(net):
    tx = net.transformation(16)
    inside = nowcast.periodic(tx, nowcast.load("linear"), every=3, min_drift=None)

    def steps(params):
        def one(carry, _):
            params, state = carry
            value, grads = jax.value_and_grad(loss)(params)
            updates, state = inside.update(grads, state, params, value=value)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(one, (params, inside.init(params)), None, length=16)[0][0]

    alone = jax.jit(steps)(start())
    double = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), start())
    together = jax.jit(jax.vmap(steps))(double)
    close(jax.tree.map(lambda leaf: leaf[1], together), alone, rtol=1e-3, atol=1e-4)


def test_the_state_is_final_from_the_start_and_as_large_as_said(net):
    tx, params = net.transformation(9), {"kernel": jnp.ones((50, 20)), "bias": jnp.ones(20)}
    begun = tx.init(params)
    _, state = tx.update(params, begun, params, value=jnp.array(1.0))
    assert jax.tree.map(jax.typeof, begun) == jax.tree.map(jax.typeof, state)
    assert not any(jax.typeof(leaf).weak_type for leaf in jax.tree.leaves((begun, state)))
    assert sum(leaf.size for leaf in jax.tree.leaves(begun.moments)) == 4000 + 3 * 70 + 7 * 20 + 1
    assert sum(leaf.size for leaf in jax.tree.leaves(begun.scheduler)) == 149


def test_the_loss_may_be_a_function_and_the_rate_is_a_factor(net):
    params, grads = start(), jax.grad(loss)(start())

    def moved(rate=1.0, **given):
        tx = net.transformation(5, rate)
        return tx.update(grads, tx.init(params), params, **given)[0]

    expected = moved(value=loss(params))
    close(moved(value_fn=loss), expected, rtol=1e-6)
    close(moved(0.5, value=loss(params)), jax.tree.map(lambda u: u / 2, expected), rtol=1e-6)


def test_weights_keep_their_dtype_and_masked_ones_stay(net):
    tx = net.transformation(5)
    params = {"kernel": jnp.ones((2, 2), jnp.bfloat16), "bias": jnp.ones(2)}
    updates, state = tx.update(params, tx.init(params), params, value=1.0)
    assert (updates["kernel"].dtype, updates["bias"].dtype) == (jnp.bfloat16, jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.moments)} == {jnp.dtype("float32")}
    masked = optax.masked(tx, {"kernel": True, "bias": False})
    updates, _ = masked.update(params, masked.init(params), params, value=1.0)
    np.testing.assert_array_equal(updates["bias"], params["bias"])


def test_a_jump_that_resets_moments_lets_the_scheduler_go_on(net):
    tx = net.transformation(5)
    _, state = tx.update(start(), tx.init(start()), start(), value=1.0)
    after = nowcast.moments.renewed(tx, state, start())
    assert not any(jnp.any(leaf) for leaf in jax.tree.leaves(after.moments))
    jax.tree.map(np.testing.assert_array_equal, after.scheduler, state.scheduler)


def test_what_a_step_needs_is_asked_for(net):
    tx = net.transformation(5)
    with pytest.raises(UserError, match=r"the loss is missing; .*params, value=loss\)"):
        tx.update(start(), tx.init(start()), start())
    with pytest.raises(UserError, match="params are missing"):
        tx.update(start(), tx.init(start()), value=1.0)
    with pytest.raises(UserError, match="steps=0 must be a whole number of steps"):
        net.transformation(0)
    with pytest.raises(UserError, match=r"needs the file of its weights .* celo=FILE"):
        optimizers.make("celo")


def damaged(path, what):
    tensors = celo_files.random_tensors()
    if what == "nothing there":
        return path / "none"
    if what == "cut":
        whole = celo_files.write(path, tensors).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        return path
    if what == "no msgpack":
        path.write_text("version https://git-lfs.github.com/spec/v1\n")
        return path
    if what == "another rule":  # as celo_adam: less inputs
        del tensors["ff_mod_stack/~/w0__13"]
    elif what == "another size":
        tensors["rnn_params/linear_1/w"] = np.zeros((18, 512), np.float32)
    elif what == "another dtype":
        tensors["ff_mod_stack/~/w1"] = np.zeros((1, 4, 4))
    elif what == "not finite":
        tensors["ff_mod_stack/~/w1"][0, 0, 0] = np.nan
    else:
        tensors["ff_mod_stack/~/w3"] = np.zeros(3, np.float32)
    return celo_files.write(path, tensors)


@pytest.mark.parametrize(
    ("what", "said"),
    {
        "nothing there": "cannot be read",
        "cut": "is cut off, or no msgpack",
        "no msgpack": "no msgpack|is not Celo's",
        "another rule": "tensor ff_mod_stack/~/w0__13 is not there",
        "another size": r"tensor rnn_params/linear_1/w has shape \(18, 512\), not \(18, 64\)",
        "another dtype": "tensor ff_mod_stack/~/w1 has dtype float64, not float32",
        "not finite": "tensor ff_mod_stack/~/w1 holds values that are not finite",
        "one more": "it has a tensor ff_mod_stack/~/w3",
    }.items(),
)
def test_a_file_of_anything_else_is_refused_in_one_line(tmp_path, what, said):
    with pytest.raises(UserError, match=said) as caught:
        celo.load(damaged(tmp_path / "theta.state", what))
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("theta.state of github.com/amoudgl/celo")


@pytest.mark.parametrize("together", [False, True])
def test_the_loop_trains_by_it(net, file, together):
    task, rates = Line(), np.ones(6, np.float32)
    tx = nowcast.periodic(
        optimizers.make("celo", task, str(file), 6), nowcast.load("linear"), every=7
    )
    loop, own = Loop(task, tx, nowcast.POPULATION), net.transformation(6)
    if together:
        *_, [last, _] = loop.run_together([0, 1], np.stack([rates, rates]))
    else:
        *_, last = loop.run(0, rates)
    program = (loop.together if together else loop.one_run).program
    assert program._cache_size() == 1  # nothing is compiled again at the second step
    params, extra = task.init(0)
    state = own.init(params)
    for step in range(6):
        batch = task.batch(task.arrays, task.order(0, step // 4)[step % 4])
        value, grads = jax.value_and_grad(lambda p, b=batch: task.loss(p, extra, b, None)[0])(
            params
        )
        updates, state = jax.jit(own.update)(grads, state, params, value=value)
        params = optax.apply_updates(params, updates)
    close(last.state.params, params, rtol=1e-4)


def test_a_path_alone_names_no_weights(file, tmp_path):
    """Runs are kept for what a file holds: a copy of it has the same identity."""
    copy = tmp_path / "copy.state"
    copy.write_bytes(file.read_bytes())
    other = celo_files.write(tmp_path / "other.state", celo_files.random_tensors(1))
    assert celo_file.identity(copy) == celo_file.identity(file) != celo_file.identity(other)
