"""Windows are cut from trajectories as said, balanced as said, and never across runs."""

from collections import Counter
from itertools import islice, pairwise

import jax
import numpy as np
import pytest

import nowcast
from collect import corpus
from collect.corpus.leaf import Leaf
from meta_train import loader, splitting, windows
from meta_train.windows import Rule, Windows
from nowcast.forecasters.learned import NETWORKS


class Made:
    """A run whose weight ``n`` is ``10000·number + 100·n + s`` at snapshot ``s``: a value tells its
    place.
    """

    def __init__(self, number, snapshots=12, ops=("fc", "bias", "norm"), task="made-up", each=4):
        self.id = self.path = f"run{number}"
        self.config = {"task": task, "number": number}
        self.leaves = [Leaf(op, (each,), op, each * i) for i, op in enumerate(ops)]
        self.status = "complete"
        place = 100.0 * np.arange(each * len(ops))[None] + np.arange(snapshots)[:, None]
        self.weights = (10000.0 * number + place).astype(np.float32)
        self.snapshots, self.band = snapshots, None


RULE = Rule(5, 3)


def draw(runs, rule=RULE, network="fc", count=40, size=50, **settings):
    source = Windows(runs, NETWORKS, rule, **settings)
    return np.concatenate([source.handful(network, size, (0, i)) for i in range(count)])


def places(drawn):
    """``(run, weight, snapshots)`` that the values come from."""
    return drawn // 10000, drawn % 10000 // 100, drawn % 100


@pytest.mark.parametrize(("network", "first"), [("fc", 0), ("bias", 4)])
def test_windows_are_consecutive_snapshots_of_one_weight_and_the_value_a_horizon_later(
    unchecked, network, first
):
    drawn = draw([Made(0)], network=network)
    _, weight, snapshot = places(drawn)
    np.testing.assert_array_equal(
        snapshot - snapshot[:, :1], np.tile([0, 1, 2, 3, 4, 7], (2000, 1))
    )
    assert (weight == weight[:, :1]).all()
    # All weights of this operation and no other.
    assert set(weight[:, 0]) == set(range(first, first + 4))
    # All starts, but never the untrained weights, nor past the end.
    assert set(snapshot[:, 0]) == {
        1,
        2,
        3,
        4,
    }


@pytest.mark.parametrize("snapshots", [12, 40])
def test_every_weight_and_start_is_as_likely_as_any_other(unchecked, snapshots):
    _, weight, snapshot = places(draw([Made(0, snapshots)], count=3000, size=10))
    for seen, kinds in ((weight[:, 0], 4), (snapshot[:, 0], snapshots - 8)):
        shares = np.array([*Counter(seen).values()]) / len(seen)
        assert len(shares) == kinds
        assert shares.max() / shares.min() < 1.6


def test_many_horizons_end_with_the_run(unchecked):
    drawn = draw([Made(0)], Rule(5, 6, many=True))
    _, _, snapshot = places(drawn)
    first = snapshot[:, :1]
    expected = np.where(first + np.arange(11) < 12, first + np.arange(11), np.nan)
    np.testing.assert_array_equal(snapshot, expected)
    assert set(first[:, 0]) == {1, 2, 3, 4, 5, 6}  # to the last that has one target


def test_windows_from_the_start_stretch_over_any_time(unchecked):
    _, _, snapshot = places(draw([Made(0, snapshots=50)], Rule(11, 10, from_start=True)))
    assert set(snapshot[:, 1]) == {1, 2}  # every snapshot, or every second
    np.testing.assert_array_equal(snapshot, snapshot[:, 1:2] * np.array([*range(11), 20]))


def test_weights_that_no_network_serves_are_left_out(unchecked):
    assert set(Windows([Made(0)], NETWORKS, Rule(5, 3)).runs) == {"fc", "bias"}
    assert set(
        Windows([Made(0, ops=("depthwise_conv", "embedding"))], NETWORKS, Rule(5, 3)).runs
    ) == {"conv"}
    own = {"norm": "scales", "fc": None}
    assert set(Windows([Made(0)], own, Rule(5, 3)).runs) == {"scales"}


def test_tasks_are_balanced_and_runs_within_each(unchecked):
    runs = [Made(i, task="a-x") for i in range(6)] + [
        Made(i, snapshots=30, task="b-x") for i in range(6, 8)
    ]
    run, _, _ = places(draw(runs, count=2000, size=1))
    assert (run == run[:, :1]).all()  # no window crosses runs
    counts = Counter(run[:, 0].astype(int))
    for number in range(8):
        assert counts[number] == pytest.approx(2000 / (12 if number < 6 else 4), rel=0.3)


def test_movement_takes_half_from_the_half_that_moved_most(unchecked):
    made = Made(0, ops=("fc",), each=40)
    speed = np.random.default_rng(0).permutation(40)
    made.weights = (made.weights // 100 * 100 + speed * np.arange(12)[:, None] / 20).astype(
        np.float32
    )
    _, weight, _ = places(draw([made], Rule(5, 3), count=200, sampling="movement"))
    rank = 39 - speed[weight[:, 0].astype(int)]
    shares = [np.mean(rank < 20), np.mean((rank >= 20) & (rank < 30)), np.mean(rank >= 30)]
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.25], atol=0.02)
    _, weight, _ = places(draw([made], Rule(5, 3), count=200))
    assert np.mean(39 - speed[weight[:, 0].astype(int)] < 20) == pytest.approx(0.5, abs=0.03)


def test_the_same_key_draws_the_same_windows(unchecked):
    source = Windows([Made(0), Made(1)], NETWORKS, Rule(5, 3))
    first = source.handful("fc", 20, (3, 1))
    np.testing.assert_array_equal(first, source.handful("fc", 20, (3, 1)))
    assert (first != source.handful("fc", 20, (3, 2))).any()


def test_windows_that_are_not_finite_are_left_out(unchecked):
    made = Made(0)
    made.weights[9:] = np.nan
    drawn = draw([made])
    assert set(drawn[:, 0] % 100) == {1}  # ends at snapshot 5, target at 8
    made.weights[:] = np.inf
    with pytest.raises(nowcast.UserError, match="no finite windows for fc"):
        draw([made])


def test_leaves_beyond_the_first_stored_chunk_are_drawn_too(unchecked, monkeypatch):
    monkeypatch.setattr(windows, "CHUNK", 3)
    _, weight, _ = places(draw([Made(0, ops=("fc", "bias", "fc"))], count=300))
    shares = np.array([count for _, count in sorted(Counter(weight[:, 0]).items())]) / len(weight)
    np.testing.assert_allclose(shares, np.full(8, 1 / 8), atol=0.03)


def test_windows_of_a_recorded_run_are_found_in_it(corpus_path):
    run = corpus.open(corpus_path).runs[0]
    columns = np.concatenate([np.r_[leaf.scalars] for leaf in run.leaves if leaf.op == "fc"])
    trajectory = np.asarray(run.weights)[1:, columns]
    for row in draw([run], Rule(5, 5), count=4, size=10):
        found = [(s, n) for s, n in np.argwhere(trajectory == row[0]) if s + 9 < len(trajectory)]
        candidates = [np.append(trajectory[s : s + 5, n], trajectory[s + 9, n]) for s, n in found]
        assert any(np.array_equal(row, candidate) for candidate in candidates)


@pytest.mark.parametrize(
    ("rule", "needs"),
    [(Rule(5, 3), 9), (Rule(5, 40, many=True), 7), (Rule(11, 10, from_start=True), 21)],
)
def test_a_run_that_is_too_short_is_refused_by_name(unchecked, rule, needs):
    with pytest.raises(
        nowcast.UserError, match=rf"run7 has {needs - 1} snapshots.* needs {needs};"
    ):
        Windows([Made(1, 50), Made(7, needs - 1)], NETWORKS, rule)
    assert len(draw([Made(7, needs)], rule, count=1)) == 50


def test_the_split_keeps_whole_runs_apart_and_architectures_out(unchecked):
    tasks = [*["a-x"] * 10, *["b-x"] * 2, "c-x", *["b32-x"] * 2, "d-x"]
    runs = [Made(i, task=task) for i, task in enumerate(tasks)]
    fitted, kept, held_out = splitting.split(runs, 0.2, ["b32", "d", "absent"], 0)
    assert sorted([run.id for run in fitted + kept + held_out]) == sorted(run.id for run in runs)
    assert [run.config["task"] for run in held_out] == ["b32-x", "b32-x", "d-x"]
    by_task = Counter(run.config["task"] for run in kept)
    assert by_task == {"a-x": 2, "b-x": 1}  # the only run of c is fitted to
    again = [
        {run.id for run in splitting.split(runs, 0.2, [], seed).validation} for seed in range(5)
    ]
    assert any(other != again[0] for other in again)


@pytest.mark.parametrize(
    ("task", "model", "names"),
    [
        (
            "shufflenet_v2-emnist-letters",
            {"name": "shufflenet_v2", "depth": None},
            {"shufflenet_v2"},
        ),
        ("resnet32-mnist-3.0.1", {"name": "resnet", "depth": 32}, {"resnet32", "resnet"}),
        (
            "resnet-digits",
            {"name": "resnet", "depth": None},
            {"resnet20", "resnet"},
        ),  # its own depth
        ("resnet18-cifar10", {"name": "resnet18", "depth": None}, {"resnet18", "resnet"}),
        (
            "lenet-digits",
            {"name": "shufflenet_v2", "depth": None},
            {"shufflenet_v2"},
        ),  # whatever its task is called
        ("mine", "resnet32", {"resnet32", "resnet"}),  # as a loop of one's own may write it
        ("resnet32-my-data", None, {"resnet32", "resnet"}),
        ("my-net-my-data", {"depth": 3}, {"my-net"}),
    ],
)
def test_an_architecture_is_kept_out_by_what_the_configuration_says(unchecked, task, model, names):
    run = Made(0, task=task)
    run.config |= {} if model is None else {"model": model}
    for name in (
        "shufflenet_v2",
        "resnet32",
        "resnet20",
        "resnet18",
        "resnet",
        "lenet",
        "emnist",
        "my-net",
    ):
        fitted, _, held_out = splitting.split([run], 0.2, [name], 0)
        assert (len(held_out), len(fitted)) == ((1, 0) if name in names else (0, 1)), name


def test_networks_of_one_name_and_other_widths_are_tasks_of_their_own(unchecked):
    runs = [Made(i, each=each) for i, each in enumerate([4] * 8 + [2] * 2)]
    for run in runs[8:]:
        run.config["model"] = {"name": "made", "width": 0.5, "depth": None}
    for seed in range(5):
        _, kept, _ = splitting.split(runs, 0.2, [], seed)
        assert sum("model" in run.config for run in kept) == 1
    run, _, _ = places(draw(runs)[:, 0])
    assert 0.3 < np.mean(run >= 8) < 0.7  # of two runs, as much as of the eight


def test_runs_that_begin_alike_are_not_taken_apart(unchecked):
    runs = [Made(i) for i in range(12)]
    for i, run in enumerate(runs):  # three lengths of each of four seeds
        run.config = {
            "task": "a-x",
            "seed": i // 3,
            "epochs": 10 * (i % 3),
            "record_every": 1 + i % 3,
            **({}, {"sample": 5}, {"record": "gram", "band": 9})[i % 3],
        }
    for seed in range(5):
        fitted, kept, _ = splitting.split(runs, 0.25, [], seed)
        assert len(kept) == 3
        assert {run.config["seed"] for run in kept}.isdisjoint(run.config["seed"] for run in fitted)


def test_many_runs_that_begin_alike_do_not_all_become_validation(unchecked):
    runs = [Made(i) for i in range(12)]
    for i, run in enumerate(runs):
        run.config = {"task": "a-x", "seed": max(0, i - 9), "epochs": i, "record_every": 1}
    for seed in range(5):  # ten runs of one seed, and two of others
        fitted, kept, _ = splitting.split(runs, 0.2, [], seed)
        assert (len(fitted), len(kept)) == (10, 2)


def test_runs_that_diverged_are_fitted_to_alone(unchecked):
    runs = [Made(i, task=task) for i, task in enumerate(["a-x", "a-x", "b-x", "b-x", "c-x", "c-x"])]
    for i in (1, 2, 3, 4):
        runs[i].status = "diverged"
    fitted, kept, held_out = splitting.split(runs, 0.2, ["c"], 0)
    assert [[run.id for run in part] for part in (fitted, kept, held_out)] == [
        ["run0", "run1", "run2", "run3"], [], ["run5"],
    ]  # fmt: skip


def test_pools_replace_their_oldest_part_and_are_determined_by_seed_and_number(unchecked):
    source = Windows([Made(0), Made(1)], NETWORKS, Rule(5, 3))
    settings = {"size": 4, "seed": 5}
    whole = list(islice(loader.pools(source, ["bias", "fc"], **settings), 12))
    assert {len(pool) for pool in whole} == {loader.DEPTH}
    assert whole[0][0].shape == (2, 64, 4, 6)
    assert len(whole[0][0].sharding.device_set) == len(loader.devices()) == 2
    for older, newer in pairwise(whole):
        jax.tree.map(np.testing.assert_array_equal, older[1:], newer[:-1])
    later = next(loader.pools(source, ["bias", "fc"], **settings, first=11))
    jax.tree.map(np.testing.assert_array_equal, later, whole[11])
    assert (np.asarray(whole[0][0]) != np.asarray(whole[0][1])).any()
