"""Sets prepared by TensorFlow Datasets: label counts known from elsewhere, images as TFDS reads
them, and the cache.
"""

import json
import os
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from made_sets import ROOT, SETS, needs_sets

import nowcast
from collect import data
from collect.config import DataConfig, ModelConfig
from collect.data import cache
from collect.data.images import Images
from collect.population import make_task

KNOWN = {  # labels per class of the whole training split, as published
    "mnist": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "cifar10": [5000] * 10,
}


pytestmark = pytest.mark.usefixtures("cache_folder")


@needs_sets
@pytest.mark.parametrize(
    ("name", "shape", "validation"),
    [
        ("mnist", (28, 28, 1), 6000),
        pytest.param("cifar10", (32, 32, 3), 5000, marks=pytest.mark.slow),
    ],
)
def test_a_set_has_the_published_labels_and_the_images_that_tfds_reads(name, shape, validation):
    import tensorflow_datasets as tfds

    got = data.load(name)
    assert (got.name, got.classes, got.image_shape) == (name, 10, shape)
    sizes = {split: len(labels) for split, labels in got.labels.items()}
    assert sizes == {"train": 9 * validation, "validation": validation, "test": 10_000}
    assert {images.dtype for images in got.images.values()} == {np.dtype(np.uint8)}
    counts = np.bincount(got.labels["train"]) + np.bincount(got.labels["validation"])
    np.testing.assert_array_equal(counts, KNOWN[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train, test = tfds.data_source(name, data_dir=str(SETS), split=["train", "test"])
    for source, split, there, here in [
        (train, "train", 0, 0),
        (train, "train", 8, 8),
        (train, "train", 10, 9),
        (train, "validation", 9, 0),
        (train, "validation", 10 * validation - 1, -1),
        (train, "train", 10 * validation - 2, -1),
        (test, "test", 0, 0),
        (test, "test", 9999, -1),
    ]:
        example = source[there]
        np.testing.assert_array_equal(got.images[split][here], example["image"])
        assert got.labels[split][here] == example["label"]


@needs_sets
def test_the_second_time_maps_what_the_first_decoded(monkeypatch, cache_folder):
    first = data.load("mnist").images["train"]
    monkeypatch.setattr(cache, "_decode", None)
    again = data.load("mnist", train_size=100).images["train"]
    assert again.filename == first.filename
    assert cache_folder in Path(again.filename).parents
    assert not again.flags.writeable
    np.testing.assert_array_equal(again, first[:100])


@needs_sets
def test_uint8_images_become_floats_in_the_batch_and_are_resized_for_the_networks_that_need_it():
    task = make_task(ModelConfig("mlp", width=0.1), DataConfig("mnist", train_size=64), 16)
    indices = task.order(0, 0)[0]
    images, labels = task.batch(task.arrays, indices)
    mnist = data.load("mnist")
    assert task.arrays[0].dtype == jnp.uint8
    np.testing.assert_allclose(images, mnist.images["train"][indices] / 255, rtol=2e-7)
    np.testing.assert_array_equal(labels, mnist.labels["train"][indices])
    metrics = task.evaluate(*task.init(0), "test")
    assert metrics["loss"] == pytest.approx(np.log(10), rel=0.2)
    large = data.load("mnist", train_size=64, min_size=56).images["train"]
    assert (large.shape, large.dtype) == ((64, 56, 56, 1), np.uint8)
    shrunk = large.reshape(64, 28, 2, 28, 2).mean(axis=(2, 4))
    assert np.corrcoef(shrunk.ravel(), mnist.images["train"][:64].ravel())[0, 1] > 0.95


@needs_sets
def test_a_set_of_texts_is_refused():
    with pytest.raises(
        nowcast.UserError,
        match=r"'tiny_shakespeare': no image classification set.* texts are for task=gpt",
    ):
        data.load("tiny_shakespeare")


def test_a_set_without_a_test_split_gives_two_tenths_of_its_training_images(made):
    got = data.load("made", directory=str(made))
    assert {split: len(labels) for split, labels in got.labels.items()} == {
        "train": 32,
        "validation": 4,
        "test": 4,
    }
    values = {split: set(images[:, 0, 0, 0].tolist()) for split, images in got.images.items()}
    assert set.union(*values.values()) == set(range(40))  # each image in one split
    for split, images in got.images.items():
        np.testing.assert_array_equal(got.labels[split], images[:, 0, 0, 0] % 4)
        assert (images == images[:, :1, :1, :1]).all()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sized", "its images have several sizes; add data.size=224"),
        ("unlabelled", "the t[a-z]+ split has images without a label"),
        ("untrained", "no training split, only test"),
        (
            "counted",
            (
                r"takes image \(Image\) and label \(ClassLabel.*it has image \(Image\), label"
                r" \(Scalar\)"
            ),
        ),
        ("torn", "the prepared set in .*torn/1.0.0' is damaged .*prepare it again"),
        (
            "odd",
            (
                r"is damaged \(train image \d+ is \(1, 1, 3\), and \(8, 6, 3\) is"
                r" declared\).*prepare it again"
            ),
        ),
    ],
)
def test_what_cannot_be_trained_on_is_refused_and_leaves_nothing(made, cache_folder, name, said):
    with pytest.raises(nowcast.UserError, match=f"data.name='{name}': .*{said}"):
        data.load(name, directory=str(made))
    assert not list(cache_folder.glob(f"*{name}*"))


def test_a_set_prepared_anew_is_decoded_anew(made, tmp_path):
    shutil.copytree(made / "made", tmp_path / "made")
    first, elsewhere = (
        data.load("made", directory=str(folder)).images["train"] for folder in (made, tmp_path)
    )
    assert first.filename != elsewhere.filename
    os.utime(tmp_path / "made" / "1.0.0" / "features.json", (1, 1))
    assert data.load("made", directory=str(tmp_path)).images["train"].filename != elsewhere.filename


def first_shard(folder):
    return next(folder.glob("*.array_record*"))


def cut(file, kept):
    file.write_bytes(file.read_bytes()[:kept])


def described(folder, change):
    """Change what the set's description says of its splits."""
    file = folder / "dataset_info.json"
    info = json.loads(file.read_text())
    info["splits"] = change(info["splits"])
    file.write_text(json.dumps(info))


def of_length(length):
    return lambda splits: [splits[0] | {"shardLengths": [length]}, *splits[1:]]


def emptied(folder):
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGES = {
    "cut": lambda folder: cut(first_shard(folder), -200),
    "halved": lambda folder: cut(first_shard(folder), 40_000),
    "empty": lambda folder: cut(first_shard(folder), 0),
    "lost": lambda folder: first_shard(folder).unlink(),
    "too short": lambda folder: described(folder, of_length("41")),
    "of no length": lambda folder: described(folder, of_length("0")),
    "of a negative length": lambda folder: described(folder, of_length("-3")),
    "without splits": lambda folder: described(folder, lambda splits: []),
    "emptied": emptied,
    "a description that is a list": lambda folder: (folder / "dataset_info.json").write_text("[]"),
    "without a description": lambda folder: (folder / "dataset_info.json").unlink(),
    "a torn description": lambda folder: cut(folder / "dataset_info.json", 20),
    "an empty description": lambda folder: cut(folder / "dataset_info.json", 0),
    "a description of nothing": lambda folder: (folder / "dataset_info.json").write_text("{}"),
    "without features": lambda folder: (folder / "features.json").unlink(),
    "torn features": lambda folder: cut(folder / "features.json", 20),
}


@pytest.mark.parametrize("in_memory", [4, 0])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_set_is_named_with_its_folder_and_the_cure(
    made, monkeypatch, tmp_path, damage, in_memory
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(made / "made", tmp_path / "my sets" / "made")
    folder = tmp_path / "my sets" / "made" / "1.0.0"
    DAMAGES[damage](folder)
    with pytest.raises(nowcast.UserError) as caught:
        data.load("made", directory=str(tmp_path / "my sets"), in_memory=in_memory)
    said = str(caught.value)
    assert said.startswith(f"data.name='made': the prepared set in '{folder}' is damaged (")
    cure = f"tfds build made --file_format=array_record --data_dir='{tmp_path / 'my sets'}'"
    assert said.endswith(f"; remove that folder and prepare it again: {cure}")
    assert "\n" not in said
    assert " object at 0x" not in said
    assert not list(tmp_path.glob("cache/weight-nowcaster/*"))
    assert not list(tmp_path.glob("cache/weight-nowcaster/.*"))


@pytest.mark.parametrize("name", ["several", "several:1.0.0", "several/first"])
@pytest.mark.parametrize("damage", ["empty", "a torn description", "without features"])
def test_a_damaged_configuration_of_a_set_is_named_also_as_the_default(
    made, monkeypatch, tmp_path, name, damage
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(made / "several", tmp_path / "several")
    DAMAGES[damage](tmp_path / "several" / "first" / "1.0.0")
    with pytest.raises(nowcast.UserError) as caught:
        data.load(name, directory=str(tmp_path))
    lies = tmp_path / "several" / "first" / "1.0.0"
    assert str(caught.value).startswith(
        f"data.name={name!r}: the prepared set in '{lies}' is damaged ("
    )
    assert str(caught.value).endswith(
        f"tfds build {name} --file_format=array_record --data_dir={tmp_path}"
    )
    assert len(data.load("several/second", directory=str(tmp_path)).labels["train"]) == 32


def test_a_set_whose_default_configuration_is_not_known_is_named(made, tmp_path):
    shutil.copytree(made / "several", tmp_path / "several")
    cut(tmp_path / "several" / ".config" / "metadata.json", 5)
    with pytest.raises(
        nowcast.UserError, match=r"the prepared set in '.*several/\.config' is damaged"
    ):
        data.load("several", directory=str(tmp_path))
    (tmp_path / "several" / ".config" / "metadata.json").unlink()
    with pytest.raises(nowcast.UserError, match="holds several/first, several/second"):
        data.load("several", directory=str(tmp_path))


def test_a_command_on_a_damaged_set_ends_with_that_line(script, made, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(made / "made", tmp_path / "made")
    cut(first_shard(tmp_path / "made" / "1.0.0"), 0)
    done = script(
        "collect",
        "data.name=made",
        f"data.dir={tmp_path}",
        f"corpus={tmp_path / 'corpus'}",
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (2, "")
    [said] = [line for line in done.stderr.split("\n") if line and "image/s" not in line]
    assert said.startswith("error: data.name='made': the prepared set in ")
    assert not (tmp_path / "corpus").exists()


def test_another_version_than_the_one_that_is_there_is_not_called_damaged(made):
    with pytest.raises(nowcast.UserError, match=r"'made:2.0.0' is unknown"):
        data.load("made:2.0.0", directory=str(made))


def test_a_set_of_which_no_home_is_known_asks_for_its_folder(monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    without_home(monkeypatch)
    with pytest.raises(nowcast.UserError, match=r"no home folder.*: data.dir=… or TFDS_DATA_DIR=…"):
        data.load("mnist")


def without_home(monkeypatch):
    """As in a container whose user is a number alone."""

    def unknown(*_):
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)


def test_a_cache_without_a_home_or_the_right_to_write_is_named(made, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.delenv("XDG_CACHE_HOME")
        without_home(patch)
        with pytest.raises(
            nowcast.UserError, match=r"'~/.cache': no home folder.*set XDG_CACHE_HOME"
        ):
            data.load("made", directory=str(made))
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(
        nowcast.UserError,
        match=r"^cache '.*file/weight-nowcaster': .*is a file; set XDG_CACHE_HOME",
    ):
        data.load("made", directory=str(made))


def test_two_at_once_are_safe(made, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    images = Images("made", str(made))
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda _: cache._decode(images, tmp_path / "weight-nowcaster" / "here"), range(4)
            )
        )
    assert [path.name for path in (tmp_path / "weight-nowcaster").iterdir()] == ["here"]
    assert len(np.load(tmp_path / "weight-nowcaster" / "here" / "train-images.npy")) == 32


def test_a_damaged_cache_is_named(made, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    damaged = Path(data.load("made", directory=str(made)).images["test"].filename)
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(nowcast.UserError, match=f"{damaged.parent} are damaged; remove"):
        data.load("made", directory=str(made))


def test_a_missing_set_names_the_folder_and_the_command_that_prepares_it(monkeypatch, tmp_path):
    import tensorflow_datasets as tfds

    def unreachable(*_, **__):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", unreachable)
    folder = tmp_path / "my sets"
    with pytest.raises(nowcast.UserError) as caught:
        data.load("fashion_mnist", directory=str(folder))
    assert f"not in {folder} " in str(caught.value)
    assert f"tfds build fashion_mnist --file_format=array_record --data_dir='{folder}'" in str(
        caught.value
    )
    assert "ConnectionError: no route…" in str(caught.value)
    assert not folder.exists()


def test_an_unknown_set_is_refused_with_those_that_are_prepared(made):
    with pytest.raises(
        nowcast.UserError,
        match=(
            r"'mnits' is unknown; give digits, .* holds counted, hidden, made, odd,"
            r" several/first, several/second, sized"
        ),
    ):
        data.load("mnits", directory=str(made))


def test_what_tfds_can_prepare_is_prepared_where_it_was_looked_for(monkeypatch, made, tmp_path):
    import tensorflow_datasets as tfds

    def prepare(builder, **_):  # as a download would
        shutil.copytree(made / "made" / "1.0.0", builder.data_dir)

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", prepare)
    got = data.load("fashion_mnist", directory=str(tmp_path))
    assert len(got.labels["train"]) == 32
    assert [path.name for path in (tmp_path / "fashion_mnist").iterdir()] == ["3.0.1"]


def test_digits_need_no_tfds():
    code = (
        "import sys, collect.data; collect.data.load('digits'); sys.exit('tensorflow_datasets' in"
        " sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
