"""What the loop asks a task for: keys of losses, gradients of its own, factors on the rates of its
leaves.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import nowcast
from collect.tasks import LOSS
from collect.training import optimizers
from collect.training.loop import BATCH_KEYS, LOSS_KEYS, Loop
from collect.training.wrappers import outer
from nowcast.types import UserError

STEPS, EACH = 6, 3


class Dice:
    """Its loss is a number drawn from its key, beside a square; its batch is another one."""

    name, steps_per_epoch = "dice", EACH
    arrays, metrics, splits = jnp.zeros(1), (LOSS,), ("validation",)

    def init(self, seed):
        return {"bias": jnp.ones(2), "kernel": jnp.full((2, 1), 2.0)}, {"sum": jnp.zeros(())}

    @property
    def labels(self):
        return nowcast.label_ops(self.init(0)[0])

    def order(self, seed, epoch):
        return np.zeros((EACH, 1), np.int32)

    def batch(self, arrays, indices, key=None):
        return jax.random.uniform(key)

    def loss(self, params, extra, batch, key):
        square = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
        drawn = jax.random.uniform(key)
        return drawn + 0.0 * square, {"sum": extra["sum"] + batch}

    def evaluate(self, params, extra, split):
        return {"loss": 0.0}


class Parts(Dice):
    """Its gradients are no loss's, and its leaves have rates of their own."""

    rates = {"bias": 0.5, "kernel": np.float64(0.0)}  # noqa: RUF012

    def gradients(self, params, extra, batch, key):
        return jnp.float32(7), jax.tree.map(jnp.ones_like, params), {"sum": extra["sum"] + 1}


def drawn(seed, step, what):
    """What a batch or a loss draws, from seed and step alone."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(BATCH_KEYS), seed), step)
    return float(jax.random.uniform(key if what == "batch" else jax.random.fold_in(key, LOSS_KEYS)))


def run(task, tx=None, seed=3, rate=0.1, **more):
    """The snapshots after every step."""
    rates = np.full(STEPS, rate, np.float32)
    snapshots = Loop(task, tx or optimizers.make("sgd", task)).run(
        seed, rates, record_every=1, **more
    )
    return [one._replace(state=jax.tree.map(np.array, one.state)) for one in snapshots]


def test_the_key_of_a_loss_follows_from_seed_and_step_and_is_not_that_of_the_batch():
    expected = [drawn(3, step, "loss") for step in range(STEPS)]
    assert [one.train_loss for one in run(Dice())[1:]] == pytest.approx(expected)
    assert len(set(expected) | {drawn(3, step, "batch") for step in range(STEPS)}) == 2 * STEPS
    *_, last = run(Dice())
    assert float(last.state.extra["sum"]) == pytest.approx(
        sum(drawn(3, step, "batch") for step in range(STEPS))
    )


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_it_is_the_same_with_another_optimizer_after_a_restart_and_together(name):
    rates = np.full((2, STEPS), 0.2, np.float32)
    loop = Loop(Dice(), optimizers.make(name))
    apart = {seed: [drawn(seed, step, "loss") for step in range(STEPS)] for seed in (3, 4)}
    together = list(loop.run_together([3, 4], rates, record_every=1))[1:]
    for lane, seed in enumerate((3, 4)):
        assert [each[lane].train_loss for each in together] == pytest.approx(apart[seed])
    later = list(loop.run(3, rates[0], record_every=1, state=loop.start(3), first_step=4))[1:]
    assert [one.train_loss for one in later] == pytest.approx(apart[3][4:])


def test_a_guard_measures_by_the_loss_of_the_same_key():

    def update(updates, state, params=None, *, value_fn, learning_rate, **extra):
        return jax.tree.map(jnp.zeros_like, updates), value_fn(params)

    measuring = optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(()), update)
    seen = [float(one.state.optimizer) for one in run(Dice(), measuring)[1:]]
    assert seen == pytest.approx([drawn(3, step, "loss") for step in range(STEPS)])


def test_gradients_of_a_task_are_what_the_optimizer_gets_and_rates_multiply_its_updates():
    *_, last = run(Parts())
    np.testing.assert_allclose(last.state.params["bias"], 1 - 0.1 * 0.5 * STEPS, rtol=1e-6)
    np.testing.assert_array_equal(last.state.params["kernel"], 2)
    assert (last.train_loss, float(last.state.extra["sum"])) == (7, STEPS)


def test_an_optimizer_gets_the_loss_of_each_step_under_optaxs_name(monkeypatch):
    def update(updates, state, params=None, *, value, **extra):
        return updates, jnp.asarray(value)

    own = optax.GradientTransformationExtraArgs(lambda params: jnp.zeros([]), update)
    monkeypatch.setitem(optimizers.OPTIMIZERS, "sgd", lambda rate: own)
    for task in (Dice(), Parts()):
        for one in run(task)[1:]:
            assert float(one.state.optimizer) == one.train_loss


def test_rates_are_inside_of_outer_steps_and_of_jumps():
    task = Parts()
    *_, last = run(
        task, outer(optimizers.make("sgd", task), every=STEPS, learning_rate=0.5, momentum=0.0)
    )
    np.testing.assert_allclose(last.state.params["bias"], 1 - 0.5 * 0.1 * 0.5 * STEPS, rtol=1e-6)
    linear = nowcast.forecasters.Linear(window=3, horizon=2)
    *_, last = run(
        task,
        nowcast.periodic(
            optimizers.make("sgd", task), linear, every=1, min_drift=None, stop_after=3
        ),
    )
    np.testing.assert_allclose(last.state.params["bias"], 1 - 0.1 * 0.5 * (STEPS + 2), rtol=1e-5)
    np.testing.assert_array_equal(last.state.params["kernel"], 2)


@pytest.mark.parametrize("name", ["adam", "adamw", "momentum", "muon"])
def test_a_rate_of_1_changes_nothing_and_the_others_are_factors(name):
    """Of the first step, in which all optimizers move a leaf by a multiple of the rate."""
    whole, half = Parts(), Parts()
    whole.rates, half.rates = {"bias": 1.0, "kernel": 1.0}, {"bias": 1.0, "kernel": 0.5}
    plain = Parts()
    plain.rates = None
    start = plain.init(0)[0]
    moved = [
        jax.tree.map(jnp.subtract, run(task, optimizers.make(name, task))[1].state.params, start)
        for task in (plain, whole, half)
    ]
    jax.tree.map(np.testing.assert_array_equal, moved[0], moved[1])
    np.testing.assert_allclose(moved[2]["bias"], moved[0]["bias"], rtol=1e-5)
    np.testing.assert_allclose(moved[2]["kernel"], 0.5 * moved[0]["kernel"], rtol=1e-5)


@pytest.mark.parametrize("name", ["adam", "momentum", "prodigy"])
def test_an_optimizer_of_a_task_that_waits_begins_at_the_first_gradient(name):

    class Waits(Parts):
        waits, rates, begins = True, None, 2

        def gradients(self, params, extra, batch, key):
            now = extra["sum"] >= self.begins
            grads = jax.tree.map(lambda leaf: jnp.where(now, 0.5 * leaf, 0), params)
            return jnp.float32(7), grads, {"sum": extra["sum"] + 1}

    late, soon = Waits(), Waits()
    soon.begins = 0
    paths = [run(task, optimizers.make(name, task)) for task in (late, soon)]
    jax.tree.map(np.testing.assert_array_equal, paths[0][2].state.params, paths[0][0].state.params)
    for own, other in zip(paths[0][2:], paths[1], strict=False):
        jax.tree.map(np.testing.assert_array_equal, own.state[::2], other.state[::2])


@pytest.mark.parametrize("name", ["schedule_free", "mechanize"])
def test_an_optimizer_that_knows_no_rates_of_leaves_says_so_in_one_line(name):
    with pytest.raises(
        UserError, match=rf"optimizer\.name={name}: knows no rates of single leaves"
    ) as caught:
        optimizers.make(name, Parts())
    assert "\n" not in str(caught.value)


def test_a_guard_asks_a_task_without_a_loss_for_that_of_its_gradients(unchecked):

    class NoLoss(Parts):
        @property
        def loss(self):
            raise AttributeError

    assert not hasattr(NoLoss(), "loss")
    linear = nowcast.forecasters.Linear(window=3, horizon=2)
    tx = nowcast.periodic(
        optimizers.make("sgd", NoLoss()), linear, every=1, min_drift=None, guard=nowcast.Guard()
    )
    *_, last = run(NoLoss(), tx)
    assert last.state.optimizer.accepted + last.state.optimizer.refused == 2


def test_an_epoch_with_fewer_rows_than_steps_is_refused():

    class Short(Dice):
        def order(self, seed, epoch):
            return np.zeros((EACH - (epoch > 0), 1), np.int32)

    with pytest.raises(
        UserError, match=r"dice: order\(3, 1\) gives 2 rows, and an epoch has steps_per_epoch=3"
    ):
        run(Short())
