"""The report of a comparison that was run as a command: self-contained, honest, nothing done twice."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest


class Page(HTMLParser):
    """What matters of a page: its tags with attributes, its tables, and whether every tag is closed."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.cells, self.open, self.words = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


@pytest.fixture(scope="module")
def page(evaluated):
    return Page((evaluated[0] / "report.html").read_text())


@pytest.fixture(scope="module")
def results(evaluated):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads((evaluated[0] / "results.json").read_text(), parse_constant=refuse)


def test_the_page_is_well_formed(page):
    assert page.open == []
    assert {"h1", "table", "svg", "pre", "title"} <= {tag for tag, _ in page.tags}


def test_the_page_loads_nothing_from_elsewhere(page, evaluated):
    assert not {"script", "link", "iframe", "img"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for key in ("src", "href", "xlink:href", "data", "action"):
            assert attributes.get(key, "#").startswith("#"), (tag, attributes)
    text = (evaluated[0] / "report.html").read_text()
    assert "@import" not in text
    assert "url(http" not in text


def test_the_page_has_both_pictures(page):
    assert sum(tag == "svg" for tag, _ in page.tags) == 2
    words = " ".join(page.words)
    for label in ("validation loss", "no nowcasting", "wnn", "linear"):
        assert label in words


def test_the_table_holds_the_numbers_of_results_json(page, results):
    assert len(results["arms"]) == 6
    for row in results["arms"]:
        assert f"{row['best_loss']:.4f}" in page.cells
        assert f"{row['final_loss']:.4f}" in page.cells
        assert f"{row['test_accuracy']:.4f}" in page.cells
        if row["forecaster"] != "alone":
            value, low, high = row["own_target"]["speed_up"]
            assert f"{value:.2f}× [{low:.2f}, {high:.2f}]" in page.cells


def test_the_results_follow_from_the_curves(results):
    for row in results["arms"]:
        runs = results["curves"][row["name"]]
        assert len(runs) == 3
        assert all(len(run["loss"]) == 11 for run in runs)
        assert row["final_loss"] == pytest.approx(sorted(run["loss"][-1] for run in runs)[1])
        assert row["best_loss"] == pytest.approx(sorted(min(run["loss"]) for run in runs)[1])


def test_no_id_is_used_twice_and_every_reference_has_its_target(evaluated):
    text = (evaluated[0] / "report.html").read_text()
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids)) > 20
    assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', text)) <= set(ids)


def test_the_page_says_how_to_make_it_again_and_what_was_seen(page, results, evaluated):
    words = " ".join(page.words)
    assert "python scripts/collect.py model=mlp" in words
    assert "python scripts/meta_train.py" in words
    assert str(evaluated[0]) in words  # the command
    assert "ALREADY seen mlp-digits" in words  # this bundle has
    for verdict in results["verdicts"]:
        assert verdict in words


def test_the_terminal_shows_the_table_the_place_and_what_to_do_next(evaluated, results):
    folder, done = evaluated
    lines = done.stdout.splitlines()
    assert str(folder / "report.html") in lines[-2]
    assert lines[-1].startswith("next: ")
    for row in results["arms"]:
        assert any(f"{row['final_loss']:.4f}" in line for line in lines)
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_again_trains_only_what_is_missing(evaluated, script, evaluation, tmp_path, results):
    folder = shutil.copytree(evaluated[0], tmp_path / "report")
    lost = sorted(folder.glob("runs/*/seed1.json"))[0]
    kept = {file: file.stat().st_mtime_ns for file in folder.glob("runs/*/*.json") if file != lost}
    before = lost.read_text()
    lost.unlink()  # as if killed before it was finished
    (folder / "results.json").unlink()
    done = script("evaluate", *evaluation, f"report={folder}")
    assert done.returncode == 0, done.stderr
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert lost.read_text() == before
    again = json.loads((folder / "results.json").read_text())
    assert again["arms"] == results["arms"]
    assert again["verdicts"] == results["verdicts"]


def test_a_run_that_is_no_curve_is_trained_again(evaluated, script, evaluation, tmp_path):
    folder = shutil.copytree(evaluated[0], tmp_path / "report")
    damaged = sorted(folder.glob("runs/*/seed1.json"))[0]
    before = damaged.read_text()
    damaged.write_text("{}")
    done = script("evaluate", *evaluation, f"report={folder}")
    assert done.returncode == 0, done.stderr
    assert damaged.read_text() == before
    (folder / "configuration.json").write_text("[]")
    done = script("evaluate", *evaluation, f"report={folder}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_another_configuration_does_not_mix_with_these_results(evaluated, script, evaluation):
    files = {file: file.stat().st_mtime_ns for file in evaluated[0].rglob("*")}
    done = script("evaluate", *evaluation, f"report={evaluated[0]}", "epochs=11")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "epochs" in done.stderr
    assert {file: file.stat().st_mtime_ns for file in evaluated[0].rglob("*")} == files
