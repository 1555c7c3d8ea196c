"""Images that are streamed: the batches, the runs and the measures are those of images in memory,
bit for bit.
"""

import json
import shutil
from itertools import islice

import jax
import numpy as np
import pytest
from made_sets import needs_sets
from PIL import Image

import nowcast
from collect import corpus, data
from collect.config import AugmentConfig, DataConfig, ModelConfig
from collect.data import resize
from collect.data.streaming import Streamed
from collect.estimate import estimate
from collect.population import collect_population, make_task
from collect.training import optimizers
from collect.training.loop import Loop
from evaluate.fingerprint import fingerprint

pytestmark = [needs_sets, pytest.mark.usefixtures("cache_folder")]


def both(model="mlp", batch_size=32, augment="none", width=0.1, depth=None, **config):
    """One task with its images in memory, and with streamed ones."""
    given = {"name": "mnist", "train_size": 320} | config
    return [
        make_task(
            ModelConfig(model, width=width, depth=depth),
            DataConfig(**given, in_memory=budget),
            batch_size,
            AugmentConfig(augment),
        )
        for budget in (4.0, 0.0)
    ]


def same(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(ours), jax.device_get(theirs))


def rates(steps):
    return np.linspace(1e-2, 1e-3, steps, dtype=np.float32)


@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_batches_are_those_of_the_images_in_memory(augment):
    held, streamed = both(augment=augment)
    assert streamed.arrays == ()
    key = jax.random.key(5)
    for seed in (0, 1, 77):
        stream = streamed.stream(seed, range(25))
        for step in range(25):  # two epochs and a half
            row = held.order(seed, step // 10)[step % 10]
            same(streamed.batch((), next(stream), key), held.batch(held.arrays, row, key))
        assert next(stream, None) is None


def test_batches_of_the_whole_set_are_the_same_where_an_epoch_begins():
    held, streamed = both(train_size=None, batch_size=64)
    last = held.steps_per_epoch - 1
    assert last == 54_000 // 64 - 1
    rows = [held.order(3, 0)[last], *held.order(3, 1)[:2]]
    for row, given in zip(rows, streamed.stream(3, range(last, last + 3)), strict=True):
        same(streamed.batch((), given), held.batch(held.arrays, row))


@pytest.mark.parametrize(
    "config", [{"min_size": 32}, {"validation": False}, {"validation": False, "train_size": None}]
)
def test_splits_and_statistics_are_those_in_memory(config):
    given = {"train_size": 700} | config
    held, streamed = data.load("mnist", **given), data.load("mnist", **given, in_memory=0)
    assert isinstance(streamed, Streamed)
    assert (streamed.examples, streamed.image_shape) == (held.examples, held.image_shape)
    for split in held.images:
        read = list(islice(streamed.parts(split, 300), 3))
        same(np.concatenate([images for images, _ in read]), held.images[split][:900])
        same(np.concatenate([labels for _, labels in read]), held.labels[split][:900])
    assert np.array_equal(streamed.first(10), held.images["train"][:10])
    if given["train_size"]:
        same(streamed.statistics(), held.statistics())
        same(streamed.mean_image(), held.mean_image())
        scaled = held.images["train"].astype(np.float64) / 255
        np.testing.assert_allclose(held.statistics()[0].item(), scaled.mean(), rtol=1e-6)
        np.testing.assert_allclose(held.statistics()[1].item(), scaled.std(), rtol=1e-6)


def test_what_is_larger_than_the_budget_is_streamed():
    size = 28 * 28 * (320 + 6_000 + 10_000)
    for budget, kind in ((size / 1e9, data.Dataset), ((size - 1) / 1e9, Streamed)):
        assert type(data.load("mnist", train_size=320, in_memory=budget)) is kind


@pytest.mark.parametrize(("model", "depth"), [("mlp", None), ("resnet", 8)])
def test_a_run_is_the_one_in_memory_and_goes_on_within_an_epoch(model, depth):
    held, streamed = both(
        model, depth=depth, augment="crop_flip", standardize=True, validation=False
    )
    ended = {}
    for name, task in (("held", held), ("streamed", streamed)):
        loop = Loop(task, optimizers.make("adam"))
        *_, last = loop.run(3, rates(13))
        ended[name] = jax.device_get(last.state), last.train_loss
        measured = task.evaluate(last.state.params, last.state.extra, "test")
        ended[name] += (measured,)
        if task is streamed:
            for snapshot in loop.run(3, rates(13), record_every=4):
                if snapshot.step == 4:
                    break
            *_, last = loop.run(3, rates(13), state=snapshot.state, first_step=4)
            same(last.state, ended["streamed"][0])
    same(ended["streamed"], ended["held"])


def test_runs_together_are_those_in_memory():
    ended = []
    for task in both():
        loop = Loop(task, optimizers.make("adam"))
        *_, last = loop.run_together([0, 1, 2], np.stack([rates(12)] * 3))
        ended.append([one.state for one in last])
    same(*ended)
    state = Loop(task, optimizers.make("adam")).once(
        jax.tree.map(jax.numpy.copy, ended[1][0]), 0, rates(12), 11
    )
    assert not np.array_equal(
        jax.tree.leaves(state.params)[0], jax.tree.leaves(ended[1][0].params)[0]
    )


def test_corpora_are_the_same_after_a_kill_and_in_memory(
    corpus_config, collect_until_killed, tmp_path
):
    def config(name, budget):
        own = DataConfig("mnist", train_size=320, in_memory=budget)
        more = {
            "data": own,
            "runs": 2,
            "epochs": 3,
            "batch_size": 64,
            "record_every": 2,
            "together": False,
        }
        return corpus_config(tmp_path / name, **more)

    collect_population(config("held", 4.0))
    collect_until_killed(config("streamed", 0.0), 3)  # an epoch has 5 steps
    assert collect_population(config("streamed", 0.0))["complete"] == 2
    assert collect_population(config("streamed", 4.0))["already"] == 2
    assert not estimate(config("none", 0.0)).runs - 2
    held, streamed = (corpus.open(tmp_path / name).runs for name in ("held", "streamed"))
    assert [run.id for run in held] == [run.id for run in streamed]
    for ours, theirs in zip(streamed, held, strict=True):
        same(np.asarray(ours.weights[:]), np.asarray(theirs.weights[:]))
        assert ours.metrics["loss"] == pytest.approx(theirs.metrics["loss"], rel=0, abs=0)


def test_a_streamed_task_is_told_from_another_of_its_name():
    (_, one), (_, other) = both(), both(train_size=321)
    assert fingerprint(one) == fingerprint(both()[1])
    assert fingerprint(one) != fingerprint(other)


@pytest.mark.slow
def test_a_comparison_ends_in_the_numbers_of_images_in_memory(script, tmp_path):
    given = [
        "model=mlp",
        "model.width=0.1",
        "data=mnist",
        "data.train_size=256",
        "batch_size=64",
        "seeds=2",
        "epochs=6",
        "arm=[constant]",
        "forecaster=",
        "tuned.seeds=2",
    ]
    curves = []
    for budget in (4, 0):
        report = tmp_path / f"report{budget}"
        done = script(
            "evaluate", *given, f"data.in_memory={budget}", f"report={report}", cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        curves.append(json.loads((report / "results.json").read_text())["curves"])
    own = [
        [(run["step"], run["loss"], run["accuracy"]) for run in one["constant"]] for one in curves
    ]
    assert own[0] == own[1]


def test_images_of_several_sizes_are_cut_alike_in_memory_and_streamed(made, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    held, streamed = (
        data.load("sized", directory=str(made), size=10, in_memory=gb) for gb in (4, 0)
    )
    assert isinstance(streamed, Streamed)
    assert held.image_shape == streamed.image_shape == (10, 10, 3)
    for split in ("train", "validation", "test"):
        [(images, labels)] = streamed.parts(split)
        same((images, labels), (held.images[split], held.labels[split]))
    grey = [
        (image[..., :1] == image).all() for split in held.images for image in held.images[split]
    ]
    assert sum(grey) == 14  # of 40 each third
    again = data.load("sized", directory=str(made), size=9)
    assert again.image_shape == (9, 9, 3)


def test_the_centre_is_cut_out_and_shrunk_to_means():
    picture = np.zeros((8, 20, 3), np.uint8)
    picture[:, 6:14] = 200
    assert (resize.cut(picture, 8, 3) == 200).all()
    assert np.array_equal(resize.cut(picture[:, 6:], 8, 3)[0, :, 0], [200] * 5 + [0] * 3)
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    np.testing.assert_array_equal(resize.cut(noise, 9, 3), noise)
    theirs = np.asarray(Image.fromarray(noise).resize((3, 3), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resize.cut(noise, 3, 3), theirs)
    grey = resize.cut(noise[..., 0], 9, 3)
    np.testing.assert_array_equal(grey, np.repeat(noise[..., :1], 3, axis=-1))
    np.testing.assert_array_equal(resize.cut(noise[..., :1], 9, 1), noise[..., :1])


@pytest.mark.parametrize("budget", [4, 0])
def test_a_split_without_labels_is_taken_from_the_training_images(
    made, monkeypatch, tmp_path, budget
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    got = data.load("hidden", directory=str(made), in_memory=budget)
    assert got.examples == {"train": 32, "validation": 4, "test": 4}


def test_a_file_that_is_damaged_within_ends_a_run_with_that_line(script, made, tmp_path):
    shutil.copytree(made / "made", tmp_path / "made")
    [file] = (tmp_path / "made").glob("*/*.array_record*")
    content = bytearray(file.read_bytes())
    content[3_000:3_040] = bytes(40)
    file.write_bytes(content)
    # The ends of the files are in order.
    streamed = data.load("made", directory=str(tmp_path), in_memory=0)
    assert streamed.examples["train"] == 32
    given = ["data.name=made", f"data.dir={tmp_path}", "data.in_memory=0", "batch_size=8", "runs=1"]
    done = script("collect", *given, f"corpus={tmp_path / 'corpus'}", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    [said] = [line for line in done.stderr.split("\n") if line.startswith("error: ")]
    assert said.startswith("error: data.name='made': the prepared set in ")
    assert "is damaged (" in said
    assert "Traceback" not in done.stderr


def test_a_stream_reads_no_step_that_nobody_asked_for(monkeypatch):
    _, task = both()
    read = []

    def note(self, batches):
        read.extend(map(len, batches))
        return [(numbers, numbers) for numbers in batches]

    monkeypatch.setattr(Streamed, "_read", note)
    assert len(list(task.stream(0, range(9, 12)))) == 3
    assert read == [32] * 3
    assert list(task.stream(0, range(9, 9))) == []


def test_a_set_of_several_sizes_without_a_size_names_the_key(made):
    with pytest.raises(nowcast.UserError, match=r"add data\.size=224, which"):
        data.load("sized", directory=str(made), in_memory=0)
