"""What goes around an optimizer: against optax's Lookahead, and the papers' formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from runs import close, follow, loss, same, start

from collect.training import optimizers, wrappers

gradient = jax.grad(loss)
SGD, RATE, DECAY = optax.sgd(0.1), 0.1, 0.8
WRAPPERS = {
    "lookahead": lambda inner: wrappers.outer(inner, every=2, learning_rate=0.5, momentum=0.0),
    "snoo": lambda inner: wrappers.outer(inner, every=3, learning_rate=0.7, momentum=0.4),
    "averaged": lambda inner: wrappers.averaged(inner, DECAY),
}


def each(tree):
    """The leaves, in double precision."""
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize(("every", "share"), [(3, 0.5), (4, 0.8), (1, 0.3)])
def test_an_outer_step_without_momentum_is_optaxs_lookahead(every, share):
    tx = wrappers.outer(optimizers.make("adam"), every=every, learning_rate=share, momentum=0.0)
    path, states = follow(tx, start(), 10, gradient, learning_rate=np.float32(RATE))
    theirs = optax.lookahead(optax.adam(RATE), sync_period=every, slow_step_size=share)
    pairs, _ = follow(
        theirs, optax.LookaheadParams.init_synced(start()), 10, lambda pair: gradient(pair.fast)
    )
    for ours, state, pair in zip(path, states, pairs, strict=True):
        close(ours, pair.fast)
        close(state.slow, pair.slow)


@pytest.mark.parametrize(("every", "rate", "momentum"), [(3, 0.7, 0.4), (2, 1.0, 0.9)])
def test_an_outer_step_with_momentum_is_snoos(every, rate, momentum):
    tx = wrappers.outer(SGD, every=every, learning_rate=rate, momentum=momentum)
    path, states = follow(tx, start(), 10, gradient)
    for place, begun in enumerate(each(start())):
        fast, slow, b = begun, begun, np.zeros_like(begun)
        for step in range(1, 11):
            fast = fast + RATE * np.sin(fast)  # the loss is 1 + cos
            if step % every == 0:
                s = slow - fast
                b = momentum * b + s
                slow = fast = slow - rate * (momentum * b + s)
            np.testing.assert_allclose(each(path[step])[place], fast, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(each(states[step].slow)[place], slow, rtol=1e-5, atol=1e-5)


def test_the_average_is_that_of_all_weights_after_steps_without_what_it_began_from():
    path, states = follow(wrappers.averaged(SGD, DECAY), start(), 8, gradient)
    for step in range(1, 9):
        shares = DECAY ** np.arange(step)[::-1]
        parts = zip(*map(each, path[1 : step + 1]), strict=True)
        got = wrappers.mean_of(states[step], path[step], DECAY)
        for ours, leaf in zip(each(got), parts, strict=True):
            np.testing.assert_allclose(
                ours, np.tensordot(shares / shares.sum(), np.stack(leaf), 1), rtol=1e-5
            )
    # The first ones are all that it has seen.
    close(wrappers.mean_of(states[1], start(), DECAY), path[1])


def test_before_the_first_step_the_average_is_the_weights():
    same(wrappers.mean_of(wrappers.averaged(SGD, DECAY).init(start()), start(), DECAY), start())


def test_averaging_leaves_the_run_as_it_is():
    adam = optimizers.make("adam")
    path, states = follow(
        wrappers.averaged(adam, DECAY), start(), 8, gradient, learning_rate=np.float32(RATE)
    )
    plain, plain_states = follow(adam, start(), 8, gradient, learning_rate=np.float32(RATE))
    close(path[-1], plain[-1], rtol=1e-6, atol=1e-6)
    close(states[-1].inner, plain_states[-1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", WRAPPERS)
def test_the_state_is_final_from_the_start(name, dtype):
    tx = WRAPPERS[name](SGD)
    params = start(dtype)
    path, states = follow(tx, params, 6, gradient)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(path[-1]))
    for state in states:
        assert jax.tree.structure(state) == jax.tree.structure(states[0])
        for now, first in zip(jax.tree.leaves(state), jax.tree.leaves(states[0]), strict=True):
            assert (now.shape, now.dtype) == (first.shape, first.dtype)


@pytest.mark.parametrize("name", WRAPPERS)
def test_several_runs_together_are_the_runs_apart(name):
    tx = WRAPPERS[name](SGD)
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), start())

    def step(params, state):
        updates, state = tx.update(gradient(params), state, params)
        return optax.apply_updates(params, updates), state

    many, params, state = jax.jit(jax.vmap(step)), both, jax.vmap(tx.init)(both)
    for _ in range(5):
        params, state = many(params, state)
    for run, factor in enumerate((1, 2)):
        path, _ = follow(tx, jax.tree.map(lambda leaf, f=factor: f * leaf, start()), 5, gradient)
        close(jax.tree.map(lambda leaf, run=run: leaf[run], params), path[-1])
