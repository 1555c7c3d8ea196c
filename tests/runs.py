"""Short made-up runs, and what is said of their trees."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import nowcast

EVERY, WINDOW = 2, 3
PERIOD = EVERY * WINDOW
LINEAR = nowcast.forecasters.Linear(window=WINDOW, horizon=2)
"""Of the runs of ``train``."""


def start(dtype=jnp.float32):
    """Parameters with a leaf of each operation that a WNN forecasts."""
    rng = np.random.default_rng(0)
    shapes = {"conv": {"kernel": (2, 2, 1, 3)}, "head": {"bias": (4,), "kernel": (3, 4)}}
    tree = jax.tree.map(
        lambda s: rng.normal(size=s), shapes, is_leaf=lambda s: isinstance(s, tuple)
    )
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)


def follow(tx, params, steps, gradient, state=None, **extra):
    """``(parameters, states)``: before the first step and after each; ``extra`` goes to every
    update.
    """

    @jax.jit
    def step(params, state):
        updates, state = tx.update(gradient(params), state, params, **extra)
        return optax.apply_updates(params, updates), state

    path, states = [params], [tx.init(params) if state is None else state]
    for _ in range(steps):
        params, state = step(path[-1], states[-1])
        path.append(params)
        states.append(state)
    return path, states


def loss(params):
    return sum(jnp.sum(1 + jnp.cos(x)) for x in jax.tree.leaves(params))


def train(
    steps, params=None, inner=None, forecaster=LINEAR, state=None, *, value_fn=loss, **options
):
    """The parameters after every step, from the start on, and the last state."""
    tx = nowcast.periodic(
        inner or optax.sgd(0.1), forecaster, **({"every": EVERY, "min_drift": None} | options)
    )
    path, states = follow(
        tx, start() if params is None else params, steps, jax.grad(loss), state, value_fn=value_fn
    )
    return path, states[-1]


def without_jumps(steps, params, inner=None):
    """The same without jumps."""
    path, states = follow(inner or optax.sgd(0.1), params, steps, jax.grad(loss))
    return path, states[-1]


def same(got, expected):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def close(got, expected, *, rtol=1e-5, atol=1e-5):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(lambda g, e: np.testing.assert_allclose(g, e, rtol=rtol, atol=atol), got, expected)
