"""What the loop does for a task: keys for its losses, gradients of its own, rates of its leaves."""

import jax
import jax.numpy as jnp
import numpy as np

from collect.tasks import LOSS, Task
from collect.training import optimizers
from collect.training.loop import Loop

FACTORS = {"a": 1.0, "b": 0.5}
RATES = np.full(6, 0.1, np.float32)


class Noisy:
    """Two numbers that go to 0, and noise that the key decides; ``extra`` counts it up."""

    name, steps_per_epoch, splits, metrics = "noisy-nothing", 3, ("validation",), (LOSS,)
    arrays, labels = jnp.arange(6.0), {"a": "other", "b": "other"}

    def init(self, seed):
        return {"a": jnp.float32(1 + seed), "b": jnp.float32(2)}, jnp.zeros(3)

    def order(self, seed, epoch):
        return np.random.default_rng((seed, epoch)).permutation(6).reshape(3, 2)

    def batch(self, arrays, indices, key=None):
        return arrays[indices]

    def loss(self, params, extra, batch, key):
        noise = jax.random.normal(key, (3,))
        return params["a"] ** 2 + params["b"] ** 2 + 0 * jnp.sum(batch), extra + noise

    def evaluate(self, params, extra, split):
        return {"loss": float(params["a"] ** 2 + params["b"] ** 2)}


class Ascending(Noisy):
    """Its gradients are not those of its loss: they lead up for ``a``; and ``b`` learns at half the rate."""

    rates = FACTORS

    def gradients(self, params, extra, batch, key):
        return jnp.float32(7), {"a": jnp.float32(-1), "b": jnp.float32(1)}, extra


def end(task, seed=0, **given):
    *_, last = Loop(task, optimizers.make("sgd", getattr(task, "rates", None))).run(seed, RATES, **given)
    return last


def test_our_tasks_and_others_are_tasks():
    assert isinstance(Noisy(), Task)


def test_a_losss_key_depends_on_seed_and_step_alone():
    whole = end(Noisy())
    again, other = end(Noisy()), end(Noisy(), seed=1)
    np.testing.assert_array_equal(whole.state.extra, again.state.extra)
    assert np.abs(np.asarray(whole.state.extra) - np.asarray(other.state.extra)).min() > 1e-3
    loop = Loop(Noisy(), optimizers.make("sgd"))
    first, second = (s for s in loop.run(0, RATES, record_every=3) if s.step in (0, 3)), None
    next(first)
    second = next(first)
    state = jax.tree.map(jnp.copy, second.state)
    *_, resumed = loop.run(0, RATES, state=state, first_step=3)
    np.testing.assert_array_equal(resumed.state.extra, whole.state.extra)
    each = [s.state.extra.copy() for s in loop.run(0, RATES, record_every=1)]
    steps = np.diff(np.stack(each), axis=0)
    assert len(np.unique(steps.round(5), axis=0)) == 6  # noise of its own at every step


def test_a_task_may_give_its_gradients_and_the_rates_of_its_leaves():
    last = end(Ascending())
    np.testing.assert_allclose(last.state.params["a"], 1 + 6 * 0.1, rtol=1e-6)
    np.testing.assert_allclose(last.state.params["b"], 2 - 6 * 0.05, rtol=1e-6)
    assert last.train_loss == 7
    plain = end(Noisy())
    np.testing.assert_allclose(plain.state.params["a"], 0.8**6, rtol=1e-6)  # the loss's: a ← a − 0.1 · 2a
