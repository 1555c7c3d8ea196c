"""Looking at a corpus: the table counts what is there, every byte is checked, the pictures show
what was recorded.
"""

import shutil

import numpy as np
import pytest

import nowcast
from collect import corpus, record
from collect.corpus import inspection


def test_the_table_counts_what_the_corpus_holds(corpus_path):
    header, row, total = inspection.table(corpus.open(corpus_path))
    scalars = corpus.open(corpus_path).runs[0].weights.shape[1]
    assert dict(zip(header, row, strict=True)) | {"MiB": None} == {
        "task": "mlp_w0.1-digits",
        "runs": "3",
        "diverged": "0",
        "snapshots": "45",
        "scalars": f"{scalars:,}",
        "values": f"{45 * scalars:,}",
        "MiB": None,
    }
    assert total[1:4] == row[1:4]
    assert 0 < float(row[-1]) < 10


def test_networks_of_other_widths_have_rows_of_their_own(tmp_path):
    params = {"w": np.zeros((2, 2), np.float32)}
    for number, width in enumerate([1.0, 0.5, 1.0]):
        config = {"model": {"name": "mlp", "width": width, "depth": None}}
        with record(
            tmp_path / "c", run=f"run{number}", params=params, task="mlp-made_up", config=config
        ) as run:
            run.snapshot(params, step=0)
    _, *rows, _ = inspection.table(corpus.open(tmp_path / "c"))
    assert [row[:2] for row in rows] == [("mlp-made_up", "2"), ("mlp_w0.5-made_up", "1")]


def test_a_corpus_of_weights_and_inner_products_is_fitted_to_by_gram(tmp_path, script):
    params = {"w": np.zeros((2, 2), np.float32)}
    for kind in ("weights", "gram"):
        more = {"band": 9} if kind == "gram" else {}
        with record(tmp_path / "c", run=kind, params=params, task="a", record=kind, **more) as run:
            for step in range(3):
                run.snapshot(params, step=step)
    done = script("inspect_corpus", f"corpus={tmp_path / 'c'}", cwd=tmp_path)
    assert "forecaster=gram horizon=5" in done.stdout.splitlines()[-1]


def test_a_whole_corpus_is_verified(corpus_path):
    for run in corpus.open(corpus_path):
        inspection.verify(run)


@pytest.mark.parametrize("harm", ["chunk", "hash", "line"])
def test_a_damaged_one_is_named(corpus_path, tmp_path, harm):
    path = shutil.copytree(corpus_path, tmp_path / "corpus")
    run = corpus.open(path).runs[1]
    metrics = run.path / "metrics.jsonl"
    if harm == "chunk":
        chunk = run.path / "weights" / "c" / "3" / "0"
        chunk.write_bytes(chunk.read_bytes()[:-9] + b"\0" * 9)
    elif harm == "hash":
        digest = "0" * 64
        lines = metrics.read_text().splitlines()
        lines[4] = lines[4][: lines[4].index('"sha256"')] + f'"sha256": "{digest}"}}'
        metrics.write_text("\n".join(lines) + "\n")
    else:
        metrics.write_text("\n".join(metrics.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(nowcast.UserError, match=run.id if harm != "chunk" else r"weights/c/3/0"):
        inspection.verify(run)


def test_changes_are_those_of_the_recorded_weights(corpus_path, monkeypatch):
    monkeypatch.setattr(inspection, "BLOCK", 100)  # several reads
    run = corpus.open(corpus_path).runs[0]
    weights = np.asarray(run.weights)
    got = inspection.changes(run)
    assert list(got) == ["fc", "bias"]
    for operation, values in got.items():
        expected = [
            np.abs(weights[-1] - weights[0])[leaf.scalars]
            for leaf in run.leaves
            if leaf.op == operation
        ]
        np.testing.assert_array_equal(values, np.concatenate(expected))


def test_the_picture_of_evolution_shows_recorded_weights(corpus_path):
    run = corpus.open(corpus_path).runs[0]
    everything = np.asarray(run.weights).T
    figure = inspection.evolution(run, per_operation=5)
    assert [axes.get_title() for axes in figure.axes] == ["fc", "bias"]
    for axes in figure.axes:
        assert len(axes.lines) == 5
        for line in axes.lines:
            np.testing.assert_array_equal(line.get_xdata(), run.metrics["epoch"])
            assert (everything == line.get_ydata()).all(axis=1).any()


def test_the_command_prints_the_table_and_draws(script, corpus_path, tmp_path):
    done = script(
        "inspect_corpus",
        f"corpus={corpus_path}",
        f"pictures={tmp_path / 'pictures'}",
        "verify=true",
    )
    assert done.returncode == 0, done.stderr
    assert "mlp_w0.1-digits" in done.stdout
    assert "verified: every snapshot of 3 runs" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("next: ")
    files = sorted((tmp_path / "pictures").iterdir())
    assert [file.suffix for file in files] == [".png", ".png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
