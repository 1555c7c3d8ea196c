"""The guard: it stops what hurts, lets pass what does not, and takes back exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from runs import close, follow, same

import nowcast
from nowcast import Guard, WaitingGuard, history

EVERY, WINDOW = 2, 3
PERIOD = EVERY * WINDOW


class Far(nowcast.Forecaster):
    """Jumps by as much as is said: towards the minimum at 0 when it is negative."""

    name = "far"
    share = 0.0

    def leaf(self, history, operation, horizon):
        return history[-1] * (1 + self.share)


def far(share):
    return type("Far", (Far,), {"share": share})(window=WINDOW)


def start():
    rng = np.random.default_rng(0)
    return {
        "kernel": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32),
        "bias": jnp.asarray(rng.normal(size=4), jnp.float32),
    }


def loss(params):
    return sum(jnp.sum(x**2) for x in jax.tree.leaves(params))


def gradient(params):
    return jax.tree.map(lambda x: 0.1 * x, params)


def train(steps, share, guard, inner=None, *, value_fn=loss, **options):
    tx = nowcast.periodic(
        inner or optax.adam(0.001), far(share), every=EVERY, min_drift=None, guard=guard, **options
    )
    return follow(tx, start(), steps, gradient, value_fn=value_fn)


def without_jumps(steps, inner=None):
    return follow(inner or optax.adam(0.001), start(), steps, gradient)


FREE, STATES = without_jumps(8 * PERIOD)


@pytest.mark.parametrize(
    ("share", "taken"),
    [(-0.5, True), (0.5, False), (-2.5, False), (float("nan"), False), (1e30, False)],
)
def test_a_jump_that_raises_the_loss_is_not_taken(share, taken):
    path, states = train(PERIOD, share, Guard())
    assert (states[-1].accepted, states[-1].refused) == ((1, 0) if taken else (0, 1))
    assert states[-1].damping == (1 if taken else 0)
    if taken:
        close(path[-1], jax.tree.map(lambda x: x * (1 + share), FREE[PERIOD]))
    else:  # exactly as if nothing had been tried
        same(path[-1], FREE[PERIOD])
        same(states[-1].inner, STATES[PERIOD])


def test_tolerance_is_a_share_of_the_loss():
    # A jump by a tenth raises this loss by 21 %.
    for tolerance, taken in ((0.2, False), (0.22, True)):
        assert train(PERIOD, 0.1, Guard(tolerance=tolerance))[1][-1].accepted == taken
    below_zero = lambda p: loss(p) - 1e6  # noqa: E731
    assert train(PERIOD, 0.1, Guard(tolerance=0.2), value_fn=below_zero)[1][-1].accepted == 1
    assert train(PERIOD, 0.1, Guard(), value_fn=below_zero)[1][-1].accepted == 0


@pytest.mark.parametrize(
    ("share", "dampings", "best"),
    [
        (-1.5, (0.25, 0.5, 1.0), 0.5),
        (-0.9, (1.0, 0.5), 1.0),
        (-8.0, (0.125, 0.5, 1.0), 0.125),
        (0.5, (-0.5, 1.0), -0.5),
        (0.5, (0.5, 1.0), 0.0),
        (float("inf"), (0.5, 1.0), 0.0),
    ],
)
def test_the_best_damping_is_taken(share, dampings, best):
    path, states = train(PERIOD, share, Guard(dampings=dampings))
    assert states[-1].damping == best
    expected = (
        FREE[PERIOD] if best == 0 else jax.tree.map(lambda x: x * (1 + best * share), FREE[PERIOD])
    )
    close(path[-1], expected)
    assert states[-1].accepted == (best != 0)


FAST = optax.sgd(0.2)
"""A step makes this loss 4 % lower, and a window 15 %."""


@pytest.mark.parametrize(
    ("share", "tolerance", "gone"),
    # A jump by `share` times d multiplies the loss by (1 + share d)².
    [
        (-0.25, 0.0, 4.0),
        (-0.75, 0.0, 2.0),
        (-1.5, 0.0, 1.0),
        (0.01, 0.05, 2.0),
        (0.19, 0.05, 0.125),
        (0.3, 0.05, 0.0),
        (float("nan"), 1.0, 0.0),
    ],
)
def test_backtracking_goes_as_far_as_the_loss_lets_it(share, tolerance, gone):
    path, states = train(PERIOD, share, Guard.backtracking(tolerance=tolerance), FAST)
    assert states[-1].damping == gone
    assert (states[-1].accepted, states[-1].refused) == (gone > 0, gone == 0)
    close(
        path[-1],
        jax.tree.map(
            lambda x: x * (1 + gone * share if gone else 1), without_jumps(PERIOD, FAST)[0][-1]
        ),
    )


def test_backtracking_lets_no_loss_rise_unasked():
    assert Guard.backtracking() == Guard.backtracking(tolerance=0.0)
    assert train(PERIOD, 0.01, Guard.backtracking(), FAST)[1][-1].damping == 0


@pytest.mark.parametrize(("share", "gone"), [(0.08, 1.0), (0.16, 0.5), (0.5, 0.125), (0.7, 0.0)])
def test_backtracking_costs_no_more_than_the_window_gained(share, gone):
    inner = lambda sign: optax.sgd(sign * 0.2)  # noqa: E731
    path, states = train(PERIOD, share, Guard.backtracking(tolerance=9.0), inner(1))
    assert states[-1].damping == gone
    first, before = (loss(without_jumps(PERIOD, inner(1))[0][step]) for step in (EVERY, PERIOD))
    assert loss(path[-1]) <= first
    assert gone == 0 or before * (1 + 2 * gone * share) ** 2 > first  # twice as far is too far
    # It only ever lost.
    assert train(PERIOD, share, Guard.backtracking(tolerance=9.0), inner(-1))[1][-1].damping == 0


def test_past_the_forecast_weights_stay_finite():
    # In half precision four times this jump is infinite, and this loss does not mind.
    value_fn = lambda p: jnp.tanh(jnp.abs(p["kernel"].astype(jnp.float32)).sum())  # noqa: E731
    jumps = nowcast.Jumps(forecaster=far(3e4), every=1, min_drift=None, guard=Guard.backtracking())
    params = {"kernel": jnp.ones((2, 2), jnp.float16)}
    state = jumps.init(params)
    for _ in range(WINDOW):
        params = jax.tree.map(lambda x: x * jnp.float16(0.99), params)
        params, state = jumps.step(params, state, value_fn=value_fn)
    assert np.isfinite(params["kernel"]).all()
    assert state.refused == 1


def test_leaves_that_never_jump_are_as_now_where_the_window_began():
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.zeros(2)}
    jumps = nowcast.Jumps(forecaster=far(0.1), every=1, min_drift=None, operations=("bias",))
    _, state = jumps.step(params, jumps.init(params))
    then = history.oldest(
        state.history, {"kernel": jnp.full((2, 2), 5.0), "bias": jnp.full(2, 7.0)}
    )
    same(then, {"kernel": jnp.full((2, 2), 5.0), "bias": jnp.zeros(2)})


def test_the_longest_is_the_farthest_from_here_and_may_be_judged_twice():
    assert train(PERIOD, 1.5, Guard(dampings=(0.5, -1.0), longest=True))[1][-1].damping == -1.0
    states = train(
        PERIOD + 1,
        0.01,
        WaitingGuard(dampings=(1.0, 8.0), longest=True, tolerance=0.05, after=1),
        FAST,
    )[1]
    assert (states[-2].damping, states[-1].refused) == (1.0, 0)  # 8 fails at once
    steep = train(PERIOD + 1, 0.5, WaitingGuard(dampings=(1.0,), longest=True, after=1), FAST)[1]
    assert (steep[-2].refused, steep[-1].refused) == (1, 1)  # at once, and not again


def test_dampings_are_fractions_of_the_damped_jump():
    path, states = train(PERIOD, -3.0, Guard(dampings=(0.5, 1.0)), damping=0.5)
    close(path[-1], jax.tree.map(lambda x: x * 0.25, FREE[PERIOD]))
    assert states[-1].damping == 0.25


@pytest.mark.parametrize(
    "inner", [optax.adam(0.001), optax.sgd(0.001, momentum=0.9)], ids=["adam", "momentum"]
)
def test_a_jump_that_hurts_after_recovery_is_taken_back_with_the_optimizer_state(inner):
    free, inner_states = without_jumps(8 * PERIOD, inner)
    path, states = train(PERIOD + 4 + PERIOD, 0.5, WaitingGuard(after=4), inner)
    close(path[PERIOD], jax.tree.map(lambda x: 1.5 * x, free[PERIOD]))  # it jumps
    assert (states[PERIOD].accepted, states[PERIOD].refused) == (1, 0)
    assert (states[PERIOD + 4].accepted, states[PERIOD + 4].refused) == (0, 1)
    # Exact to rounding, through optax.apply_updates.
    close(path[PERIOD + 4], free[PERIOD], atol=1e-6)
    same(states[PERIOD + 4].inner, inner_states[PERIOD])
    close(path[PERIOD + 4 + PERIOD - 1], free[2 * PERIOD - 1], atol=1e-6)  # and goes on from there
    assert states[-1].clock.windows == 2


def test_the_plain_form_takes_back_exactly():
    jumps = nowcast.Jumps(
        forecaster=far(0.5), every=EVERY, min_drift=None, guard=WaitingGuard(after=2)
    )
    params, state, before = start(), jumps.init(start()), None
    for number in range(1, PERIOD + 3):
        params = jax.tree.map(lambda x: 0.99 * x, params)
        before = params if number == PERIOD else before
        params, state = jumps.step(params, state, value_fn=loss)
    same(params, before)
    assert state.refused == 1


def test_a_jump_that_recovers_stays():
    # The loss right after it is higher; after four steps of a fast optimizer it is lower.
    path, states = train(PERIOD + 4, 0.5, WaitingGuard(after=4), optax.sgd(2.0))
    assert loss(path[PERIOD]) > loss(path[PERIOD - 1])
    assert (states[-1].accepted, states[-1].refused) == (1, 0)
    assert not states[-1].kept.pending
    _, states = train(PERIOD, 0.5, Guard(), optax.sgd(2.0))
    assert states[-1].refused == 1  # judged at once it is refused


def test_the_window_begins_after_the_recovery():
    _, states = train(3 * (PERIOD + 4), -0.1, WaitingGuard(after=4))
    jumps = [
        i for i in range(1, len(states)) if states[i].clock.windows > states[i - 1].clock.windows
    ]
    assert jumps == [PERIOD, 2 * PERIOD + 4, 3 * PERIOD + 8]
    stopped = train(3 * (PERIOD + 4), -0.1, WaitingGuard(after=4), stop_after=2 * PERIOD + 4)[1][-1]
    assert stopped.accepted == 2
    assert (
        train(3 * (PERIOD + 4), -0.1, WaitingGuard(after=4), stop_after=2 * PERIOD + 3)[1][
            -1
        ].accepted
        == 1
    )


@pytest.mark.parametrize("after", [0, 2])
def test_after_so_many_in_a_row_it_gives_up(after):
    guard = WaitingGuard(after=after, give_up=2) if after else Guard(give_up=2)
    path, states = train(5 * (PERIOD + after), 0.5, guard)
    tried = [i for i in range(1, len(path)) if loss(path[i]) > 2 * loss(path[i - 1])]
    assert len(tried) == (2 if after else 0)
    assert states[-1].accepted == 0
    if not after:
        close(path[-1], FREE[5 * PERIOD])
    _, states = train(5 * (PERIOD + after), -0.5, guard)
    assert states[-1].accepted >= 4  # good ones go on
    assert states[-1].in_a_row == 0


def test_in_a_population_each_member_has_its_own_verdict():
    tx = nowcast.periodic(
        optax.sgd(1e-4), far(-1.5), every=1, min_drift=None, guard=WaitingGuard(after=1)
    )
    axes = nowcast.POPULATION
    params = {"kernel": jnp.ones((2, 3, 3))}
    goal = jnp.array([0.0, 2.0])
    state = jax.vmap(tx.init, out_axes=axes)(params)

    def step(params, state, goal):
        updates, state = tx.update(
            params, state, params, value_fn=lambda p: jnp.sum((p["kernel"] - goal) ** 2)
        )
        return optax.apply_updates(params, updates), state

    for _ in range(WINDOW + 1):
        params, state = jax.jit(jax.vmap(step, in_axes=(0, axes, 0), out_axes=(0, axes)))(
            params, state, goal
        )
    np.testing.assert_array_equal(state.accepted, [1, 0])
    np.testing.assert_array_equal(state.refused, [0, 1])
    np.testing.assert_allclose(params["kernel"][:, 0, 0], [-0.5, 1.0], rtol=1e-3)


def test_without_the_loss_it_says_what_is_missing():
    tx = nowcast.periodic(optax.sgd(0.1), far(0.1), every=1, min_drift=None, guard=Guard())
    with pytest.raises(nowcast.UserError, match="value_fn=lambda p: loss"):
        tx.update(start(), tx.init(start()), start())
    with pytest.raises(nowcast.UserError, match=r"one number.*shape \(3, 4\)"):
        train(PERIOD, 0.1, Guard(), value_fn=lambda p: p["kernel"])


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        (lambda loss: (loss, loss), "tuple"),
        (lambda loss: (loss, {"a": loss}), "tuple"),
        (lambda loss: {"l": loss}, "dict"),
        (lambda _: None, "NoneType"),
    ],
    ids=["number beside", "dict beside", "dict", "nothing"],
)
def test_a_loss_with_auxiliary_output_is_refused_with_the_cure(gives, said):
    with pytest.raises(
        nowcast.UserError, match=rf"it gave a {said} .*value_fn=lambda p: loss\(p, batch\)\[0\]"
    ):
        train(PERIOD, 0.1, Guard(), value_fn=lambda p: gives(jnp.sum(p["kernel"])))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tolerance": -0.1}, "tolerance=-0.1 must be 0 or more"),
        ({"tolerance": float("nan")}, "tolerance=nan"),
        ({"dampings": ()}, r"dampings=\(\) must be"),
        ({"dampings": (0.0, 1.0)}, "none of them 0"),
        ({"give_up": 0}, "give_up=0"),
        ({"longest": "yes"}, "longest='yes' must be True or False"),
    ],
)
def test_a_guard_that_cannot_be_is_refused(given, said, unchecked):
    with pytest.raises(nowcast.UserError, match=said):
        Guard(**given)
    with pytest.raises(nowcast.UserError, match=said):
        WaitingGuard(after=2, **given)


@pytest.mark.parametrize("after", [-1, 0, 1.5])
def test_a_guard_waits_for_a_whole_number_of_steps(after, unchecked):
    with pytest.raises(nowcast.UserError, match=f"after={after} must be a whole number of steps"):
        WaitingGuard(after=after)


def test_a_jump_out_of_an_infinite_loss_is_not_worse():
    for tolerance in (0.0, 0.1):

        def value_fn(p):
            return jnp.where(
                jnp.abs(p["bias"]).sum() < 0.1 * jnp.abs(start()["bias"]).sum(), 1.0, jnp.inf
            )

        assert (
            train(PERIOD, -0.99, Guard(tolerance=tolerance), value_fn=value_fn)[1][-1].accepted == 1
        )


@pytest.mark.parametrize("moments", ["keep", "reset"])
def test_a_guard_that_waits_keeps_moments_that_grow_finer_in_their_first_step(moments):
    # Adam begins its moments in the parameters' dtype, and goes on in the gradients'.
    tx = nowcast.periodic(
        optax.adam(0.01),
        far(0.5),
        every=1,
        min_drift=None,
        guard=WaitingGuard(after=1),
        moments=moments,
    )
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), start())
    state = tx.init(params)
    for _ in range(WINDOW + 1):
        grads = jax.tree.map(lambda x: x.astype(jnp.float32), params)
        updates, state = tx.update(grads, state, params, value_fn=loss)
        params = optax.apply_updates(params, updates)
    assert state.refused == 1
    assert state.inner[0].mu["bias"].dtype == jnp.float32


@pytest.mark.parametrize("inner", [optax.sgd(0.01), optax.adam(0.001)])
def test_a_run_that_is_lost_while_the_guard_waits_is_taken_back_at_once(inner):
    def ruined(params):  # gradients that are no numbers where the jump leads
        return jax.tree.map(
            lambda x: jnp.where(loss(params) > 100 * loss(start()), jnp.nan, 0.1 * x), params
        )

    tx = nowcast.periodic(
        inner, far(20.0), every=EVERY, min_drift=None, guard=WaitingGuard(after=4)
    )
    params, states = follow(tx, start(), PERIOD + 1, ruined, value_fn=loss)
    free, free_states = without_jumps(PERIOD, inner)
    close(params[-1], free[-1])  # one step after the jump, not four
    close(states[-1].inner, free_states[-1])
    assert (int(states[-1].accepted), int(states[-1].refused)) == (0, 1)
    params, states = follow(tx, start(), 3 * PERIOD, ruined, value_fn=loss)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(("tolerance", "passes"), [(0.0, 7), (0.05, 8)])
def test_backtracking_looks_at_no_loss_more_than_its_page_says(tolerance, passes):
    looks = []

    def value_fn(params):
        jax.debug.callback(looks.append, 0)
        return loss(params)

    tx = nowcast.periodic(
        optax.sgd(0.01),
        far(1.0),
        every=1,
        min_drift=None,
        guard=Guard.backtracking(tolerance=tolerance),
    )
    follow(tx, start(), WINDOW, lambda params: params, value_fn=value_fn)
    jax.effects_barrier()
    assert len(looks) == passes


def test_the_rate_of_an_optimizer_with_injected_hyperparameters_is_read_from_its_own_state():
    inner = optax.inject_hyperparams(optax.adam)(learning_rate=0.03)
    tx = nowcast.periodic(
        inner, nowcast.load("linear"), every=1, min_drift=None, guard=nowcast.WaitingGuard(after=2)
    )
    state = tx.init({"kernel": jnp.ones((2, 2))})
    assert optax.tree.get(state.inner, "learning_rate") == pytest.approx(0.03)
    with pytest.raises(KeyError, match="multiple"):
        optax.tree.get(state, "learning_rate")  # the copy that the guard goes back to has one too
    state = state._replace(inner=optax.tree.set(state.inner, learning_rate=0.5))
    updates, _ = tx.update(
        {"kernel": jnp.ones((2, 2))}, state, {"kernel": jnp.ones((2, 2))}, value_fn=lambda p: 0.0
    )
    assert jnp.allclose(updates["kernel"], -0.5, rtol=1e-3)
