"""A run that goes on with other options than its state was made with jumps all the same."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import nowcast

LINEAR = nowcast.load("linear")


def run(state, params, steps, **options):
    """Parameters and state after so many steps of −1, and the numbers of the steps that took a
    snapshot.
    """
    tx = nowcast.periodic(
        optax.sgd(1.0), options.pop("forecaster", LINEAR), min_drift=None, **options
    )
    state = tx.init(params) if state is None else state
    step = jax.jit(
        lambda state, params: tx.update(jax.tree.map(jnp.ones_like, params), state, params)
    )
    taken = []
    for number in range(1, steps + 1):
        updates, after = step(state, params)
        if after.clock.step == 0:
            taken.append(number)
        params, state = optax.apply_updates(params, updates), after
    return params, state, taken


def begin():
    return {"kernel": jnp.zeros((2, 2))}


def test_a_smaller_every_takes_a_snapshot_at_once_and_then_every_n():
    params, state, _ = run(None, begin(), 7, every=10)
    assert state.clock.step == 7
    _, state, taken = run(state, params, 60, every=4)
    assert taken == list(range(1, 61, 4))
    assert len(taken) == 15
    assert (state.clock.windows, state.clock.filled, state.accepted) == (3, 0, 3)


def test_a_late_snapshot_begins_a_new_window():
    """Steps of −1, a snapshot each 2: the forecast 5 snapshots on is 10 lower, wherever the window
    began.
    """
    params, state, _ = run(None, begin(), 2 * 2 + 1, every=2)
    assert (state.clock.filled, state.clock.step) == (2, 1)
    params, state, taken = run(
        state, params, 9, every=1, forecaster=nowcast.forecasters.Linear(horizon=5)
    )
    assert taken == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert state.clock.windows == 1
    np.testing.assert_allclose(params["kernel"], -5 - 9 - 5, rtol=1e-5)


@pytest.mark.parametrize("stop_after", [None, 200])
def test_a_longer_stop_after_goes_on_with_a_window_of_its_own(stop_after):
    params, state, taken = run(None, begin(), 30, every=2, stop_after=14)
    assert taken == [2, 4, 6, 8, 10, 12, 14]
    assert (state.accepted, state.clock.total) == (1, 30)
    before = params["kernel"]
    params, state, taken = run(state, params, 9, every=2, stop_after=stop_after)
    assert taken == [1, 3, 5, 7, 9]
    assert state.accepted == 2
    np.testing.assert_allclose(params["kernel"], before - 9 - 10, rtol=1e-5)


def test_stop_after_counts_the_steps_that_were_and_not_those_of_the_options_now():
    params, state, _ = run(None, begin(), 150, every=10)
    assert state.accepted == 3
    _, state, taken = run(state, params, 250, every=40, stop_after=400)
    assert taken == [40, 80, 120, 160, 200, 240]
    assert state.accepted == 4
    params, state, _ = run(None, begin(), 150, every=10)
    _, state, taken = run(state, params, 100, every=4, stop_after=200)
    assert taken[-1] == 48
    assert state.accepted == 3 + 2


def test_a_window_of_one_snapshot_goes_on_from_one_of_two():
    params, state, _ = run(
        None, begin(), 1, every=1, forecaster=nowcast.forecasters.LastValue(window=2)
    )
    assert state.clock.filled == 1
    _, state, taken = run(
        state, params, 3, every=1, forecaster=nowcast.forecasters.LastValue(window=1)
    )
    assert taken == [1, 2, 3]
    assert state.accepted == 3


def test_a_guard_that_waits_longer_than_the_state_says_judges_all_the_same():
    """A clock that skips 0 still judges, and takes back the jump that hurt."""
    jumps = nowcast.Jumps(forecaster=LINEAR, every=1, guard=nowcast.WaitingGuard(after=3))
    params, state = begin(), jumps.init(begin())
    loss = lambda p: -jnp.sum(p["kernel"])  # noqa: E731
    for _ in range(5):
        params, state = jumps.step({"kernel": params["kernel"] - 1}, state, value_fn=loss)
    assert (state.clock.step, bool(state.kept.pending)) == (-3, True)
    state = state._replace(clock=state.clock._replace(step=jnp.int32(2)))
    params, state = jumps.step(params, state, value_fn=loss)
    assert (state.accepted, state.refused, bool(state.kept.pending)) == (0, 1, False)
    np.testing.assert_allclose(params["kernel"], -5)


def eager(state, **options):
    """A step outside ``jit``, where the state's clock is known."""
    return nowcast.Jumps(forecaster=LINEAR, **options).step(begin(), state)[1]


def test_a_stop_after_that_the_run_has_passed_with_jumps_is_refused():
    _, state, _ = run(None, begin(), 30, every=2)
    state = state._replace(inner=())
    with pytest.raises(
        nowcast.UserError, match="stop_after=20, and the state has a snapshot of step 30"
    ) as caught:
        eager(state, every=2, stop_after=20)
    assert "give a later step, or stop_after=30 to end the jumps now" in str(caught.value)
    assert eager(state, every=2, stop_after=30).clock.total == 31


def test_a_run_that_ended_its_jumps_goes_on_without_them():
    """Its options are those that it was made with, so a resumed run equals one that was not
    stopped.
    """
    _, state, _ = run(None, begin(), 30, every=2, stop_after=14)
    state = eager(state._replace(inner=()), every=2, stop_after=14)
    assert (state.clock.total, state.accepted) == (31, 1)
    guard = nowcast.WaitingGuard(after=3)
    jumps = nowcast.Jumps(forecaster=LINEAR, every=1, stop_after=5, guard=guard)
    state, params = jumps.init(begin()), begin()
    for _ in range(12):
        params, state = jumps.step(params, state, value_fn=lambda p: jnp.sum(p["kernel"]))
    assert state.clock.total == 12


@pytest.mark.parametrize(("made", "steps", "now"), [(20, 3, 40), (20, 3, 0), (0, 3, 40)])
def test_start_after_counts_from_init(made, steps, now):
    _, state, _ = run(None, begin(), steps, every=2, start_after=made)
    state = state._replace(inner=())
    with pytest.raises(
        nowcast.UserError,
        match=f"start_after={now}, and the state was made with .*{made or 'step 3'}",
    ):
        eager(state, every=2, start_after=now)
    assert eager(state, every=2, start_after=made).clock.total == steps + 1
