"""However a collection is stopped, the same command goes on and gives the corpus of an
uninterrupted one.
"""

import dataclasses
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import numpy as np
import pytest

import nowcast
from collect import corpus
from collect.corpus.recorder import Recorder
from collect.population import collect_population
from collect.training.stop import Stop

COMMAND = [
    "model=mlp",
    "model.width=0.1",
    "batch_size=256",
    "runs=2",
    "epochs=60",
    "record_every=1",
]


def contents(path):
    """Everything a reader sees, by run."""
    return {
        run.id: (
            run.info | {"seconds": 0},
            np.asarray(run.weights),
            {k: v.tolist() for k, v in run.metrics.items()},
        )
        for run in corpus.open(path)
    }


def assert_same_corpus(got, expected):
    got, expected = contents(got), contents(expected)
    assert got.keys() == expected.keys()
    for name, (info, weights, metrics) in expected.items():
        assert {**got[name][0], "command": info["command"]} == info  # its sha256 too
        np.testing.assert_array_equal(got[name][1], weights)
        np.testing.assert_equal(got[name][2], metrics)


def wait_for_snapshots(process, path, count):
    """Until the first run has recorded so many snapshots; the run must not have ended before."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        files = list(path.glob("runs/*/metrics.jsonl"))
        if files and len(files[0].read_text().splitlines()) >= count:
            assert process.poll() is None
            return
        time.sleep(0.005)
    pytest.fail("no snapshots within two minutes")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, script):
    path = tmp_path_factory.mktemp("whole") / "corpus"
    done = script("collect", *COMMAND, f"corpus={path}")
    assert done.returncode == 0, done.stderr
    assert [run.weights.shape[0] for run in corpus.open(path)] == [301, 301]
    return path


def test_killed_and_started_again_it_gives_the_same_corpus(launch, script, uninterrupted, tmp_path):
    path = tmp_path / "corpus"
    process = launch("collect", *COMMAND, f"corpus={path}")
    wait_for_snapshots(process, path, 40)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    if path.joinpath("manifest.json").exists():
        assert len(corpus.open(path)) < 2
    again = script("collect", *COMMAND, f"corpus={path}")
    assert again.returncode == 0, again.stderr
    assert_same_corpus(path, uninterrupted)


def test_terminated_it_stops_in_good_order_and_goes_on(launch, script, uninterrupted, tmp_path):
    path = tmp_path / "corpus"
    process = launch("collect", *COMMAND, f"corpus={path}")
    wait_for_snapshots(process, path, 40)
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "stopped: SIGTERM" in out
    assert "the same command goes on" in out
    kept = [
        len(list(file.parent.glob("checkpoint/*.sha256"))) for file in path.glob("runs/*/run.json")
    ]
    assert kept  # one for every run that had begun
    assert set(kept) == {1}
    lines = len(next(path.glob("runs/*/metrics.jsonl")).read_text().splitlines())
    again = script("collect", *COMMAND, f"corpus={path}")
    assert again.returncode == 0, again.stderr
    assert lines < 301
    assert_same_corpus(path, uninterrupted)
    assert not list(path.glob("runs/*/checkpoint"))


@pytest.mark.parametrize("checkpoint_every", [1, 5], ids=["newest snapshot", "an older snapshot"])
def test_killed_between_two_checkpoints_it_records_the_rest_again(
    tmp_path, corpus_config, collect_until_killed, checkpoint_every
):
    config, whole = (
        corpus_config(tmp_path / name, runs=1, epochs=12) for name in ("corpus", "whole")
    )
    collect_until_killed(
        config, last=8, checkpoint=lambda _, snapshot: snapshot % checkpoint_every == 0
    )
    with next(tmp_path.glob("corpus/runs/*/metrics.jsonl")).open("a") as file:
        file.write('{"snapshot": 9, "st')  # a line cut short
    assert len(corpus.open(config.corpus)) == 0
    assert collect_population(config)["complete"] == 1
    collect_population(whole)
    assert_same_corpus(config.corpus, whole.corpus)


def test_a_damaged_checkpoint_is_not_gone_on_from(tmp_path, corpus_config, collect_until_killed):
    config = corpus_config(tmp_path / "corpus", runs=1, epochs=6)
    collect_until_killed(config, last=3)
    files = [file for file in tmp_path.glob("corpus/runs/*/checkpoint/3/**/*") if file.is_file()]
    largest = max(files, key=lambda file: file.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    with pytest.raises(nowcast.UserError, match=r"checkpoint .* is damaged"):
        collect_population(config)
    assert len(corpus.open(config.corpus)) == 0


def test_a_checkpoint_that_reads_well_and_is_not_what_was_saved_is_refused(
    tmp_path, corpus_config, collect_until_killed
):
    config = corpus_config(tmp_path / "corpus", runs=1, epochs=6)
    collect_until_killed(config, last=3)
    [saved] = tmp_path.glob("corpus/runs/*/checkpoint/3.sha256")
    saved.write_text("0" * 64)
    with pytest.raises(
        nowcast.UserError, match=r"is damaged \(its content is not what was saved\)"
    ):
        collect_population(config)


def test_max_minutes_stops_and_the_same_command_goes_on(tmp_path, corpus_config):
    config = corpus_config(tmp_path / "corpus", runs=2, epochs=2)
    counts = collect_population(dataclasses.replace(config, max_minutes=1e-9))
    assert counts["left"] == 2
    assert "max_minutes" in counts["stopped"]
    assert collect_population(config)["complete"] == 2
    whole = corpus_config(tmp_path / "whole", runs=2, epochs=2)
    collect_population(whole)
    assert_same_corpus(config.corpus, whole.corpus)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_is_not_caught_any_more(number):
    before = signal.getsignal(number)
    with Stop(max_minutes=60) as stop:
        assert (stop.reason, stop.exit_code) == ("", 0)
        signal.raise_signal(number)
        assert (stop.reason, stop.exit_code) == (f"{number.name} received", 128 + number)
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before


def test_runs_in_several_threads_make_their_checkpoints_side_by_side(tmp_path):
    leaves = [{"path": "w", "shape": [100], "op": "fc"}]

    def record(seed):
        weights = np.full(100, seed, np.float32)
        config = {"task": "t", "seed": seed, "record_every": 1}
        with Recorder(
            tmp_path / "corpus", f"run{seed}", config=config, leaves=leaves, snapshots=9
        ) as recorder:
            for snapshot in range(8):
                recorder.append(
                    snapshot, {"w": weights}, {"loss": 1.0}, {"w": weights}, checkpoint=True
                )
            found = recorder.resume({"w": jnp.zeros(100)})
        assert found[0] == 7
        np.testing.assert_array_equal(found[1]["w"], weights)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(record, range(8)))
