"""Many steps in one program: the same run, bit for bit, however many are taken at a time."""

import jax
import numpy as np
import pytest

import collect.data
import nowcast
from collect.data import text, tokens
from collect.tasks import Classification, Language, check
from collect.training import optimizers, stepper
from collect.training.loop import Loop
from nowcast.forecasters import Linear
from nowcast.types import UserError

STEPS = 12
RATES = np.geomspace(1e-3, 1e-2, STEPS, dtype=np.float32)
TOGETHER = {"seeds": [3, 4], "rates": np.stack([RATES, RATES[::-1]])}


def images(model="mlp", **sizes):
    return Classification(
        model, collect.data.load("digits", train_size=128), batch_size=32, **sizes
    )


def language():
    poem = "the cat sat on the mat; the rat sat on the cat.\n" * 9
    encoded = tokens.encode(
        text.Texts("poem", {"train": poem, "validation": poem}, False), tokens.CHARACTERS
    )
    return Language(encoded, batch_size=4, layers=1, heads=2, width=8, context=6, dropout=0.1)


def jumping(task):
    """Adam that jumps every six steps, if its guard lets it."""
    guard = nowcast.Guard(tolerance=1e9)
    return nowcast.periodic(
        optimizers.make("adam"),
        Linear(window=3),
        every=2,
        min_drift=None,
        guard=guard,
        labels=task.labels,
    )


@pytest.fixture(scope="module", params=[images, language])
def loop(request):
    task = request.param()
    return Loop(task, jumping(task), nowcast.POPULATION)


def steps_of(snapshots):
    """Every state by its step, in memory of its own."""
    return {one.step: jax.tree.map(np.array, one.state) for one in snapshots}


def lanes_of(groups):
    return {one.step * 10 + lane: one.state for group in groups for lane, one in enumerate(group)}


def assert_equal(got, expected):
    assert got
    for step, state in got.items():
        jax.tree.map(np.testing.assert_array_equal, state, expected[step])


@pytest.fixture(scope="module")
def each(loop):
    """The run with a pause after every step."""
    return steps_of(loop.run(3, RATES, record_every=1))


@pytest.mark.parametrize(
    "pauses", [{"record_every": STEPS}, {"record_every": 5}, {"record_every": 7, "also": (1, 2, 9)}]
)
def test_where_the_pauses_fall_changes_no_bit(loop, each, pauses):
    got = steps_of(loop.run(3, RATES, **pauses))
    assert {0, *pauses.get("also", ()), pauses["record_every"], STEPS} <= got.keys()
    assert_equal(got, each)
    assert int(each[STEPS].optimizer.accepted) == STEPS // 6


def test_nor_does_a_restart_nor_one_more_step(loop, each):
    there = jax.tree.map(jax.numpy.array, each[5])
    assert_equal(steps_of(loop.run(3, RATES, state=there, first_step=5)), each)
    there = jax.tree.map(jax.numpy.array, each[5])
    assert_equal({6: loop.once(there, 3, RATES, 5)}, each)


def test_nor_do_the_pauses_of_several_runs(loop):
    expected = lanes_of(loop.run_together(**TOGETHER, record_every=1))
    assert_equal(lanes_of(loop.run_together(**TOGETHER, record_every=5, also=(7,))), expected)
    *_, half = loop.run_together(TOGETHER["seeds"], TOGETHER["rates"][:, :5])
    states = [one.state for one in half]
    assert_equal(lanes_of(loop.run_together(**TOGETHER, states=states, first_step=5)), expected)


def test_it_is_compiled_once_whatever_the_pauses(loop, each):
    list(loop.run_together(**TOGETHER))
    assert loop.one_run.program._cache_size() == loop.together.program._cache_size() == 1


@pytest.mark.parametrize("bound", [{"MOST": 5}, {"ROOM": 1}])
def test_longer_ways_between_pauses_are_cut(monkeypatch, bound):
    """To so many steps, or to so many bytes of inputs; one step always has room."""
    plain = Loop(images(), optimizers.make("adam"))
    *_, whole = plain.run(3, RATES, record_every=STEPS)
    for name, value in bound.items():
        monkeypatch.setattr(stepper, name, value)
    cut = Loop(plain.task, optimizers.make("adam"))
    *_, last = cut.run(3, RATES, record_every=STEPS)
    jax.tree.map(np.testing.assert_array_equal, last.state, whole.state)
    assert last.train_loss == whole.train_loss
    assert cut.one_run.at_once(cut._inputs(3, RATES)(0)) == bound.get("MOST", 1)


def test_the_numbers_are_those_of_steps_that_are_dispatched_one_by_one():
    one_by_one = images()
    assert one_by_one.loops
    one_by_one.loops = False
    ends = [
        list(Loop(task, optimizers.make("adam")).run(3, RATES))[-1]
        for task in (images(), one_by_one)
    ]
    close = {"rtol": 1e-4, "atol": 1e-5}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **close), *(end.state for end in ends)
    )
    assert ends[0].train_loss == pytest.approx(ends[1].train_loss, rel=1e-5)


def test_what_holds_convolutions_is_dispatched_step_by_step():
    task = images("resnet", depth=8, width=0.25)
    assert not task.loops
    assert Loop(task, optimizers.make("adam")).one_run.at_once(()) == 1


def test_loops_is_true_or_false():
    task = images()
    task.loops = "yes"
    with pytest.raises(UserError, match=r"Mine\.loops: must be True or False, and is 'yes'"):
        check.check(task, "Mine")
