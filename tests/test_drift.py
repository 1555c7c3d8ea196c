"""Drift, and what ``min_drift`` makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import nowcast
from nowcast import history as window_of
from nowcast.drift import drift

LINEAR = nowcast.load("linear")
# Drift 1, a third, minus a third.
STRAIGHT, WAVERING, BACK = (
    [1, 1, 1, 1],
    [1, 0.5, -0.5, 1],
    [1, -1, -1, 1],
)


def filled(snapshots, jumping, dtype=None):
    """The history of a run's snapshots but the last one."""
    history = window_of.empty(snapshots[0], jumping, len(snapshots) - 2, dtype)
    for number, params in enumerate(snapshots[:-1]):
        history = window_of.record(history, jnp.array(number), params)
    return history


@pytest.mark.parametrize(("dtype", "tolerance"), [(None, 1e-5), ("bfloat16", 0.02)])
@pytest.mark.parametrize("size", [4, 5, 6])
def test_drift_is_the_mean_cosine_of_increments_that_are_apart(size, dtype, tolerance):
    rng = np.random.default_rng(size)
    runs = rng.normal(size=(size, 7)).cumsum(axis=0) + 0.5 * np.arange(size)[:, None]
    snapshots = [
        {"a": jnp.float32(x[:3]), "b": {"c": jnp.float32(x[3:5]), "still": jnp.float32(x[5:])}}
        for x in runs
    ]
    steps = np.diff(runs[:, :5], axis=0)
    cosines = [
        u @ v / np.linalg.norm(u) / np.linalg.norm(v)
        for i, u in enumerate(steps)
        for j, v in enumerate(steps)
        if j - i >= 2
    ]
    found = drift(size, filled(snapshots, [True, True, False], dtype), snapshots[-1])
    np.testing.assert_allclose(found, np.mean(cosines), atol=tolerance)


def test_weights_that_stand_still_do_not_drift():
    snapshots = [{"kernel": jnp.ones((2, 2))}] * 5
    assert drift(5, filled(snapshots, [True]), snapshots[-1]) == 0


def run(moves, **options):
    """A state after these moves of three weights alike, one snapshot each, and where they have come
    to.
    """
    jumps = nowcast.Jumps(forecaster=LINEAR, every=1, **options)
    params = {"kernel": jnp.zeros((1, 3))}
    state = jumps.init(params)
    for move in moves:
        params = {"kernel": params["kernel"] + move}
        params, state = jumps.step(params, state, value_fn=lambda p: jnp.sum(p["kernel"] ** 2))
    return params, state


@pytest.mark.parametrize(
    ("moves", "least", "jumps"),
    [
        (STRAIGHT, 0.99, True),
        (WAVERING, 0.3, True),
        (WAVERING, 0.4, False),
        (BACK, 0.0, False),
        (BACK, -0.4, True),
        (BACK, None, True),
    ],
)
def test_a_run_jumps_where_it_drifts_and_keeps_still_elsewhere(moves, least, jumps):
    params, state = run([1, *moves], min_drift=least)
    assert (int(state.accepted), int(state.refused)) == (jumps, not jumps)
    assert jumps != np.array_equal(params["kernel"], jnp.full((1, 3), 1.0 + sum(moves)))
    assert (float(state.damping) == 0) != jumps


@pytest.mark.parametrize(
    ("moves", "jumps"),
    [(STRAIGHT, True), (WAVERING, True), (BACK, False)],
    ids=["straight", "wavering", "back"],
)
def test_a_run_that_does_not_drift_keeps_still_unless_told_otherwise(moves, jumps):
    assert int(run([1, *moves])[1].accepted) == jumps
    assert int(run([1, *moves], min_drift=None)[1].accepted) == 1
    params, tx = {"kernel": jnp.zeros((1, 3))}, nowcast.periodic(optax.sgd(1.0), LINEAR, every=1)
    state = tx.init(params)
    for move in [1, *moves]:
        updates, state = tx.update({"kernel": jnp.full((1, 3), -float(move))}, state, params)
        params = optax.apply_updates(params, updates)
    assert (int(state.accepted), int(state.refused)) == (jumps, not jumps)


def test_a_window_too_short_for_the_default_is_refused_with_the_cure():
    with pytest.raises(
        nowcast.UserError, match=r"linear has 3; pass min_drift=None to jump always"
    ):
        nowcast.Jumps(forecaster=nowcast.forecasters.Linear(window=3), every=1)


def test_keeping_still_is_no_hurt():
    guard = nowcast.Guard(tolerance=1e9, give_up=1)
    _, state = run([1, *WAVERING] * 2 + [1, *STRAIGHT], min_drift=0.5, guard=guard)
    assert (int(state.accepted), int(state.refused), int(state.in_a_row)) == (1, 2, 0)


@pytest.mark.parametrize(("moves", "looks"), [(WAVERING, 0), (STRAIGHT, 2)])
def test_keeping_still_costs_neither_a_forecast_nor_a_look_at_the_loss(moves, looks):
    seen, jumps = (
        [],
        nowcast.Jumps(
            forecaster=LINEAR, every=1, min_drift=0.5, guard=nowcast.Guard(tolerance=1e9)
        ),
    )

    def loss(params):
        jax.debug.callback(seen.append, jnp.sum(params["kernel"]))
        return jnp.sum(params["kernel"] ** 2)

    params = {"kernel": jnp.zeros((1, 3))}
    state, step = (
        jumps.init(params),
        jax.jit(lambda params, state: jumps.step(params, state, value_fn=loss)),
    )
    for move in [1, *moves]:
        params, state = step({"kernel": params["kernel"] + move}, state)
    jax.effects_barrier()
    assert len(seen) == looks


def test_weights_that_are_no_numbers_are_a_hurt_and_no_want_of_drift():
    _, state = run([1, 1, np.nan, 1, 1], min_drift=0.5)
    assert (int(state.accepted), int(state.in_a_row)) == (0, 1)


def test_drift_takes_no_more_memory_than_a_forecast():
    jumps = nowcast.Jumps(forecaster=LINEAR, every=1, min_drift=0.5)
    params = {f"{i}": {"kernel": jnp.zeros((512, 512))} for i in range(4)}
    state = jumps.init(params)
    find = (
        jax.jit(lambda params, history: drift(5, history, params))
        .lower(params, state.history)
        .compile()
    )
    assert find.memory_analysis().temp_size_in_bytes <= 1.1 * sum(
        leaf.nbytes for leaf in jax.tree.leaves(params)
    )


def test_members_of_a_population_drift_each_by_its_own():
    tx = nowcast.periodic(optax.sgd(1.0), LINEAR, every=1, min_drift=0.9)
    params = {"kernel": jnp.zeros((2, 3))}
    state = jax.vmap(tx.init, out_axes=nowcast.POPULATION)(params)
    for straight, wavering in zip([1, *STRAIGHT], [1, *WAVERING], strict=True):
        grads = {"kernel": -jnp.stack([jnp.full(3, float(straight)), jnp.full(3, float(wavering))])}
        axes = (0, nowcast.POPULATION, 0)
        updates, state = jax.vmap(tx.update, in_axes=axes, out_axes=(0, nowcast.POPULATION))(
            grads, state, params
        )
        params = optax.apply_updates(params, updates)
    assert state.accepted.tolist() == [1, 0]
    np.testing.assert_allclose(params["kernel"], [[10.0] * 3, [3.0] * 3], rtol=1e-5)
