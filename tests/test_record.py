"""Any loop is recorded: what comes back is what was given, on disk as our own loop writes it, whole
or not at all.
"""

import collections
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import collect
import nowcast
from collect import corpus
from collect.corpus import inspection
from collect.corpus.checkpoint_pace import CheckpointPace
from collect.corpus.leaf import chosen
from collect.estimate import _values
from collect.population import collect_population, make_task
from collect.training import optimizers
from collect.training.loop import Loop
from meta_train.config import MetaTrainConfig
from meta_train.fitting import meta_train
from meta_train.leaves import inner_products

SHAPES = {
    "conv": {"kernel": (3, 3, 1, 4), "bias": (4,)},
    "head": {"kernel": (4, 30), "bias": (30,)},
}


def params(step, seed=0, dtype=np.float32):
    """Weights that walk: those of a step are the same whenever one asks."""
    rng = np.random.default_rng((seed, step))
    made = {}
    for layer, shapes in SHAPES.items():
        for name, shape in shapes.items():
            made.setdefault(layer, {})[name] = (rng.normal(size=shape) + 0.3 * step).astype(dtype)
    return made


def record(path, steps, run="walk-0", stop=None, **options):
    """Record these steps; ``stop``: with an error behind the last one."""
    with collect.record(path, run=run, params=params(0), **options) as recording:
        for step in steps:
            recording.snapshot(params(step), step=step, metrics={"loss": 1.0 / (1 + step)})
        if stop:
            raise stop
    return corpus.open(path).runs[0]


def record_two(path, *snapshots):
    with collect.record(path, run="a", params=params(0)) as recording:
        for given, step in snapshots:
            recording.snapshot(given, step=step)


def files(folder):
    """The content of all files of a run but its lock."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name not in ("lock", "run.json")
    }


class Tensor:
    """What a tensor of PyTorch has, as far as we use it."""

    def __init__(self, value):
        self.value = value
        self.shape, self.dtype = value.shape, f"torch.{value.dtype}"

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self.value


def test_a_run_of_our_loop_is_the_same_on_disk(corpus_path, corpus_config, tmp_path):
    ours = corpus.open(corpus_path).runs[0]
    config = corpus_config("unused")
    task = make_task(config.model, config.data, config.batch_size)
    optimizer = ours.config["optimizer"]
    loop = Loop(task, optimizers.make(optimizer["name"]))
    steps = config.epochs * task.steps_per_epoch
    rates = optimizers.rates(
        optimizer["schedule"], optimizer["learning_rate"], steps, optimizer["warmup"]
    )
    first = task.init(0)[0]
    with collect.record(
        tmp_path / "c", run="mine", params=first, task=ours.config["task"], labels=task.labels
    ) as run:
        for snapshot in loop.run(ours.config["seed"], rates):
            metrics = task.evaluate(snapshot.state.params, snapshot.state.extra, "validation")
            about = {"epoch": snapshot.epoch, "train_loss": snapshot.train_loss, **metrics}
            run.snapshot(snapshot.state.params, step=snapshot.step, metrics=about)
    [mine] = corpus.open(tmp_path / "c").runs
    assert files(mine.path) == files(ours.path)
    assert mine.leaves == ours.leaves
    assert mine.info["sha256"] == ours.info["sha256"]
    assert mine.config["record_every"] == ours.config["record_every"]


@pytest.mark.parametrize(
    "kind",
    [
        jnp.asarray,
        Tensor,
        lambda value: jnp.asarray(value, jnp.bfloat16),
        lambda value: value.astype(np.float64),
        lambda value: value.astype(np.float16),
    ],
    ids=["jax", "torch", "bfloat16", "float64", "float16"],
)
def test_arrays_of_any_kind_become_float32(tmp_path, kind):
    with collect.record(tmp_path / "c", run="a", params=jax.tree.map(kind, params(0))) as run:
        for step in range(3):
            run.snapshot(jax.tree.map(kind, params(step)), step=step)
    [got] = corpus.open(tmp_path / "c").runs
    for step in range(3):
        given = [kind(leaf) for leaf in jax.tree.leaves(params(step))]
        flat = np.concatenate(
            [np.asarray(getattr(leaf, "value", leaf), np.float32).ravel() for leaf in given]
        )
        np.testing.assert_array_equal(got.weights[step], flat)


def test_parameters_of_pytorch_are_recorded_by_name(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    )
    given = dict(model.named_parameters())
    with collect.record(tmp_path / "c", run="a", params=given) as run:
        for step in range(3):
            run.snapshot(dict(model.named_parameters()), step=step)
            with torch.no_grad():
                for leaf in model.parameters():
                    leaf.add_(1)
    [got] = corpus.open(tmp_path / "c").runs
    assert {leaf.path for leaf in got.leaves} == given.keys()
    flat = np.concatenate([given[leaf.path].detach().numpy().ravel() for leaf in got.leaves])
    np.testing.assert_allclose(got.weights[0], flat - 3, atol=1e-5)
    with pytest.raises(nowcast.UserError, match=r"1\.num_batches_tracked.*named_parameters"):
        collect.record(tmp_path / "c", run="b", params=model.state_dict())


def test_names_with_dots_give_the_operations(tmp_path):
    flat = collections.OrderedDict(
        [
            ("layer1.0.conv1.weight", np.ones((4, 3, 3, 3))),
            ("layer1.0.bn1.weight", np.ones(4)),
            ("wte.weight", np.ones((7, 4))),
            ("fc.weight", np.ones((2, 4))),
            ("fc.bias", np.ones(2)),
        ]
    )
    with collect.record(tmp_path / "c", run="a", params=flat) as run:
        run.snapshot(flat, step=0)
    got = corpus.open(tmp_path / "c").runs[0].leaves
    assert [(leaf.path, leaf.op) for leaf in got] == list(
        zip(flat, ["conv", "norm", "embedding", "fc", "bias"], strict=True)
    )
    with collect.record(
        tmp_path / "d", run="a", params=flat, labels=dict.fromkeys(flat, "other")
    ) as run:
        run.snapshot(flat, step=0)
    assert {leaf.op for leaf in corpus.open(tmp_path / "d").runs[0].leaves} == {"other"}


def test_a_module_of_flax_gives_its_parameters(tmp_path):
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    with collect.record(tmp_path / "c", run="a", params=model) as run:
        run.snapshot(model, step=0)
    assert [leaf.op for leaf in corpus.open(tmp_path / "c").runs[0].leaves] == ["bias", "fc"]


def test_task_spacing_and_metrics_are_as_given_or_as_seen(tmp_path):
    with collect.record(tmp_path / "c", run="ppo-3", params=params(0), config={"seed": 3}) as run:
        run.snapshot(params(0), step=0)
        for step in (10, 20, 25):
            run.snapshot(
                params(step),
                step=step,
                metrics={"reward": np.float32(step), "games": np.int64(step)},
            )
    [got] = corpus.open(tmp_path / "c").runs
    assert got.config == {"task": "ppo", "run": "ppo-3", "record_every": 10, "seed": 3}
    np.testing.assert_array_equal(got.metrics["reward"], [np.nan, 10, 20, 25])
    assert [row.get("games") for row in got.rows] == [None, 10, 20, 25]
    inspection.verify(got)
    inspection.draw(got, tmp_path, per_operation=3, seed=0)


@pytest.mark.parametrize(
    "options", [{}, {"sample": 7}, {"record": "gram", "band": 4}], ids=["weights", "sample", "gram"]
)
@pytest.mark.parametrize("again", [0, 6, 7, 8], ids="from_{}".format)
def test_a_run_that_was_killed_goes_on(tmp_path, options, again):
    whole = record(tmp_path / "whole", range(12), **options)
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path / "c", range(8), stop=KeyboardInterrupt(), **options)
    assert len(corpus.open(tmp_path / "c")) == 0
    got = record(tmp_path / "c", range(again, 12), **options)
    assert files(got.path) == files(whole.path)
    assert got.info == whole.info
    assert got.status == "complete"
    # Finished: left as it is.
    assert record(tmp_path / "c", range(12), **options).info == whole.info


@pytest.mark.parametrize("options", [{}, {"record": "gram", "band": 2}])
def test_a_loop_that_takes_long_is_recorded(tmp_path, monkeypatch, options):
    """Our own loop would make a checkpoint by now; another loop has its own."""
    monkeypatch.setattr(CheckpointPace, "due", lambda pace: True)
    assert record(tmp_path / "c", range(6), **options).snapshots == 6


def test_a_run_says_where_it_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path / "c", [0, 10, 20], stop=KeyboardInterrupt())
    with collect.record(tmp_path / "c", run="walk-0", params=params(0)) as run:
        assert (run.last_step, run.finished) == (20, False)
    with collect.record(tmp_path / "c", run="walk-1", params=params(0)) as run:
        assert run.last_step is None


def test_weights_that_are_not_finite_at_the_end_are_a_run_that_diverged(tmp_path):
    bad = jax.tree.map(lambda leaf: leaf * np.float32(np.nan), params(0))
    with collect.record(tmp_path / "c", run="a", params=bad) as run:
        run.snapshot(params(0), step=0)
        run.snapshot(bad, step=1)
    [got] = corpus.open(tmp_path / "c").runs
    assert got.status == "diverged"
    assert np.isnan(got.weights[1]).all()
    inspection.verify(got)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda p: {**p, "head": {**p["head"], "bias": np.ones(3)}},
            r"'head/bias' has shape \(3,\), and had \(30,\)",
        ),
        (lambda p: {"head": p["head"]}, "'conv/bias' is missing"),
        (lambda p: {**p, "more": np.ones(3)}, "'more' was not there"),
        (lambda p: {**p, "more": np.ones(3, int)}, "'more' holds int64.*leave it out"),
        (lambda p: {}, "they hold no array"),
        (lambda p: {"a": "text"}, "'a' is not an array but str"),
    ],
)
def test_other_parameters_are_refused_and_nothing_is_finished(tmp_path, change, said):
    with pytest.raises(nowcast.UserError, match=said) as caught:
        record_two(tmp_path / "c", (params(0), 0), (change(params(1)), 1))
    assert "\n" not in str(caught.value)
    assert len(corpus.open(tmp_path / "c")) == 0


@pytest.mark.parametrize(
    ("step", "said"), [(5, "step=5"), (4, "go forward"), (-1, "step=-1"), (1.5, "whole number")]
)
def test_steps_go_forward(tmp_path, unchecked, step, said):
    with pytest.raises(nowcast.UserError, match=said):
        record_two(tmp_path / "c", (params(0), 5), (params(1), step))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"run": "a/b"}, "run='a/b'"),
        ({"run": ".."}, "run='..'"),
        ({"record": "grams"}, "the nearest is gram; there are weights, gram"),
        ({"sample": 3, "record": "gram"}, "leave one of them out"),
        ({"sample": 0}, "sample=0"),
        ({"record_every": 0}, "record_every=0"),
        ({"params": {}}, "they hold no array"),
        ({"params": {"a": np.ones(3, bool)}}, "'a' holds bool"),
        ({"labels": {"conv": "fc"}}, "labels have no entry"),
        ({"config": {"a": np.ones(3)}}, "config="),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused_in_one_line(tmp_path, options, said):
    with pytest.raises(nowcast.UserError, match=said) as caught:
        collect.record(tmp_path / "c", **{"run": "a", "params": params(0), **options})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "c").exists()


def test_another_run_of_the_same_name_is_refused(tmp_path):
    record(tmp_path / "c", range(3))
    for options in ({"config": {"seed": 1}}, {"sample": 3}, {"task": "another"}):
        with pytest.raises(nowcast.UserError, match="choose another name"):
            record(tmp_path / "c", range(3), **options)
    with (
        pytest.raises(nowcast.UserError, match="other parameters"),
        collect.record(tmp_path / "c", run="walk-0", params={"a": np.ones(3)}),
    ):
        pass


def test_a_run_is_copied_into_a_store(tmp_path):
    record(tmp_path / "c", range(4))
    record(f"file://{tmp_path}/d", range(4))
    one, other = corpus.open(tmp_path / "c"), corpus.open(f"file://{tmp_path}/d")
    assert one.hash == other.hash


def test_a_sample_holds_the_chosen_scalars(tmp_path):
    got, everything = record(tmp_path / "c", range(10), sample=7), record(tmp_path / "d", range(10))
    assert [leaf.shape for leaf in got.leaves] == [leaf.shape for leaf in everything.leaves]
    assert [leaf.columns for leaf in got.leaves] == [4, 7, 7, 7]
    assert got.weights.shape == (10, 25)
    for leaf, full in zip(got.leaves, everything.leaves, strict=True):
        np.testing.assert_array_equal(
            got.weights[:, leaf.scalars], everything.weights[:, full.scalars][:, leaf.chosen]
        )
    assert inspection.table(corpus.open(tmp_path / "c"))[1][4:6] == ("25", "250")
    inspection.verify(got)
    assert len(inspection.changes(got)["fc"]) == 7
    assert (
        json.loads((tmp_path / "c" / "manifest.json").read_text())["runs"]["walk-0"]["scalars"]
        == 25
    )


def test_the_choice_is_of_distinct_scalars_each_as_likely_as_any_other():
    counts = np.zeros(50)
    for number in range(2000):
        found = chosen(f"leaf{number}", 50, 20)
        assert len(set(found.tolist())) == 20
        counts[found] += 1
    assert counts.min() > 0.85 * 800
    assert counts.max() < 1.15 * 800
    np.testing.assert_array_equal(chosen("a", 3, 9), [0, 1, 2])
    large = chosen("a", 10**12, 1000)
    assert (np.diff(large) > 0).all()
    np.testing.assert_array_equal(chosen("w", 100, 5), [16, 17, 45, 69, 96])  # the same for ever


def test_inner_products_are_those_of_the_weights(tmp_path):
    band = 6
    got, everything = (
        record(tmp_path / "c", range(15), record="gram", band=band),
        record(tmp_path / "d", range(15)),
    )
    assert (
        sum(file.stat().st_size for file in (got.path / "gram").rglob("*") if file.is_file())
        < 15 * 1000
    )
    assert not (got.path / "recent").exists()
    for leaf, products in zip(everything.leaves, inner_products(got), strict=True):
        weights = everything.weights[1:, leaf.scalars].astype(np.float64)
        for first in range(14 - band):
            near = slice(first, first + band + 1)
            moved = weights[near] - weights[first]
            apart = products - products[[first]] - products[:, [first]] + products[first, first]
            own = apart[near, near]
            np.testing.assert_allclose(
                own * leaf.size, moved @ moved.T, atol=1e-6 * np.abs(moved @ moved.T).max()
            )
    inspection.verify(got)
    with pytest.raises(nowcast.UserError, match="no weights"):
        _ = got.weights


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same runs, as weights, as inner products that reach over all of them, and as samples."""
    root = tmp_path_factory.mktemp("both")
    for name, options in {
        "weights": {},
        "gram": {"record": "gram", "band": 30},
        "sample": {"sample": 20},
    }.items():
        for seed in range(2):
            with collect.record(
                root / name, run=f"walk-{seed}", params=params(0), **options
            ) as run:
                total = jax.tree.map(np.zeros_like, params(0))
                for step in range(25):
                    total = jax.tree.map(np.add, total, params(step, seed))
                    run.snapshot(total, step=step)
    return root


@pytest.mark.parametrize(
    "options", [{"sample": 9}, {"record": "gram", "band": 4}], ids=["sample", "gram"]
)
def test_a_collection_that_was_killed_records_the_same(
    corpus_path, corpus_config, collect_until_killed, tmp_path, options
):
    given = {"runs": 1, "epochs": 8, "together": False} | options
    collect_population(corpus_config(tmp_path / "whole", **given))
    config = corpus_config(tmp_path / "c", **given)
    collect_until_killed(config, 6, checkpoint=lambda folder, snapshot: snapshot == 5)
    collect_population(config)
    [whole], [got] = (corpus.open(tmp_path / name).runs for name in ("whole", "c"))
    assert files(got.path) == files(whole.path)
    assert got.config["record_every"] == 5
    inspection.verify(got)
    if "sample" in options:
        everything = corpus.open(corpus_path).runs[0]
        for leaf, full in zip(got.leaves, everything.leaves, strict=True):
            start = everything.weights[0, full.scalars]
            np.testing.assert_array_equal(got.weights[0, leaf.scalars], start[leaf.chosen])


@pytest.mark.parametrize(
    ("options", "values"),
    [({}, 10), ({"sample": 3}, 6), ({"record": "gram", "band": 4}, 16)],
    ids=["all", "sample", "gram"],
)
def test_what_is_recorded_counts_in_the_estimate(options, values, corpus_config):
    config = corpus_config("unused", **options)
    assert sum(_values(size, config) for size in (3, 7)) == values


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"record": "all"}, "record=all"), ({"sample": 0}, "sample=0"), ({"band": 0}, "band=0"),
        ({"record": "gram", "sample": 3}, "leave one out"),
    ],
)  # fmt: skip
def test_wrong_keys_of_a_collection_are_refused(corpus_config, options, said):
    with pytest.raises(nowcast.UserError, match=said):
        corpus_config("unused", **options)


def fit(path, bundle, forecaster, **options):
    given = {"steps": 30, "batch_size": 64} | options
    return meta_train(MetaTrainConfig(str(path), str(bundle), forecaster, **given)).card


def test_gram_is_fitted_to_inner_products_as_to_the_weights(both, tmp_path):
    cards = {
        name: fit(both / name, tmp_path / name, "gram", horizon=10) for name in ("gram", "weights")
    }
    assert cards["gram"]["corpus"]["holds"] == ["inner products of 30 increments"]
    assert cards["weights"]["corpus"]["holds"] == ["all weights"]
    for name, curve in cards["weights"]["curves"].items():
        np.testing.assert_allclose(cards["gram"]["curves"][name], curve, rtol=1e-2)


def test_a_forecaster_of_weights_is_fitted_to_a_sample(both, tmp_path):
    card = fit(both / "sample", tmp_path / "b", "wnn")
    assert card["corpus"]["holds"] == ["a sample of 20 weights a leaf"]
    assert np.isfinite(card["curves"]["loss/fc"]).all()


@pytest.mark.parametrize(
    ("corpus_name", "forecaster", "said"),
    [("gram", "wnn", "give forecaster=gram"), ("sample", "gram", "give forecaster=wnn")],
)
def test_a_forecaster_refuses_what_it_cannot_read(both, tmp_path, corpus_name, forecaster, said):
    with pytest.raises(nowcast.UserError, match=said) as caught:
        fit(both / corpus_name, tmp_path / "b", forecaster)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "b").exists()


def test_a_band_that_is_too_short_is_refused_and_a_horizon_that_fits_is_named(tmp_path):
    for name, band in (("short", 4), ("fits", 8)):
        for seed in range(2):
            record(tmp_path / name, range(25), run=f"walk-{seed}", record="gram", band=band)
    with pytest.raises(nowcast.UserError, match="collect with band=5 or more"):
        fit(tmp_path / "short", tmp_path / "b", "gram", horizon=1)
    with pytest.raises(
        nowcast.UserError, match=r"gram forecasts 1 to 40 snapshots by default: .* horizon=4"
    ):
        fit(tmp_path / "fits", tmp_path / "b", "gram")
    fit(tmp_path / "fits", tmp_path / "b", "gram", horizon=4)


@pytest.mark.parametrize("name", ["step", "snapshot", "sha256"])
def test_a_metric_that_a_snapshot_says_itself_is_refused(tmp_path, name):
    with (
        pytest.raises(
            nowcast.UserError, match=f"metrics: '{name}' is what a snapshot says of itself"
        ),
        collect.record(tmp_path / "c", run="a-0", params=params(0)) as recording,
    ):
        recording.snapshot(params(0), step=0, metrics={name: 7})


def test_a_corpus_may_be_named_by_a_path_that_goes_up(tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    run = record("../c", range(3))
    np.testing.assert_array_equal(
        run.weights[2], np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params(2))])
    )
    assert (tmp_path / "c").is_dir()


def test_the_arguments_say_what_a_run_is_and_not_its_config(tmp_path):
    assert (
        record(tmp_path / "c", range(3), task="walk", config={"task": "other", "seed": 3}).config[
            "task"
        ]
        == "walk"
    )


def test_a_run_that_is_being_recorded_is_refused_to_another(tmp_path):
    with collect.record(tmp_path / "c", run="a-0", params=params(0)) as recording:
        recording.snapshot(params(0), step=0)
        with (
            pytest.raises(
                nowcast.UserError,
                match="is being recorded by another process; wait for it or stop it",
            ),
            collect.record(tmp_path / "c", run="a-0", params=params(0)),
        ):
            pass


@pytest.mark.parametrize(
    "options", [{}, {"sample": 7}, {"record": "gram", "band": 2}], ids=["weights", "sample", "gram"]
)
@pytest.mark.parametrize("snapshots", [1, 5])
@pytest.mark.parametrize("where", ["{}", "file://{}"], ids=["folder", "store"])
def test_a_run_that_was_killed_behind_its_last_snapshot_keeps_all(
    tmp_path, options, snapshots, where
):
    whole = record(tmp_path / "whole", range(snapshots), **options)
    path = where.format(tmp_path / "c")
    with pytest.raises(KeyboardInterrupt):
        record(path, range(snapshots), stop=KeyboardInterrupt(), **options)
    got = record(path, [], **options)
    assert (got.status, got.snapshots) == ("complete", snapshots)
    assert corpus.open(path).hash == corpus.open(tmp_path / "whole").hash
    inspection.verify(got)
    if where == "{}":
        assert files(got.path) == files(whole.path)
        assert got.info == whole.info


@pytest.mark.parametrize("options", [{}, {"record": "gram", "band": 2}], ids=["weights", "gram"])
def test_a_run_that_diverged_and_was_killed_is_one_that_diverged(tmp_path, options):
    bad = jax.tree.map(lambda leaf: leaf * np.float32(np.nan), params(0))
    run = collect.record(tmp_path / "c", run="walk-0", params=bad, **options)
    run.__enter__()
    run.snapshot(params(0), step=0)
    run.snapshot(bad, step=1)
    run.__exit__(KeyboardInterrupt)
    got = record(tmp_path / "c", [], **options)
    assert (got.status, got.snapshots) == ("diverged", 2)


@pytest.mark.parametrize("damage", ["lost", "changed"])
def test_a_damaged_last_snapshot_is_not_finished(tmp_path, damage):
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path / "c", range(5), stop=KeyboardInterrupt())
    [chunk] = (tmp_path / "c" / "runs" / "walk-0" / "weights" / "c" / "4").glob("*")
    if damage == "lost":
        chunk.unlink()
    else:
        chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    with pytest.raises(nowcast.UserError, match="is damaged") as caught:
        record(tmp_path / "c", [])
    assert "\n" not in str(caught.value)
    assert len(corpus.open(tmp_path / "c")) == 0


def test_a_run_is_recorded_within_with_alone(tmp_path):
    run = collect.record(tmp_path / "c", run="walk-0", params=params(0))
    for use in (
        lambda: run.snapshot(params(0), step=0),
        lambda: run.finished,
        lambda: run.discard(),
    ):
        with pytest.raises(nowcast.UserError, match=r"'walk-0' is not open.*'with collect") as said:
            use()
        assert "\n" not in str(said.value)
    assert not (tmp_path / "c").exists()
    with run:
        run.snapshot(params(0), step=0)
    assert run.finished
    with pytest.raises(nowcast.UserError, match="is not open"):
        run.snapshot(params(1), step=1)
