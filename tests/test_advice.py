"""Advice on a run: its numbers against NumPy, what it says of made-up runs, and the command."""

from itertools import combinations

import jax
import numpy as np
import pytest

import nowcast
from collect import record
from collect.config import CollectConfig, ModelConfig
from collect.corpus import advising
from collect.tasks import build
from collect.training import optimizers
from collect.training.loop import Loop
from nowcast import advice_rules, advice_table, movement
from nowcast.drift import mean_cosine
from nowcast.ops import path_name

RNG = np.random.default_rng(0)
STRAIGHT = np.arange(8.0)[:, None] * np.ones((8, 200))
TO_AND_FRO = RNG.normal(size=(8, 2000))
DRIFTING = np.arange(8.0)[:, None] * 1.5 + RNG.normal(size=(8, 2000))


def by_hand(window):
    """Drift, neighbours and noise of one window of snapshots, each flat."""
    moved = np.diff(window, axis=0)
    unit = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    drift = np.mean([unit[i] @ unit[j] for i, j in combinations(range(4), 2) if j - i >= 2])
    neighbours = np.mean([unit[i] @ unit[i + 1] for i in range(3)])
    common = np.mean([moved[3] @ moved[0], moved[3] @ moved[1]])
    return drift, neighbours, 1 - np.clip(common / (moved[3] @ moved[3]), 0, 1)


def test_the_numbers_are_those_of_numpy():
    tree = {"a": RNG.normal(size=(7, 3, 4)).cumsum(0), "b": RNG.normal(size=(7, 5))}
    flat = np.concatenate([tree["a"].reshape(7, -1), tree["b"]], axis=1)
    found = nowcast.advise(tree)
    each = np.array([by_hand(flat[i : i + 5]) for i in range(3)])
    np.testing.assert_allclose(np.stack(found.movement, axis=1), each, atol=1e-12)
    now = each[-advice_rules.RECENT :].mean(axis=0)
    np.testing.assert_allclose((found.drift, found.neighbours, found.noise), now)
    own = np.array([by_hand(tree["b"][i : i + 5]) for i in range(3)])[-advice_rules.RECENT :]
    [_, b] = found.leaves
    np.testing.assert_allclose((b.drift, b.neighbours, b.noise), own.mean(axis=0))
    moved = np.diff(flat, axis=0)
    last = tree["b"][-1] - tree["b"][-2]
    assert b.share == pytest.approx(last @ last / (moved[-1] @ moved[-1]))
    lengths = np.linalg.norm(moved, axis=1)
    assert found.length == pytest.approx(lengths[-1] / lengths.max())


def test_the_drift_is_that_of_auto_rate():
    grams = movement.windows(movement.products(TO_AND_FRO))
    ours = movement.measure(grams).drift
    theirs = [mean_cosine(jax.numpy.asarray(gram, jax.numpy.float32)) for gram in grams]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_straight_run_is_far_below_its_best():
    found = nowcast.advise({"kernel": STRAIGHT})
    assert (found.rate, found.average, found.decay) == ("far below", 1, False)
    assert found.drift == pytest.approx(1)
    assert found.noise == pytest.approx(0)
    assert 3 < found.factor[0] < found.likely < found.factor[1] < 100
    assert str(found).startswith("The learning rate is far below its best: ")
    assert str(found).endswith(" times higher would be nearer; try nowcast.auto_rate.")


@pytest.mark.parametrize("walk", [TO_AND_FRO, TO_AND_FRO.cumsum(axis=0)], ids=["noise", "walk"])
def test_a_run_that_goes_to_and_fro_is_near_its_best_or_above(walk):
    found = nowcast.advise({"kernel": walk}, every=20)
    assert found.rate in ("near", "above")
    assert found.factor[0] < 1
    assert found.decay
    assert found.average in (4, 8)
    steps = (found.average - 1) * 20
    assert f"evaluate the mean of the last {found.average} snapshots, {steps} steps," in str(found)
    assert ". " not in str(found)  # one sentence


def test_two_places_in_turn_are_no_drift():
    between = np.array([0, 1, 0, 1, 0, 1.0])[:, None] * np.ones((6, 50))
    assert nowcast.advise({"kernel": between}).rate in ("near", "above")


@pytest.mark.parametrize("drift", [0.0, 0.02, 0.05, 0.1, 0.2])
def test_the_advised_average_is_the_nearest_to_a_moving_centre(drift):
    """Against the mean squared distance of simulated averages from where the centre is."""
    rng = np.random.default_rng(1)
    step, noise = np.sqrt(drift), np.sqrt((1 - drift) / 2)
    snapshots = -step * np.arange(8)[:, None] + noise * rng.normal(size=(8, 20_000))  # newest first
    distances = {k: np.mean(snapshots[:k].mean(axis=0) ** 2) for k in advice_rules.AVERAGES}
    advised = advice_rules.best_average(drift, 8)
    assert distances[advised] <= 1.05 * min(distances.values())
    assert advised > 1


def test_leaves_that_differ_are_named():
    head = {"bias": STRAIGHT, "kernel": TO_AND_FRO}
    tree = {"head": head, "tiny": STRAIGHT[:, :1] / 99}
    found = nowcast.advise(tree)
    assert found.differ == ("head/bias",)
    assert [leaf.operation for leaf in found.leaves] == ["bias"] * 3
    labels = {"head": {"bias": "norm", "kernel": "conv"}, "tiny": "other"}
    labelled = nowcast.advise(tree, labels=labels)
    assert [leaf.operation for leaf in labelled.leaves] == ["norm", "conv", "other"]


def test_a_movement_that_has_faded_tells_no_rate():
    fading = STRAIGHT[0] + np.cumsum(0.6 ** np.arange(8))[:, None] * np.ones((8, 200))
    found = nowcast.advise({"kernel": fading})
    assert found.rate == "unclear"
    assert "shrunk to 5% of the longest" in str(found)


@pytest.mark.parametrize(
    ("history", "options", "named"),
    [
        ({"w": STRAIGHT[:4]}, {}, "leaf 'w' has 4 snapshots, and advice needs 5 or more"),
        ({"w": 0 * STRAIGHT}, {}, "the last 5 snapshots are the same; give a run that trains"),
        ({"w": np.where(STRAIGHT == 3, np.nan, 0)}, {}, "leaf 'w' is not finite in snapshot 3"),
        ({"w": STRAIGHT, "v": STRAIGHT[:6]}, {}, "leaf 'w' has shape (8, 200), and 'v' (6, 200)"),
        ({"w": STRAIGHT.astype(int)}, {}, "leaf 'w' is int64; leave out what is not a weight"),
        ({"w": 3.0}, {}, "leaf 'w' is a float; give arrays"),
        ({}, {}, "history holds no array"),
        ({"w": STRAIGHT}, {"share": 2.0}, "share=2.0 must be"),
        ({"w": STRAIGHT}, {"every": 0}, "every=0 must be"),
        ({"w": STRAIGHT}, {"labels": {"w": "bais"}}, "'bais'"),
    ],
)
def test_bad_input_is_refused_with_a_line(history, options, named):
    with pytest.raises(nowcast.UserError) as caught:
        nowcast.advise(history, **options)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_snapshots_within_the_momentum_are_warned_of():
    with pytest.warns(UserWarning, match="every=5 is below the 20 steps that Adam remembers"):
        nowcast.advise({"w": STRAIGHT}, every=5)


def test_half_precision_is_read():
    found = nowcast.advise({"w": jax.numpy.asarray(STRAIGHT, jax.numpy.bfloat16)})
    assert found.drift == pytest.approx(1)


def test_the_table_is_monotone_small_and_goes_on_beyond_its_ends():
    table = advice_table.shipped()
    assert advice_table.FILE.stat().st_size < 10_000
    for points in (*table.points, table.overall):
        assert (np.diff(points, axis=1) > 0).all()  # low, likely, high
        assert points[-1, 1] > points[len(points) // 2, 1] > points[0, 1]
    for share in (None, 0.0, 0.1, 0.27, 1.0):
        low, high = table.factor(-0.9, share), table.factor(0.9, share)
        assert low.likely < 1.5 < 6 < high.likely
    between = table.factor(0.1, 0.15).likely
    ends = sorted(table.factor(0.1, share).likely for share in (0.1, 0.2))
    assert ends[0] <= between <= ends[1]


@pytest.fixture(scope="module")
def digits():
    """Snapshots of the first fifth of a run on the digits, at its best rate and far below."""
    task = build.make(CollectConfig("-", model=ModelConfig("mlp", width=0.5)))
    loop = Loop(task, optimizers.make("adam", task))

    def snapshots(factor):
        rates = optimizers.rates("constant", factor * 1.6e-2, 1000, 0.05)[:200]
        run = loop.run(0, rates, record_every=20)
        found = [jax.tree.map(np.array, snapshot.state.params) for snapshot in run]
        return jax.tree.map(lambda *each: np.stack(each), *found)

    return {factor: snapshots(factor) for factor in (1 / 32, 1)}


def test_a_rate_far_below_the_best_and_the_best_are_told_apart(digits):
    low, best = (nowcast.advise(digits[factor], every=20, share=0.2) for factor in (1 / 32, 1))
    assert low.rate == "far below"
    assert best.rate == "near"
    assert low.factor[0] > best.factor[1] > 1 > best.factor[0]


@pytest.fixture(scope="module")
def recorded(digits, tmp_path_factory):
    """A corpus of the low run, with weights and with inner products, and its checkpoints."""
    folder = tmp_path_factory.mktemp("advice")
    gram = {"record": "gram"}
    for name, options in {"w": {}, "g": {**gram, "band": 4}, "b": {**gram, "band": 3}}.items():
        first = jax.tree.map(lambda leaf: leaf[0], digits[1 / 32])
        with record(folder / "c", run=name, params=first, **options) as run:
            for i in range(11):
                run.snapshot(jax.tree.map(lambda leaf, i=i: leaf[i], digits[1 / 32]), step=20 * i)
    (folder / "n").mkdir()
    for i in range(11):
        leaves = jax.tree.flatten_with_path(digits[1 / 32])[0]
        named = {path_name(path): leaf[i] for path, leaf in leaves}
        np.savez(folder / "n" / f"step_{20 * i}.npz", **named)
    return folder


def test_a_corpus_with_inner_products_and_checkpoints_say_the_same(recorded, digits):
    expected = nowcast.advise(digits[1 / 32], every=20, share=1.0)
    for run in ("w", "g"):
        found = advising.advice(advising.of_run(str(recorded / "c"), run), None)
        np.testing.assert_allclose(found.movement, expected.movement, atol=1e-5)
        assert (str(found), found.differ) == (str(expected), expected.differ)
    found = advising.advice(advising.of_checkpoints(str(recorded / "n"), None), 200)
    assert str(found) == str(expected)


def test_a_run_that_is_being_recorded_is_read_so_far(digits, tmp_path):
    first = jax.tree.map(lambda leaf: leaf[0], digits[1])
    with record(tmp_path / "c", run="mine", params=first) as run:
        for i in range(7):
            run.snapshot(jax.tree.map(lambda leaf, i=i: leaf[i], digits[1]), step=20 * i)
        found = advising.of_run(str(tmp_path / "c"), "mine")
        assert (found.steps[-1], found.length, found.every) == (120, None, 20)


def test_what_does_not_fit_is_left_out_and_said(digits, tmp_path):
    tree = jax.tree.map(lambda leaf: leaf.copy(), digits[1])
    jax.tree.leaves(tree)[0][8] = np.nan
    with record(tmp_path / "c", run="mine", params=jax.tree.map(lambda leaf: leaf[0], tree)) as run:
        for i, step in enumerate([*range(0, 200, 20), 190]):
            run.snapshot(jax.tree.map(lambda leaf, i=i: leaf[i], tree), step=step)
    found = advising.of_run(str(tmp_path / "c"), None)
    assert found.steps == list(range(0, 160, 20))
    assert [note.partition(":")[0] for note in found.notes] == [
        "left out, as it comes early", "left out, as weights are not finite",
    ]  # fmt: skip


def test_the_command_advises_on_a_run_of_a_corpus(script, recorded, tmp_path):
    done = script("advise", f"corpus={recorded / 'c'}", "run=w", "pictures=p", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("The learning rate is far below its best: ")
    assert " ".join(lines[1].split()) == "step drift noise best rate / rate the rate is"
    assert [line.split()[0] for line in lines[2:9]] == [str(step) for step in range(80, 201, 20)]
    assert lines[-2:] == [
        "picture: p/w-advice.png",
        f"next: python scripts/inspect_corpus.py corpus={recorded / 'c'}",
    ]
    assert (tmp_path / "p" / "w-advice.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_advises_on_checkpoints(script, recorded, tmp_path):
    done = script("advise", f"checkpoints={recorded / 'n'}", "steps=1000", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The learning rate is far below its best: ")
    assert done.stdout.splitlines()[-2] == "picture: advice-pictures/checkpoints-advice.png"
    assert f"next: python scripts/import_checkpoints.py checkpoints={recorded / 'n'}" in done.stdout
    assert (tmp_path / "advice-pictures" / "checkpoints-advice.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("bad", "named"),
    [("run=b", "recorded with band=3, and advice needs band=4"), ("run=x", "3 runs: b, g, w")],
)
def test_the_command_refuses_what_does_not_suffice(script, recorded, tmp_path, bad, named):
    done = script("advise", f"corpus={recorded / 'c'}", bad, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert named in done.stderr


def test_early_a_low_drift_is_above_the_best():
    found = nowcast.advise({"kernel": TO_AND_FRO}, share=0.2)
    assert found.rate == "above"
    assert str(found).startswith("The learning rate is above its best, which is 0.1 to 0.")
