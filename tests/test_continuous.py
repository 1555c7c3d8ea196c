"""Continuous methods around an optimizer: against their published formulas in NumPy, and against
the optimizers that they are for some of their numbers.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from runs import close, loss, same, start

import nowcast
from collect.training import continuous, optimizers, wrappers

gradient = jax.grad(loss)
STEPS = 20
RATES = optimizers.rates("cosine", 0.1, STEPS, 0.2)
PAST = optimizers.rates("cosine", 0.1, STEPS)
SGD = optimizers.make("sgd")
METHODS = {
    "ema_nesterov": lambda inner: continuous.ema_nesterov(inner, steps=STEPS, gamma=0.8, beta=0.9),
    "gpa": lambda inner: continuous.gpa(inner, mu_y=0.7, mu_x=0.9),
    "airbench_lookahead": lambda inner: continuous.airbench_lookahead(inner, steps=STEPS, every=3),
    "tail_averaged": lambda inner: wrappers.tail_averaged(inner, steps=STEPS, power=2.0, start=0.3),
}
"""Each with numbers that matter within these few steps."""
NOTHING = {
    "ema_nesterov": lambda inner: continuous.ema_nesterov(inner, steps=STEPS, beta=0.0),
    "gpa": lambda inner: continuous.gpa(inner, mu_x=0.0),
    "airbench_lookahead": lambda inner: continuous.airbench_lookahead(
        inner, steps=STEPS, every=3, decay=0.0
    ),
    "tail_averaged": METHODS["tail_averaged"],
}
"""Each with the number at which it is the inner optimizer."""


def follow(tx, params=None, rates=RATES, state=None):
    """``(parameters, states)``: before the first step and after each."""

    @jax.jit
    def step(params, state, rate):
        updates, state = tx.update(gradient(params), state, params, learning_rate=rate)
        return optax.apply_updates(params, updates), state

    params = start() if params is None else params
    path, states = [params], [tx.init(params) if state is None else state]
    for rate in rates:
        params, state = step(path[-1], states[-1], rate)
        path.append(params)
        states.append(state)
    return path, states


def each(tree):
    """The leaves, in double precision."""
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]


def agree(trees, expected):
    """Whether trees are these lists of leaves, to the rounding of single precision."""
    for tree, leaves in zip(trees, expected, strict=True):
        for got, leaf in zip(each(tree), leaves, strict=True):
            np.testing.assert_allclose(got, leaf, rtol=1e-5, atol=2e-6)


def by_leaf(run):
    """The paths of one run for each leaf, as one path of lists of leaves."""
    return list(zip(*(run(leaf) for leaf in each(start())), strict=True))


def slope(w):
    """The gradient of a leaf: the loss is 1 + cos."""
    return -np.sin(w)


@pytest.mark.parametrize(("first", "last", "beta"), [(0.0, 1.0, 0.9), (0.3, 0.7, 0.5)])
def test_ema_nesterov_is_the_papers(first, last, beta):
    tx = continuous.ema_nesterov(SGD, steps=STEPS, gamma=0.8, beta=beta, start=first, stop=last)
    path, states = follow(tx, rates=PAST)

    def run(x):
        m, pushed, own = np.zeros_like(x), [x], [x]
        for t, rate in enumerate(PAST):
            y = pushed[-1]
            new = y - rate * slope(y)
            m = 0.8 * m + (1 - 0.8) * (new - own[-1])
            inside = round(first * STEPS) <= t + 1 < round(last * STEPS)
            ahead = beta * rate / PAST.max() if inside else 0.0
            own.append(new)
            pushed.append(new + ahead * m)
        return list(zip(pushed, own, strict=True))

    expected = by_leaf(run)
    agree(path, [[y for y, _ in leaves] for leaves in expected])
    behind = [continuous.behind(state, y) for y, state in zip(path, states, strict=True)]
    agree(behind, [[x for _, x in leaves] for leaves in expected])
    assert np.abs(each(path[10])[0] - each(behind[10])[0]).max() > 1e-3
    same(behind[-1], path[-1])  # at the end nothing is ahead


def test_ema_nesterov_waits_for_the_end_of_the_warm_up():
    tx = continuous.ema_nesterov(SGD, steps=STEPS, start=0.0, stop=1.0)
    _, states = follow(tx)
    betas = [float(state.push.beta) for state in states[1:]]
    assert betas[:4] == [pytest.approx(0.6), 0, 0, 0]  # the first rate is its own peak
    np.testing.assert_allclose(betas[4:-1], 0.6 * RATES[4:-1] / RATES.max(), rtol=1e-6)
    assert betas[-1] == 0


@pytest.mark.parametrize(("mu_y", "mu_x"), [(0.7, 0.9), (1.0, 0.8), (0.3, 0.0)])
def test_gpa_is_the_papers(mu_y, mu_x):
    path, states = follow(continuous.gpa(SGD, mu_y=mu_y, mu_x=mu_x))

    def run(x):
        z, middle, own = x, [x], [x]
        for rate in RATES:
            z = z - rate * slope(middle[-1])
            x = mu_x * x + (1 - mu_x) * z
            own.append(x)
            middle.append(mu_y * x + (1 - mu_y) * z)
        return list(zip(middle, own, strict=True))

    expected = by_leaf(run)
    agree(path, [[y for y, _ in leaves] for leaves in expected])
    judged = [
        continuous.averaged_primal(state, y, mu_y) for y, state in zip(path, states, strict=True)
    ]
    agree(judged, [[x for _, x in leaves] for leaves in expected])


@pytest.mark.parametrize(("mu_y", "nesterov"), [(1.0, False), (0.9, True)])
def test_gpa_of_sgd_is_momentum(mu_y, nesterov):
    rates = np.full(STEPS, 0.1, np.float32)
    path, _ = follow(continuous.gpa(SGD, mu_y=mu_y, mu_x=0.9), rates=rates)
    momentum = optax.with_extra_args_support(optax.sgd(0.01, momentum=0.9, nesterov=nesterov))
    other, _ = follow(momentum, rates=rates)
    for ours, theirs in zip(path, other, strict=True):
        close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_gpa_decays_the_fast_weights():
    decayed = optax.chain(optax.add_decayed_weights(0.5), optax.sgd(0.1))
    path, _ = follow(continuous.gpa(decayed, mu_y=0.7, mu_x=0.9))

    def run(x):
        z, middle = x, [x]
        for _ in RATES:
            z = z - 0.1 * (slope(middle[-1]) + 0.5 * z)
            x = 0.9 * x + 0.1 * z
            middle.append(0.7 * x + 0.3 * z)
        return middle

    agree(path, by_leaf(run))


@pytest.mark.parametrize(("every", "decay", "power"), [(5, 0.95, 3.0), (3, 0.8, 1.0)])
def test_airbench_lookahead_is_the_sources(every, decay, power):
    tx = continuous.airbench_lookahead(SGD, steps=STEPS, every=every, decay=decay, power=power)
    path, states = follow(tx)

    def run(w):
        slow, fast, kept = w, [w], [w]
        for t, rate in enumerate(RATES, 1):
            w = w - rate * slope(w)
            if t % every == 0:
                rho = decay**every * (t / STEPS) ** power
                w = slow = rho * slow + (1 - rho) * w
            fast.append(w)
            kept.append(slow)
        return list(zip(fast, kept, strict=True))

    expected = by_leaf(run)
    agree(path, [[w for w, _ in leaves] for leaves in expected])
    agree([state.slow for state in states], [[s for _, s in leaves] for leaves in expected])
    same(states[every].slow, path[every])


@pytest.mark.parametrize(("power", "weight"), [(2.0, 0.6), (1.0, 1.0)])
def test_the_tail_is_averaged_over_what_is_left_of_the_decay(power, weight):
    path, states = follow(wrappers.tail_averaged(SGD, steps=STEPS, power=power, start=0.4))
    labels = jax.tree.map(lambda _: "fc", start())
    run = list(map(each, path))
    mean, expected = run[0], []
    for t, leaves in enumerate(run):
        tau = max(1.0, (STEPS - t) / power)
        average = [m + (w - m) / tau for m, w in zip(mean, leaves, strict=True)]
        mean = average if t > 8 else leaves
        expected.append([(1 - weight) * w + weight * m for w, m in zip(leaves, mean, strict=True)])
    read = [
        wrappers.blend_of(state, w, weight, labels) for w, state in zip(path, states, strict=True)
    ]
    agree(read, expected)
    same(read[8], path[8])
    same(read[-1], path[-1])
    assert np.abs(each(read[12])[0] - each(path[12])[0]).max() > 1e-3


def test_embeddings_and_a_weight_of_0_are_the_weights():
    path, states = follow(METHODS["tail_averaged"](SGD))
    for operation, weight in (("embedding", 0.6), ("fc", 0.0)):
        labels = jax.tree.map(lambda _, operation=operation: operation, start())
        same(wrappers.blend_of(states[12], path[12], weight, labels), path[12])


def test_powers_are_the_slopes_of_the_schedules():
    left = np.array([1e-3, 2e-3])
    for name, schedule in optimizers.SCHEDULES.items():
        ends = schedule(1000 * (1 - left), 1000)
        power = np.log(ends[1] / ends[0]) / np.log(2)
        assert optimizers.POWERS.get(name, 0) == pytest.approx(power, abs=1e-2), name


@pytest.mark.parametrize("name", NOTHING)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_with_one_number_it_is_the_base_bit_for_bit(name, optimizer):
    inner = optimizers.make(optimizer)
    path, _ = follow(NOTHING[name](inner))
    for ours, plain in zip(path, follow(inner)[0], strict=True):
        same(ours, plain)


def test_outside_of_its_part_of_the_run_ema_nesterov_is_the_base_bit_for_bit():
    path, states = follow(METHODS["ema_nesterov"](SGD))
    plain, _ = follow(SGD)
    same(path[4], plain[4])  # the warm-up's end
    assert any((a != b).any() for a, b in zip(each(path[6]), each(plain[6]), strict=True))
    assert [float(state.push.beta) for state in states[-5:]] == [0] * 5


@pytest.mark.parametrize("name", METHODS)
def test_a_run_goes_on_from_any_step_bit_for_bit(name):
    tx = METHODS[name](optimizers.make("adam"))
    path, states = follow(tx)
    for step in (4, 11):
        saved = jax.tree.map(jnp.asarray, jax.device_get((path[step], states[step])))
        again, later = follow(tx, saved[0], RATES[step:], saved[1])
        same(again[-1], path[-1])
        same(later[-1], states[-1])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", METHODS)
def test_the_state_is_final_from_the_start_and_one_copy_of_the_weights(name, dtype):
    params = start(dtype)
    path, states = follow(METHODS[name](SGD), params)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(path[-1]))
    for state in states:
        assert jax.tree.structure(state) == jax.tree.structure(states[0])
        for now, first in zip(jax.tree.leaves(state), jax.tree.leaves(states[0]), strict=True):
            assert (now.shape, now.dtype) == (first.shape, first.dtype)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(states[-1]) if leaf.ndim)
    assert held == sum(leaf.nbytes for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("name", METHODS)
def test_masked_leaves_stay(name):
    params = start()
    mask = jax.tree.map(lambda leaf: leaf.ndim == 2, params)
    path, states = follow(optax.masked(METHODS[name](SGD), mask), params)
    alone, _ = follow(METHODS[name](SGD), {"kernel": params["head"]["kernel"]})
    close(path[-1]["head"]["kernel"], alone[-1]["kernel"], rtol=1e-6, atol=1e-6)
    held = [leaf.shape for leaf in jax.tree.leaves(states[-1]) if leaf.ndim]
    assert held == [params["head"]["kernel"].shape]


@pytest.mark.parametrize("name", METHODS)
def test_several_runs_together_are_the_runs_apart(name):
    tx = METHODS[name](SGD)
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), start())

    def step(params, state, rate):
        updates, state = tx.update(gradient(params), state, params, learning_rate=rate)
        return optax.apply_updates(params, updates), state

    many, params, state = jax.jit(jax.vmap(step, (0, 0, None))), both, jax.vmap(tx.init)(both)
    for rate in RATES:
        params, state = many(params, state, rate)
    for run, factor in enumerate((1, 2)):
        path, _ = follow(tx, jax.tree.map(lambda leaf, f=factor: f * leaf, start()))
        close(jax.tree.map(lambda leaf, run=run: leaf[run], params), path[-1])


@pytest.mark.parametrize("name", ["ema_nesterov", "gpa", "airbench_lookahead"])
def test_a_jump_that_resets_moments_keeps_the_count_of_steps(name):
    tx = nowcast.periodic(
        METHODS[name](optimizers.make("adam")),
        nowcast.load("linear"),
        every=2,
        moments="reset",
        min_drift=None,
    )
    path, states = follow(tx)
    before, after = states[9].inner, states[10].inner
    assert int(states[10].accepted) == 1
    if name == "gpa":
        assert all((leaf == 0).all() for leaf in each(after.offset))
        return
    counts = [part.push.steps if name == "ema_nesterov" else part.clock.steps
              for part in (before, after)]  # fmt: skip
    assert list(map(int, counts)) == [9, 10]
    begun = after.momentum if name == "ema_nesterov" else after.slow
    landed = jax.tree.map(jnp.zeros_like, path[10]) if name == "ema_nesterov" else path[10]
    close(begun, landed, rtol=1e-6, atol=1e-6)
