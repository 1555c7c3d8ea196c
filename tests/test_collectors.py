"""Several processes at one corpus: each run is recorded by one of them, and the index keeps up with
many runs.
"""

import json
import signal
import time

import numpy as np
import pytest

from collect import corpus
from collect.corpus import manifest, run
from collect.corpus.json_files import read_json
from collect.corpus.manifest import index
from collect.corpus.recorder import Recorder

SIZE = ["model=mlp", "model.width=0.1", "batch_size=256"]
LEAVES = [{"path": "w", "shape": [3], "op": "bias"}]


def assert_same(got, expected):
    got, expected = corpus.open(got), corpus.open(expected)
    assert got.hash == expected.hash
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one.weights[:], other.weights[:])
        np.testing.assert_equal(one.metrics, other.metrics)


@pytest.mark.slow
def test_a_second_process_at_the_same_run_is_refused_and_the_first_goes_on(
    launch, script, tmp_path
):
    length = ["runs=1", "epochs=200", "record_every=1"]
    path = tmp_path / "corpus"
    first = launch("collect", *SIZE, *length, f"corpus={path}")
    deadline = time.monotonic() + 120
    while not (found := list(path.glob("runs/*/metrics.jsonl"))):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)  # so that it is still at it
    second = script("collect", *SIZE, *length, f"corpus={path}")
    assert first.poll() is None
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 2
    message = second.stderr.splitlines()[-1]
    assert (
        message
        == f"error: corpus: run {found[0].parent} is being recorded by another process; wait for it"
        " or stop it"
    )
    assert "Traceback" not in second.stderr
    _, err = first.communicate(timeout=240)
    assert first.returncode == 0, err
    one_process = script("collect", *SIZE, *length, f"corpus={tmp_path / 'alone'}")
    assert one_process.returncode == 0, one_process.stderr
    assert_same(path, tmp_path / "alone")


@pytest.mark.slow
def test_processes_with_different_seeds_fill_one_corpus(launch, script, tmp_path):
    path = tmp_path / "corpus"
    processes = [
        launch("collect", *SIZE, "runs=2", "epochs=8", f"seed={seed}", f"corpus={path}")
        for seed in (0, 2, 4)
    ]
    for process in processes:
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
    one_process = script("collect", *SIZE, "runs=6", "epochs=8", f"corpus={tmp_path / 'alone'}")
    assert one_process.returncode == 0, one_process.stderr
    assert_same(path, tmp_path / "alone")
    listed = json.loads((path / "manifest.json").read_text())["runs"]
    assert {name: entry["status"] for name, entry in listed.items()} == {
        run.id: "complete" for run in corpus.open(path)
    }


def test_the_manifest_is_not_rewritten_at_every_run(tmp_path, monkeypatch):
    opened = []
    for reader in (manifest, run):
        monkeypatch.setattr(
            reader, "read_json", lambda path: opened.append(path.name) or read_json(path)
        )
    monkeypatch.setattr(manifest, "INDEX_PACE", 1e9)  # as slow as with very many runs
    for seed in range(30):
        config = {"task": "t", "seed": seed, "record_every": 1}
        with Recorder(
            tmp_path / "corpus", f"run{seed:02}", config=config, leaves=LEAVES, snapshots=1
        ) as one:
            one.append(0, {"w": np.zeros(3, np.float32)}, {"loss": 1.0}, None, checkpoint=False)
            one.finish("complete")
    assert len(opened) <= 2
    assert len(corpus.open(tmp_path / "corpus")) == 30  # readers do not depend on it
    index(tmp_path / "corpus")
    listed = json.loads((tmp_path / "corpus" / "manifest.json").read_text())["runs"]
    assert list(listed) == [f"run{seed:02}" for seed in range(30)]
    assert {entry["status"] for entry in listed.values()} == {"complete"}


def test_the_manifest_of_few_runs_is_always_up_to_date(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "INDEX_PACE", 0.0)
    for seed in range(3):
        config = {"task": "t", "seed": seed, "record_every": 1}
        with Recorder(tmp_path / "corpus", f"run{seed}", config=config, leaves=LEAVES, snapshots=1):
            listed = json.loads((tmp_path / "corpus" / "manifest.json").read_text())["runs"]
        assert {entry["status"] for entry in listed.values()} == {"running"}
        assert len(listed) == seed + 1
