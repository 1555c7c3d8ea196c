"""Jumps at named steps, ``at=[…]``, against runs written down in NumPy, from the paper's words:
the weights at steps t, 0.7t, 0.4t and 0 give those at 2t (Sinha et al., ICLR 2017).
"""

import random
from itertools import count

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from orbax.checkpoint import v1 as ocp
from runs import close, follow, loss, same, start

import nowcast
from nowcast.forecasters import Noise
from nowcast.timetable import NamedSteps

RATE = 0.05
INTROSPECTION = nowcast.load("introspection")


def gradient(x, xp=np):
    return 0.6 * x + xp.cos(4 * x)


def by_hand(x, at, steps, jump):
    """The weights after each step; ``jump`` takes those at 0, 0.4t, 0.7t and t."""
    before_jumps, path = [x], []
    for step in range(1, steps + 1):
        x = x - RATE * gradient(x)
        before_jumps.append(x)
        if step in at:
            x = jump([before_jumps[round(part * step)] for part in (0, 0.4, 0.7, 1)])
        path.append(x)
    return np.stack(path)


def fit(degree, aim):
    """A polynomial fit, read off at ``aim``; NumPy's own."""

    def jump(window):
        flat = np.stack(window).reshape(4, -1)
        fitted = np.polyfit([0, 0.4, 0.7, 1], flat, degree)
        return sum(c * aim**power for power, c in enumerate(fitted[::-1])).reshape(window[0].shape)

    return jump


def network(params):
    """The network of 241 parameters, inputs and output times 1000."""
    layers = jax.tree.map(np.asarray, params["all"])

    def jump(window):
        inputs = 1000 * np.stack([w.ravel() for w in window[::-1]], axis=1)
        hidden = np.maximum(inputs @ layers["hidden"]["kernel"] + layers["hidden"]["bias"], 0)
        out = hidden @ layers["out"]["kernel"] + layers["out"]["bias"]
        return out.reshape(window[0].shape) / 1000

    return jump


def run(tx, x, steps):
    """A run inside one ``lax.scan``: the weights after each step, and the last state."""

    def step(carry, _):
        params, state = carry
        grads = {"kernel": gradient(params["kernel"], jnp)}
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params["kernel"]

    params = {"kernel": jnp.asarray(x)}
    (_, state), path = jax.jit(
        lambda params: jax.lax.scan(step, (params, tx.init(params)), length=steps)
    )(params)
    return np.asarray(path), state


def drawn(seed):
    """Some steps to jump after, some of them close to each other."""
    draw = random.Random(seed)
    return sorted(draw.sample(range(3, 60), draw.choice([1, 2, 4, 7])))


CASES = [[30, 40, 50], [14, 17, 20], [3], [3, 4, 5, 6, 7], [12, 17], *map(drawn, range(5))]
"""14 is 0.7 · 20: the snapshot is of the weights before the jump."""


@pytest.mark.parametrize("at", CASES, ids=str)
@pytest.mark.parametrize(
    ("name", "aim", "jump"), [("linear", 1.1, fit(1, 1.1)), ("quadratic", None, fit(2, 2))]
)
def test_polynomial_fits_jump_as_numpys_do(at, name, aim, jump):
    x = np.random.default_rng(0).normal(size=(4, 3))
    with jax.enable_x64(True):
        tx = nowcast.periodic(
            optax.sgd(RATE), nowcast.load(name), at=at, aim=aim, min_drift=None, damping=0.5
        )
        path, state = run(tx, x, 60)
    expected = by_hand(x, at, 60, lambda w: w[-1] + 0.5 * (jump(w) - w[-1]))
    np.testing.assert_allclose(path, expected, rtol=1e-8, atol=1e-8)
    assert (state.accepted, state.clock.windows, state.clock.total) == (len(at), len(at), 60)


def test_introspection_jumps_by_the_four_weights_alone():
    x, at = np.random.default_rng(0).normal(size=(4, 3)), [10, 17, 25]
    with jax.enable_x64(True):
        tx = nowcast.periodic(optax.sgd(RATE), INTROSPECTION, at=at, min_drift=None)
        path, state = run(tx, x, 30)
    np.testing.assert_allclose(path, by_hand(x, at, 30, network(INTROSPECTION.params)), rtol=1e-6)
    assert state.accepted == 3


def test_it_is_introspection_of_windows_of_11_where_these_begin_at_step_0():
    options = {"forecaster": INTROSPECTION, "min_drift": None}
    ours, other = nowcast.Jumps(at=[10], **options), nowcast.Jumps(every=1, **options)
    first = start()
    path, state = [first], ours.init(first)
    window, empty = [first], other.init(first)
    # A window of 11 holds no step 0: shift it by one step.
    empty = other.step(first, empty)[1]
    for number in range(1, 11):
        moved = jax.tree.map(lambda x, n=number: x + 0.01 * n * jnp.cos(x), path[0])
        window.append(moved)
        got, state = ours.step(moved, state)
        wanted, empty = other.step(moved, empty)
    close(got, wanted, rtol=0, atol=1e-6)
    assert state.accepted == empty.accepted == 1
    assert len(state.history.moved) == 2 < len(empty.history.moved) == 9


def alive(at, step):
    """Snapshots after this step that jumps to come will read, besides step 0."""
    return {
        round(part * jump)
        for jump in at
        for part in (0.4, 0.7)
        if round(part * jump) <= step < jump
    }


@pytest.mark.parametrize("at", [*CASES, [3000, 4000, 5000], [6000, 8000, 10000]], ids=str)
def test_the_history_holds_what_jumps_to_come_will_read_and_no_more(at):
    times = NamedSteps(tuple(at))
    most = max(len(alive(at, step)) for step in range(at[-1]))
    # A snapshot at the step of a jump is stored before that jump has read its own.
    also = any(step in at for step in times.places)
    assert most <= times.kept <= most + also
    # A place is taken by one snapshot at a time.
    for step in range(at[-1]):
        held = [times.places[one] for one in alive(at, step)]
        assert len(held) == len(set(held))


def test_three_jumps_of_the_paper_need_five_snapshots_and_the_start():
    assert NamedSteps((3000, 4000, 5000)).kept == 5
    assert NamedSteps((3000,)).kept == 2
    tx = nowcast.periodic(optax.sgd(0.1), INTROSPECTION, at=[3000, 4000, 5000])
    size = sum(leaf.size for leaf in jax.tree.leaves(start()))
    assert sum(leaf.size for leaf in jax.tree.leaves(tx.init(start()).history)) == 6 * size


def make(**options):
    given = {"at": [6, 8, 10], "min_drift": None} | options
    return nowcast.periodic(optax.adam(0.05), INTROSPECTION, **given)


def train(tx, params, steps, state=None, **extra):
    path, states = follow(tx, params, steps, jax.grad(loss), state, **extra)
    return path, states[-1]


def test_the_state_is_final_from_init_and_nothing_compiles_twice():
    tx, params = make(), start()
    state = tx.init(params)
    described = jax.tree.map(jax.typeof, state)
    traces = count()

    @jax.jit
    def step(params, state):
        next(traces)
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(11):
        params, state = step(params, state)
        assert jax.tree.map(jax.typeof, state) == described
    assert next(traces) == 1
    assert state.clock._asdict() == {"step": 1, "filled": 5, "windows": 3, "total": 11}


@pytest.mark.parametrize("stopped", [3, 5, 6, 9])
def test_a_run_survives_a_checkpoint_between_its_snapshots(tmp_path, stopped):
    tx, params = make(), start()
    whole, _ = train(tx, params, 12)
    path, state = train(tx, params, stopped)
    ocp.save(tmp_path / "saved", {"params": path[-1], "state": state})
    loaded = ocp.load(tmp_path / "saved", {"params": params, "state": tx.init(params)})
    same(loaded["state"], state)
    resumed, _ = train(tx, loaded["params"], 12 - stopped, loaded["state"])
    same(resumed[-1], whole[-1])


def test_members_of_a_population_are_runs_of_their_own():
    tx, axes = make(), (0, nowcast.POPULATION)
    params = [start(), jax.tree.map(lambda x: 0.7 * x + 0.1, start())]
    together = jax.tree.map(lambda *x: jnp.stack(x), *params)
    state = jax.vmap(tx.init, out_axes=nowcast.POPULATION)(together)

    def step(params, state):
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    step = jax.jit(jax.vmap(step, in_axes=axes, out_axes=axes))
    for _ in range(11):
        together, state = step(together, state)
    for number, own in enumerate(params):
        close(jax.tree.map(lambda x, n=number: x[n], together), train(tx, own, 11)[0][-1])


def test_an_eager_loop_does_what_a_compiled_one_does():
    tx, params = make(), start()
    state = tx.init(params)
    for _ in range(11):
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
    close(params, train(tx, start(), 11)[0][-1])


def test_leaves_that_do_not_jump_keep_no_history():
    tx = make(operations=("fc",), history_dtype="bfloat16")
    path, state = train(tx, start(), 6)
    plain, _ = train(optax.adam(0.05), start(), 6)
    close(path[-1]["conv"], plain[-1]["conv"])
    assert np.abs(path[-1]["head"]["kernel"] - plain[-1]["head"]["kernel"]).max() > 1e-4
    assert {leaf.shape for leaf in jax.tree.leaves(state.history)} == {(3, 4)}
    assert {leaf.dtype for leaf in jax.tree.leaves(state.history.moved)} == {jnp.dtype("bfloat16")}


def test_the_drift_is_that_of_the_first_and_the_last_movement():
    # Straight on until 0.7t, then back.
    moves = [1.0] * 7 + [-1.0] * 3
    for least, jumped in ((0.2, 0), (None, 1)):
        jumps = nowcast.Jumps(forecaster=INTROSPECTION, at=[10], min_drift=least)
        params = start()
        state = jumps.init(params)
        for move in moves:
            params = jax.tree.map(lambda x, m=move: x + m * 0.01, params)
            params, state = jumps.step(params, state)
        assert (state.accepted, state.refused) == (jumped, 1 - jumped)


def test_a_guard_shortens_a_jump():
    guard = nowcast.Guard.backtracking()
    value_fn = lambda p: sum(jnp.sum(x**2) for x in jax.tree.leaves(p))  # noqa: E731
    tx = nowcast.periodic(
        optax.sgd(0.01), nowcast.load("linear"), at=[10], aim=50, guard=guard, min_drift=None
    )
    path, states = follow(tx, start(), 11, jax.grad(value_fn), value_fn=value_fn)
    assert states[10].accepted == 1
    assert 0 < states[10].damping < 4
    assert value_fn(path[10]) < value_fn(path[9])


def test_moments_may_be_reset():
    keep, reset = (train(make(moments=how), start(), 12)[1] for how in ("keep", "reset"))
    assert keep.inner[0].count == 12
    assert reset.inner[0].count == 2


def test_noise_is_as_long_as_the_jump_of_introspection():
    noise = train(nowcast.periodic(optax.sgd(0.1), Noise(of=INTROSPECTION), at=[6]), start(), 6)
    forecast = train(nowcast.periodic(optax.sgd(0.1), INTROSPECTION, at=[6]), start(), 6)
    plain, _ = train(optax.sgd(0.1), start(), 6)
    for leaves in zip(
        *(jax.tree.leaves(path[-1]) for path in (noise[0], forecast[0], plain)), strict=True
    ):
        away = [np.linalg.norm(leaf - leaves[2]) for leaf in leaves[:2]]
        np.testing.assert_allclose(*away, rtol=1e-3)


def test_without_a_jump_it_is_the_inner_optimizer_and_the_last_value_is_no_jump():
    plain, _ = train(optax.adam(0.05), start(), 12)
    tx = nowcast.periodic(optax.adam(0.05), nowcast.load("last_value"), at=[6, 10], min_drift=None)
    path, state = train(tx, start(), 12)
    close(path[-1], plain[-1])
    assert state.accepted == 2


def test_the_steps_of_a_run_are_those_within_it():
    jumps = nowcast.Jumps(forecaster=INTROSPECTION, at=[6, 8, 10])
    assert [list(jumps.steps(length)) for length in (5, 8, 99)] == [[], [6, 8], [6, 8, 10]]
    assert jumps == nowcast.Jumps(forecaster=INTROSPECTION, at=(6, 8, 10))
    assert hash(jumps) == hash(nowcast.Jumps(forecaster=INTROSPECTION, at=[6, 8, 10]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"at": [8, 6]}, "at: step 6 comes after step 8; name each step once, in ascending order"),
        ({"at": [6, 6]}, "at: step 6 comes after step 6"),
        ({"at": [2, 6]}, "at: step 2 is too early"),
        ({"at": []}, r"at=\[\] lets nothing jump"),
        ({"at": "6"}, "at='6' must be a list of steps"),
        ({"at": 6}, "at=6 must be a list of steps"),
        ({"at": [6.5]}, r"at=6\.5 must be a whole number of optimizer steps"),
        ({"every": 5}, "at and every=5 exclude each other"),
        ({"start_after": 5}, "at and start_after=5 exclude each other"),
        ({"stop_after": 5}, "at and stop_after=5 exclude each other"),
        ({"horizon": 5}, "at and horizon=5 exclude each other: .* give aim=2"),
        ({"guard": nowcast.WaitingGuard(after=2)}, "at and guard=.* exclude each other"),
        ({"aim": 3}, "aim=3: this introspection was fitted to forecast 2 times the step only"),
        ({"aim": "far"}, "aim='far' must be a number above 1"),
        ({"aim": 1, "forecaster": nowcast.load("linear")}, "aim=1 must be above 1"),
        ({"forecaster": nowcast.load("wnn")}, "at: wnn reads evenly spaced snapshots"),
        ({"forecaster": nowcast.load("gram")}, "at: gram reads evenly spaced snapshots"),
        ({"at": None}, r"every=None must be a whole number of optimizer steps, or at="),
        ({"at": None, "every": 5, "aim": 3}, r"aim=3 belongs to at="),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_line(options, said, unchecked):
    given = {"forecaster": INTROSPECTION, "at": [6, 8]} | options
    with pytest.raises(nowcast.UserError, match=f"^{said}") as caught:
        nowcast.Jumps(**given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ({"at": [6, 8, 10]}, {"at": [6]}, r"window is of 6 snapshots, and at=\[6\] needs 4"),
        ({"every": 1}, {"at": [6]}, r"window is of 11 snapshots, and at=\[6\] needs 4"),
        ({"at": [6]}, {"every": 1}, "window is of 4 snapshots, and introspection reads 11"),
        (
            {"at": [5, 50]},
            {"at": [6, 50]},
            "by step 5 that is 2 snapshots and 0 jumps, and the state has 2 and 1",
        ),
    ],
    ids=str,
)
def test_a_state_of_other_steps_is_refused(was, now, said):
    options = {"forecaster": INTROSPECTION, "min_drift": None}
    made = nowcast.Jumps(**options, **was)
    state = made.init(start())
    for _ in range(5):
        _, state = made.step(start(), state)
    with pytest.raises(nowcast.UserError, match=said):
        nowcast.Jumps(**options, **now).step(start(), state)
