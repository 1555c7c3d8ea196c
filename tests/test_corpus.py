"""The corpus on disk: what was recorded comes back, and what was damaged is named."""

import json
import shutil

import jax
import numpy as np
import pytest

import nowcast
from collect import corpus
from collect.corpus.layout import SCHEMA
from collect.corpus.recorder import Recorder
from collect.population import collect_population, make_task


@pytest.fixture
def copied(corpus_path, tmp_path):
    """A copy of the corpus, to be harmed."""
    return shutil.copytree(corpus_path, tmp_path / "corpus")


def first_run(path):
    return sorted((path / "runs").glob("*/run.json"))[0].parent


def change(file, **changes):
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in content.items() if v != "gone"}))


@pytest.fixture(scope="module")
def run(corpus_path):
    return corpus.open(corpus_path).runs[0]


def test_a_run_says_how_it_came_about(run):
    assert run.status == "complete"
    assert (run.config["task"], run.config["epochs"], run.config["batch_size"]) == (
        "mlp-digits",
        14,
        256,
    )
    # The start and 14 epochs.
    assert run.weights.shape == (
        15,
        sum(leaf.size for leaf in run.leaves),
    )
    assert run.weights.dtype == np.float32
    # 1284 // 256 steps an epoch.
    np.testing.assert_array_equal(run.metrics["step"], 5 * np.arange(15))
    np.testing.assert_array_equal(run.metrics["epoch"], np.arange(15))
    assert np.isnan(run.metrics["train_loss"][0])
    assert np.isfinite(run.metrics["loss"]).all()
    assert run.metrics["loss"][-1] < run.metrics["loss"][0]


def test_the_first_snapshot_is_the_models_start_leaf_by_leaf(run, corpus_config):
    config = corpus_config("unused")
    task = make_task(config.model, config.data, config.batch_size)
    params, _ = task.init(run.config["seed"])
    flat = jax.tree.flatten_with_path(params)[0]
    ops = jax.tree.leaves(task.labels)
    assert len(run.leaves) == len(flat)
    for (path, value), op, leaf in zip(flat, ops, run.leaves, strict=True):
        assert leaf.path == "/".join(key.key for key in path)
        assert (leaf.shape, leaf.op) == (value.shape, op)
        np.testing.assert_array_equal(run.weights[0, leaf.scalars].reshape(leaf.shape), value)
    assert [leaf.op for leaf in run.leaves] == ["bias", "fc"] * 3


@pytest.mark.parametrize(
    "index",
    [
        0, -1, slice(None), slice(2, 5), slice(-3, None), slice(0, 999), slice(None, None, 4),
        (slice(None), 7), (-1, -1), (slice(1, 3), slice(-10, None)), (3, slice(0, 10**9)),
        (slice(None), np.array([5, 0, -1])), (slice(None), [2, 2]), (np.array([0, 4]), slice(0, 3)),
        (np.int64(1), np.int64(2)), Ellipsis, (Ellipsis, 3),
    ],
    ids=str,
)  # fmt: skip
def test_indexing_reads_what_numpy_would(run, index):
    everything = np.asarray(run.weights)
    got = run.weights[index]
    np.testing.assert_array_equal(got, everything[index])
    assert got.dtype == np.float32


@pytest.mark.parametrize("index", [15, -16, (0, 10**6)], ids=str)
def test_an_index_outside_is_an_index_error(run, index):
    with pytest.raises(IndexError):
        run.weights[index]


def test_the_hash_does_not_depend_on_the_order_of_the_runs(corpus_path):
    opened = corpus.open(corpus_path)
    assert corpus.Corpus(opened.path, opened.runs[::-1]).hash == opened.hash
    assert len(opened.hash) == 64


def test_the_hash_changes_with_the_weights_and_with_the_configuration(copied):
    before = corpus.open(copied).hash
    file = first_run(copied) / "run.json"
    kept = file.read_text()
    change(file, sha256="0" * 64)
    assert corpus.open(copied).hash != before
    file.write_text(kept)
    assert corpus.open(copied).hash == before
    change(file, config=json.loads(kept)["config"] | {"seed": 99})
    assert corpus.open(copied).hash != before
    shutil.rmtree(file.parent)
    assert corpus.open(copied).hash != before


def test_the_manifest_lists_every_run(corpus_path):
    manifest = json.loads((corpus_path / "manifest.json").read_text())
    assert manifest["schema"] == SCHEMA
    assert set(manifest["runs"]) == {run.id for run in corpus.open(corpus_path)}
    for entry in manifest["runs"].values():
        assert entry["status"] == "complete"
        assert entry["snapshots"] == 15


@pytest.mark.parametrize("status", ["running", "failed"])
def test_an_unfinished_run_is_not_listed(copied, status):
    change(first_run(copied) / "run.json", status=status)
    assert len(corpus.open(copied)) == 2


def test_a_flipped_byte_in_a_chunk_is_found_and_its_file_named(copied):
    chunk = first_run(copied) / "weights" / "c" / "7" / "0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(bytes(content))
    run = corpus.open(copied).runs[0]
    assert np.isfinite(run.weights[:7]).all()  # the others are read
    with pytest.raises(nowcast.UserError) as caught:
        run.weights[:]
    assert str(chunk) in str(caught.value)
    assert "collect it again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_lost_chunk_of_a_finished_run_is_found_and_named(copied):
    chunk = first_run(copied) / "weights" / "c" / "7" / "0"
    chunk.unlink()
    with pytest.raises(nowcast.UserError, match="runs/"):
        corpus.open(copied).runs[0].weights[:]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: (path / "manifest.json").unlink(), "no manifest.json"),
        (lambda path: (path / "manifest.json").write_text('{"sch'), "manifest.json"),
        (lambda path: (path / "manifest.json").write_bytes(b"\xff\xfe\x00"), "manifest.json"),
        (lambda path: (path / "manifest.json").write_text("[1]"), "manifest.json"),
        (lambda path: change(path / "manifest.json", schema="corpus/99"), "corpus/99"),
        (lambda path: (first_run(path) / "run.json").write_text('{"config"'), "run.json"),
        (lambda path: (first_run(path) / "run.json").write_text(""), "run.json"),
        (lambda path: change(first_run(path) / "run.json", leaves="gone"), "lacks leaves"),
        (lambda path: shutil.rmtree(path), "no corpus there"),
        *[
            (
                lambda path, key=key, value=value: change(
                    first_run(path) / "run.json", **{key: value}
                ),
                key,
            )
            for key, value in [
                ("snapshots", "x"),
                ("snapshots", 1.5),
                ("snapshots", None),
                ("status", 3),
                ("config", []),
                ("config", {"task": 3, "record_every": 5}),
                ("config", {"task": "t", "record_every": "5"}),
                ("leaves", None),
                ("leaves", [3]),
                ("leaves", [{"path": "w", "shape": [2.5], "op": "fc"}]),
                ("leaves", [{"path": "w", "shape": [2], "op": []}]),
                ("leaves", [{"path": "w", "shape": "2", "op": "fc"}]),
            ]
        ],
    ],
)
def test_a_damaged_corpus_is_refused_in_one_line_with_its_path(copied, harm, said):
    harm(copied)
    with pytest.raises(nowcast.UserError) as caught:
        corpus.open(copied)
    assert said in str(caught.value)
    assert str(copied) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_shortened_metrics_file_is_named(copied):
    file = first_run(copied) / "metrics.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:5], "[1]", *lines[6:]]) + "\n")
    with pytest.raises(nowcast.UserError, match=r"metrics\.jsonl is damaged \(line 6\)"):
        _ = corpus.open(copied).runs[0].metrics


def test_lost_weights_are_named(copied):
    shutil.rmtree(first_run(copied) / "weights")
    with pytest.raises(nowcast.UserError, match="weights"):
        corpus.open(copied).runs[0].weights[0]


def test_two_recorders_cannot_write_the_same_run(tmp_path):
    leaves = [{"path": "w", "shape": [3], "op": "bias"}]
    config = {"task": "t", "seed": 0, "record_every": 1}
    make = lambda: Recorder(tmp_path / "corpus", "one", config=config, leaves=leaves, snapshots=2)  # noqa: E731
    with make(), pytest.raises(nowcast.UserError, match="another process"), make():
        pass
    with make() as free_again:
        assert not free_again.finished


def test_recording_into_a_folder_of_something_else_is_refused(tmp_path, corpus_config):
    (tmp_path / "chapter1.tex").write_text("dear")
    with pytest.raises(nowcast.UserError, match="is not a corpus"):
        collect_population(corpus_config(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["chapter1.tex"]


def test_recording_into_a_corpus_of_another_schema_is_refused(copied, corpus_config):
    change(copied / "manifest.json", schema="corpus/99")
    with pytest.raises(nowcast.UserError, match="corpus/99"):
        collect_population(corpus_config(copied, runs=4))
    assert len(list((copied / "runs").glob("*/run.json"))) == 3


def test_a_truncated_chunk_is_named_too(copied):
    chunk = sorted(p for p in (first_run(copied) / "weights" / "c").rglob("*") if p.is_file())[3]
    chunk.write_bytes(chunk.read_bytes()[: chunk.stat().st_size // 3])
    with pytest.raises(nowcast.UserError, match="damaged chunk"):
        corpus.open(copied).runs[0].weights[:]


def test_a_boolean_mask_picks_columns_as_in_numpy(run):
    mask = np.zeros(run.weights.shape[1], bool)
    mask[[1, 5, 7]] = True
    np.testing.assert_array_equal(run.weights[:, mask], np.asarray(run.weights)[:, mask])


def test_a_description_that_does_not_fit_the_weights_is_refused(copied):
    change(first_run(copied) / "run.json", snapshots=1000)
    with pytest.raises(nowcast.UserError, match="does not fit its weights"):
        _ = corpus.open(copied).runs[0].weights
