"""Loops outside ``jit``: plain Python where the clock is a number, so that nothing compiles step
after step.
"""

from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from runs import close, loss, start

import nowcast

GUARDS = {
    "plain": {},
    "guard": {"guard": nowcast.Guard.backtracking()},
    "guard that waits": {"guard": nowcast.WaitingGuard(after=2)},
    "drift": {"min_drift": 0.2},
    "moments": {"moments": "reset"},
    "stop": {"stop_after": 500},
}


@contextmanager
def compilations():
    """Counts what JAX traces and compiles meanwhile."""
    seen = []

    def listen(name, seconds, **about):
        if name in (
            "/jax/core/compile/jaxpr_trace_duration",
            "/jax/core/compile/backend_compile_duration",
        ):
            seen.append(about.get("fun_name", name))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def eager(options, steps, count_from, every):
    """The parameters and state after so many steps outside ``jit``, and what compiled from step
    ``count_from`` on.
    """
    tx, params = (
        nowcast.periodic(optax.adam(0.1), nowcast.load("linear"), every=every, **options),
        start(),
    )
    grads = jax.jit(jax.grad(loss))
    state = tx.init(params)

    def step(params, state):
        updates, state = tx.update(grads(params), state, params, value_fn=loss)
        return optax.apply_updates(params, updates), state

    for _ in range(count_from - 1):
        params, state = step(params, state)
    with compilations() as seen:
        for _ in range(steps - count_from + 1):
            params, state = step(params, state)
    return params, state, seen


@pytest.mark.parametrize("options", GUARDS.values(), ids=GUARDS)
def test_after_the_first_step_those_that_are_not_due_compile_nothing(options):
    _, state, seen = eager(options, steps=11, count_from=2, every=50)
    assert state.clock.step == 11
    assert seen == []


@pytest.mark.parametrize("options", GUARDS.values(), ids=GUARDS)
def test_after_the_first_jump_nothing_compiles_either(options):
    _, state, seen = eager(options, steps=24, count_from=15, every=2)
    assert state.clock.windows == 2
    assert seen == []


@pytest.mark.parametrize("options", GUARDS.values(), ids=GUARDS)
def test_an_eager_run_is_the_jitted_one(options):
    got, state, _ = eager(options, 24, 1, every=2)
    tx, params = (
        nowcast.periodic(optax.adam(0.1), nowcast.load("linear"), every=2, **options),
        start(),
    )

    @jax.jit
    def step(params, state):
        updates, state = tx.update(jax.grad(loss)(params), state, params, value_fn=loss)
        return optax.apply_updates(params, updates), state

    expected = tx.init(params)
    for _ in range(24):
        params, expected = step(params, expected)
    close(got, params, rtol=1e-4, atol=1e-4)
    assert (state.accepted, state.refused) == (expected.accepted, expected.refused)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(
        lambda x: (x.shape, x.dtype), expected
    )


def test_the_plain_form_compiles_nothing_either():
    jumps, params = nowcast.Jumps(forecaster=nowcast.load("linear"), every=50), start()
    params, state = jumps.step(params, jumps.init(params))
    with compilations() as seen:
        for _ in range(10):
            params, state = jumps.step(params, state)
    assert seen == []


def test_a_population_with_one_clock_takes_the_plain_branch_too():
    jumps, params = (
        nowcast.Jumps(forecaster=nowcast.load("linear"), every=2),
        {"kernel": jnp.ones((3, 2, 2))},
    )
    state = jax.vmap(jumps.init, out_axes=nowcast.POPULATION)(params)
    axes = (0, nowcast.POPULATION)
    for number in range(10):
        params = jax.tree.map(lambda x: x - 1, params)
        params, state = jax.vmap(jumps.step, in_axes=axes, out_axes=axes)(params, state)
        assert state.clock.windows == (number == 9)
    np.testing.assert_allclose(params["kernel"], 1 - 10 - 10, rtol=1e-5)


def test_a_state_on_the_host_goes_on_outside_jit():
    jumps, params = (
        nowcast.Jumps(forecaster=nowcast.load("linear"), every=1),
        {"kernel": np.zeros((2, 2), np.float32)},
    )
    state = jumps.init(params)
    for _ in range(5):
        params, state = jumps.step(
            {"kernel": np.asarray(params["kernel"]) - 1}, jax.device_get(state)
        )
    np.testing.assert_allclose(params["kernel"], -10, rtol=1e-5)
