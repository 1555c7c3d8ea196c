"""Corpora in stores: read through their URL as from a folder; written run by run, whole or not at
all.
"""

import dataclasses
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import nowcast
from collect import corpus
from collect.corpus import destination, inspection, places
from collect.corpus.layout import SCHEMA
from collect.corpus.places import Remote
from collect.corpus.recorder import Recorder
from collect.population import collect_population
from meta_train.config import MetaTrainConfig
from meta_train.fitting import meta_train

LEAVES = [{"path": "w", "shape": [3], "op": "bias"}]


class WithoutMessages(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def serve():
    """Serves a folder over HTTP; the URL."""
    servers = []

    def start(folder):
        servers.append(
            ThreadingHTTPServer(("127.0.0.1", 0), partial(WithoutMessages, directory=str(folder)))
        )
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Moves to another machine: one with another cache folder, which it gives."""

    def move(name="here"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        return tmp_path / name

    move()
    return move


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path, machine):
    return (
        f"file://{tmp_path}/store/mine" if request.param == "file" else f"memory://{tmp_path}/mine"
    )


def assert_same(got, expected):
    got, expected = corpus.open(got), corpus.open(expected)
    assert [run.id for run in got] == [run.id for run in expected]
    assert got.hash == expected.hash
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one.weights[:], other.weights[:])
        np.testing.assert_equal(one.metrics, other.metrics)
        assert one.leaves == other.leaves
        inspection.verify(one)


def verify(url):
    for run in corpus.open(url):
        inspection.verify(run)


def test_a_corpus_is_read_over_http(serve, corpus_path):
    url = serve(corpus_path.parent) + "/corpus/"
    assert_same(url, corpus_path)
    run = corpus.open(url).runs[0]
    assert str(run.path) == f"{url}runs/{run.id}"
    header, row, _ = inspection.table(corpus.open(url))
    assert row[:-1] == inspection.table(corpus.open(corpus_path))[1][:-1]
    assert (header[-1], row[-1]) == ("MiB", "?")  # a web server does not say


def test_the_commands_read_over_http(serve, script, corpus_path, tmp_path):
    url = serve(corpus_path)
    done = script(
        "inspect_corpus", f"corpus={url}", "verify=true", "pictures=pictures", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "verified: every snapshot of 3 runs" in done.stdout
    assert len(list((tmp_path / "pictures").iterdir())) == 2
    config = MetaTrainConfig(url, str(tmp_path / "bundle"), steps=2, batch_size=64)
    card = meta_train(config).card
    assert card["corpus"]["hash"] == corpus.open(corpus_path).hash


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: (path / "manifest.json").unlink(), "no corpus there"),
        (lambda path: (path / "manifest.json").write_text('{"sch'), r"manifest\.json is damaged"),
        (lambda path: (path / "manifest.json").write_text('{"schema": "corpus/99"}'), "corpus/99"),
        (
            lambda path: (path / "manifest.json").write_text(json.dumps({"schema": SCHEMA})),
            "lists no runs",
        ),
        (lambda path: next(path.glob("runs/*/run.json")).write_text("{}"), "lacks"),
        (lambda path: next(path.glob("runs/*/run.json")).write_text("["), r"run\.json is damaged"),
        (
            lambda path: [
                file.write_bytes(b"x" * 50) for file in path.glob("runs/*/weights/c/3/0")
            ],
            "weights/c/3/0",
        ),
        (lambda path: [file.unlink() for file in path.glob("runs/*/weights/c/3/0")], "weights"),
        (lambda path: [file.unlink() for file in path.glob("runs/*/weights/zarr.json")], "weights"),
        (
            lambda path: [file.unlink() for file in path.glob("runs/*/metrics.jsonl")],
            r"metrics\.jsonl is damaged",
        ),
    ],
)
def test_damage_is_named_over_http_too(serve, corpus_path, tmp_path, harm, said):
    harm(shutil.copytree(corpus_path, tmp_path / "corpus"))
    url = serve(tmp_path) + "/corpus"
    with pytest.raises(nowcast.UserError, match=said) as caught:
        verify(url)
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_that_was_removed_by_hand_is_not_missed(serve, corpus_path, tmp_path):
    shutil.copytree(corpus_path, tmp_path / "corpus")
    shutil.rmtree(next((tmp_path / "corpus" / "runs").glob("*seed1*")))
    assert [run.config["seed"] for run in corpus.open(serve(tmp_path) + "/corpus")] == [0, 2]


def test_a_web_server_cannot_be_collected_into(serve, script, tmp_path, machine):
    machine()
    url = serve(tmp_path) + "/mine"
    done = script("collect", "model=mlp", "runs=1", "epochs=1", f"corpus={url}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: corpus: {url}/manifest.json can be read but not written")
    assert done.stderr.count("\n") == 1


def test_a_store_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(
        places, "CONTEXT", places.ts.Context({"http_request_retries": {"max_retries": 1}})
    )
    places._connect.cache_clear()
    with pytest.raises(
        nowcast.UserError,
        match=r"http://127\.0\.0\.1:9/mine.* cannot be reached .*check the address",
    ):
        corpus.open("http://127.0.0.1:9/mine")
    places._connect.cache_clear()


def test_what_is_collected_into_a_store_is_what_a_folder_would_hold(
    url, corpus_config, corpus_path, machine
):
    config = corpus_config(url)
    assert collect_population(config)["complete"] == 3
    assert_same(url, corpus_path)
    assert not list(machine().glob("**/run.json"))  # nothing stays behind
    assert collect_population(config)["already"] == 3
    assert float(inspection.table(corpus.open(url))[1][-1]) > 0
    manifest = json.loads((places.at(url) / "manifest.json").read_bytes())
    assert {name: entry["status"] for name, entry in manifest["runs"].items()} == {
        run.id: "complete" for run in corpus.open(corpus_path)
    }


def test_killed_while_training_it_goes_on_here(url, corpus_config, collect_until_killed, tmp_path):
    config = corpus_config(url, runs=1, epochs=6)
    collect_until_killed(config, last=4, checkpoint=lambda _, snapshot: snapshot == 3)
    assert len(corpus.open(url)) == 0
    assert collect_population(config)["complete"] == 1
    whole = dataclasses.replace(config, corpus=str(tmp_path / "whole"))
    collect_population(whole)
    assert_same(url, whole.corpus)


@pytest.mark.parametrize("method", ["write_all", "replace"])
def test_killed_while_copying_it_copies_again_and_trains_nothing(
    url, corpus_config, monkeypatch, tmp_path, method
):
    class Killed(BaseException):
        pass

    copy = getattr(Remote, method)

    def killed(self, content, *more):
        if method == "replace" and self.name == "manifest.json":
            return copy(self, content, *more)
        if method == "write_all":
            copy(self, dict(list(content.items())[:3]))
        raise Killed

    config = corpus_config(url, runs=1, epochs=3)
    with monkeypatch.context() as patch:
        patch.setattr(Remote, method, killed)
        with pytest.raises(Killed):
            collect_population(config)
    assert len(corpus.open(url)) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "append", lambda *_, **__: pytest.fail("trained again"))
        assert collect_population(config)["already"] == 1
    whole = dataclasses.replace(config, corpus=str(tmp_path / "whole"))
    collect_population(whole)
    assert_same(url, whole.corpus)


def record(into, name, value):
    """Record a run of two snapshots, which are all one value."""
    config = {"task": "t", "seed": 0, "record_every": 1}
    with into.recorder(name, config=config, leaves=LEAVES, snapshots=2) as recorder:
        for snapshot in range(2 if not recorder.finished else 0):
            weights = {"w": np.full(3, value, np.float32)}
            recorder.append(snapshot, weights, {"loss": value}, weights, checkpoint=False)
        if not recorder.finished:
            recorder.finish("complete")


def folders(url, name):
    """What a store holds of a run, besides ``run.json``."""
    keys = places.kvstore(places.at(url) / "runs" / name).list().result()
    return {key.decode().split("/")[0] for key in keys} - {"run.json"}


@pytest.mark.parametrize("when", ["before", "while it copies"])
def test_of_two_machines_that_finish_a_run_the_first_wins(url, machine, monkeypatch, when):
    machine("first")
    first = destination.make(places.at(url))
    machine("second")
    second = destination.make(places.at(url))
    with first, second:
        if when == "before":
            with second.recorder(
                "run",
                config={"task": "t", "seed": 0, "record_every": 1},
                leaves=LEAVES,
                snapshots=2,
            ):
                record(first, "run", 1.0)
            record(second, "run", 2.0)
        else:
            copy = Remote.write_all

            def meanwhile(self, files):
                monkeypatch.setattr(Remote, "write_all", copy)
                copy(self, dict(list(files.items())[:2]))
                record(first, "run", 1.0)
                copy(self, files)

            monkeypatch.setattr(Remote, "write_all", meanwhile)
            record(second, "run", 2.0)
    [run] = corpus.open(url)
    np.testing.assert_array_equal(run.weights[:], np.ones((2, 3)))
    inspection.verify(run)
    assert folders(url, "run") == {run.info["folder"]}
    for into in (first, second):
        assert not list(into.path.glob("**/run.json"))


def test_collectors_on_many_machines_lose_no_run_from_the_manifest(url, machine, monkeypatch):
    monkeypatch.setattr(destination, "MOST_OFTEN", 0.0)
    collectors = []
    for i in range(6):
        machine(f"machine{i}")
        collectors.append(destination.make(places.at(url)))

    def collect(i):
        with collectors[i] as into:
            for run in range(3):
                record(into, f"run{i}{run}", float(i))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(collect, range(6)))
    assert [run.id for run in corpus.open(url)] == [
        f"run{i}{run}" for i in range(6) for run in range(3)
    ]


def test_a_run_that_the_manifest_lost_is_listed_again(url, corpus_config):
    config = corpus_config(url, runs=1, epochs=1)
    collect_population(config)
    manifest = places.at(url) / "manifest.json"
    content, generation = manifest.read()
    manifest.replace(json.dumps(json.loads(content) | {"runs": {}}), generation)
    assert len(corpus.open(url)) == 0
    assert collect_population(config)["already"] == 1
    assert len(corpus.open(url)) == 1


def test_only_what_one_has_seen_is_replaced(url):
    place = places.at(url) / "one"
    unseen = place.read()[1]
    place.replace("first", unseen)
    place.replace("second", unseen)
    assert place.read_bytes() == b"first"
    place.replace("second", place.read()[1])
    assert place.read_bytes() == b"second"


def test_a_store_that_takes_nothing_is_named(url, monkeypatch):
    class Deaf:  # as S3 is, without the bucket
        def __getattr__(self, _):
            return lambda *_, **__: self

        state, generation, stamp = "missing", b"", type("Stamp", (), {"generation": b"none"})
        result = lambda self: self  # noqa: E731

    monkeypatch.setattr(places, "_connect", lambda _: Deaf())
    with pytest.raises(
        nowcast.UserError, match=r"manifest\.json cannot be written; check that the bucket exists"
    ):
        destination.make(places.at(url)).__enter__()


def test_a_store_of_another_schema_is_refused(url, corpus_config):
    manifest = places.at(url) / "manifest.json"
    manifest.replace('{"schema": "corpus/99"}', manifest.read()[1])
    with pytest.raises(nowcast.UserError, match="corpus/99"):
        collect_population(corpus_config(url))


@pytest.mark.parametrize("url", ["ftp://host/mine", "gs://", "s3://x/y", "://", "file://relative"])
def test_an_address_that_cannot_be_is_refused_with_those_that_can(url):
    with pytest.raises(nowcast.UserError, match="gs://, s3://") as caught:
        corpus.open(url)
    assert f"corpus={url!r}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_s3_of_ones_own_is_named_by_the_environment(monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert "endpoint" not in places._spec("s3://bucket/mine")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    assert places._spec("s3://bucket/mine")["endpoint"] == "http://127.0.0.1:9000"
    assert "endpoint" not in places._spec("gs://bucket/mine")
