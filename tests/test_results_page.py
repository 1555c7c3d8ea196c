"""The pages of results: their tables are those of the results.json files beside them, and they are
up to date.
"""

import importlib
import json
import re
import shutil
import sys

import pytest
from test_docs import ROOT

from evaluate import sentences, tables
from evaluate.statistics import speed_up

KEPT = ROOT / "docs" / "results"


@pytest.fixture
def fill(monkeypatch, capsys):
    """The command, in this process: its exit code and what it said of errors."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    main = importlib.import_module("scripts.results").main

    def run(folder):
        monkeypatch.setattr(sys, "argv", ["results.py", str(folder)])
        try:
            main()
        except SystemExit as stopped:
            return stopped.code, capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run


@pytest.fixture
def page(tmp_path, evaluated):
    """A page with a place for the results of a comparison."""
    (tmp_path / "mine").mkdir()
    shutil.copy(evaluated[0] / "results.json", tmp_path / "mine")
    (tmp_path / "page.md").write_text("before\n<!-- results: mine -->\nold\n<!-- end -->\nafter\n")
    return tmp_path / "page.md"


def test_a_place_is_filled_with_every_arm_that_is_over_another_and_its_picture(
    fill, script, page, evaluated
):
    results = json.loads((evaluated[0] / "results.json").read_text())
    done = script("results", page.parent)
    assert (done.returncode, done.stdout) == (0, f"tables: {page}\n")
    text = page.read_text()
    assert text.startswith("before\n<!-- results: mine -->\n")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "old" not in text
    assert results["commands"][-1] in text
    for row in results["arms"]:
        if row["over"]:
            [line] = [
                line
                for line in text.splitlines()
                if line.startswith(f"| {row['over']} | {row['name']} |")
            ]
            against = row["against"][row["over"]][results["protocol"]["headline"]]
            for found in (against["steps"]["speed_up"], row["final_loss_ratio"]["ratio"]):
                assert tables.ratio(found) in line
            assert f"{against['epochs']['median']:g}" in line
    assert any("seeds are few" in line for line in results["verdicts"])
    assert sentences.texts(results) == results["verdicts"]
    for line in sentences.lines(results):
        assert (f"\n- {line.text}\n" in text) == line.caution
    assert "![mine](mine/curves.png)" in text
    folder = page.parent / "mine"
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "report.md").read_text() == (evaluated[0] / "report.md").read_text()
    again = text
    fill(page.parent)
    assert page.read_text() == again


def test_a_folder_of_tasks_is_joined(fill, page, evaluated):
    results = json.loads((evaluated[0] / "results.json").read_text())
    folder = page.parent / "mine"
    (folder / "results.json").unlink()
    for place in (1, 2):
        results["about"] |= {"task": f"task{place}", "content": f"{place}"}
        (folder / f"task{place}").mkdir()
        (folder / f"task{place}" / "results.json").write_text(json.dumps(results))
    assert (fill(page.parent), sorted(item.name for item in folder.iterdir())) == (
        (0, ""), ["forest.png", "report.md", "task1", "task2"]
    )  # fmt: skip
    text, whole = page.read_text(), (folder / "report.md").read_text()
    assert "all tasks [95 %] | task1 | task2" in text
    assert "**Final loss, base / arm**" in text
    assert "**Seconds to the target**" not in text
    for line in (one.text for one in sentences.lines(results) if one.caution):
        assert text.count(line) == text.count(f"\n- task1, task2: {line}\n") == 1
    assert "**Seconds to the target**" in whole
    for row in results["arms"]:
        if row["over"]:
            cells = [
                line
                for line in text.splitlines()
                if line.startswith(f"| {row['name']} | {row['over']} |")
            ]
            steps = row["against"][row["over"]][results["protocol"]["headline"]]["steps"][
                "speed_up"
            ]
            for cell, found in zip(cells, (steps, row["final_loss_ratio"]["ratio"]), strict=True):
                assert cell.count(tables.ratio(found)) >= 2


@pytest.mark.parametrize("kind", ["steps", "steps@0.5", "final", "test"])
def test_a_figure_that_a_page_quotes_is_that_of_the_results(fill, page, evaluated, kind):
    results = json.loads((evaluated[0] / "results.json").read_text())
    row = next(row for row in results["arms"] if row["name"] == "constant_linear")
    tests = (
        [run["test_loss"][-1] for run in results["curves"][name]]
        for name in ("constant", "constant_linear")
    )
    expected = {
        "steps": row["against"]["constant"]["0.75"]["steps"]["speed_up"],
        "steps@0.5": row["against"]["constant"]["0.5"]["steps"]["speed_up"],
        "final": row["final_loss_ratio"]["ratio"],
        "test": list(speed_up(*tests)),
    }[kind]
    mark = f"<!-- figure: mine constant_linear {kind} -->"
    page.write_text(f"{page.read_text()}| {mark}old<!-- / --> | kept |\n")
    assert fill(page.parent) == (0, "")
    line = page.read_text().splitlines()[-1]
    found = re.fullmatch(rf"\| {mark}(.*)<!-- / --> \| kept \|", line)[1]
    assert tables.ratio(expected) in found
    assert found.startswith("**") == found.endswith("**")


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("mine none steps", "name an arm that is over another one"),
        ("mine constant steps", "name an arm that is over another one"),
        ("mine constant_linear best", "and one of steps, final, test"),
        ("mine constant_linear steps@0.6", "the results have no '0.6'"),
        ("other constant_linear steps", "has no results.json"),
    ],
)
def test_a_figure_that_the_results_do_not_have_is_refused_in_one_line(fill, page, mark, said):
    page.write_text(f"{page.read_text()}<!-- figure: {mark} --><!-- / -->\n")
    code, words = fill(page.parent)
    assert (code, words.count("\n")) == (2, 1)
    assert said in words


def test_what_is_not_there_is_said_in_one_line_and_loses_nothing(fill, page):
    shutil.rmtree(page.parent / "mine")
    before = page.read_text()
    code, said = fill(page.parent)
    assert (code, said.count("\n")) == (2, 1)
    assert "has no results.json" in said
    assert page.read_text() == before
    code, said = fill(page.parent / "none")
    assert (code, said.count("\n")) == (2, 1)
    assert "none' has no page" in said


@pytest.mark.parametrize("places", ["no page", "two pages", "one page twice"])
def test_a_folder_of_results_has_one_place_on_one_page(fill, page, places):
    text = page.read_text()
    if places == "two pages":
        page.with_name("other.md").write_text(text)
    else:
        page.write_text("nothing" if places == "no page" else text + text)
    before = page.read_text()
    code, said = fill(page.parent)
    assert (code, said.count("\n")) == (2, 1)
    assert f"{0 if places == 'no page' else 2} places have <!-- results: mine -->; keep one" in said
    assert page.read_text() == before


def test_the_projects_pages_are_up_to_date_and_nothing_lies_beside_them_that_is_not_of_them(
    fill, tmp_path, unchecked
):
    for file in [*KEPT.glob("*.md"), *KEPT.glob("**/results.json")]:
        (tmp_path / file.relative_to(KEPT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / file.relative_to(KEPT))
    assert fill(tmp_path) == (0, "")
    names = [{file.relative_to(root) for file in root.glob("**/*.*")} for root in (KEPT, tmp_path)]
    assert names[0] == names[1]
    for file in KEPT.glob("**/*.md"):
        assert (tmp_path / file.relative_to(KEPT)).read_text() == file.read_text()


def test_the_index_is_short_has_one_table_and_leads_to_every_page():
    text = KEPT.with_suffix(".md").read_text()
    assert len(text.splitlines()) <= 120
    assert len(re.findall(r"^\|[-|]+\|$", text, re.MULTILINE)) == 1
    assert set(re.findall(r"\]\(results/(\w+)\.md", text)) == {
        page.stem for page in KEPT.glob("*.md")
    }


@pytest.mark.parametrize(
    "page", [KEPT.with_suffix(".md"), *sorted(KEPT.glob("*.md"))], ids=lambda page: page.stem
)
def test_prose_that_is_not_filled_in_is_wrapped(page):
    by_hand = re.sub(
        r"<!-- results: .*?<!-- end -->|^```.*?^```",
        "",
        page.read_text(),
        flags=re.DOTALL | re.MULTILINE,
    )
    assert [
        line for line in by_hand.splitlines() if len(line) > 100 and not line.startswith("|")
    ] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("no end", "needs an <!-- end --> of its own"),
        ("another end", "needs an <!-- end --> of its own"),
        ("lost end", "needs an <!-- end --> of its own"),
        ("both", "holds a results.json and folders of tasks (old, …)"),
        ("damaged", "is damaged: it lacks curves, commands"),
        ("not UTF-8", "utf-8"),
    ],
)
def test_a_page_that_cannot_be_filled_is_left_as_it_is(fill, page, change, said):
    folder, text = page.parent / "mine", page.read_text()
    results = json.loads((folder / "results.json").read_text())
    if change == "both":
        (folder / "old").mkdir()
        shutil.copy(folder / "results.json", folder / "old")
    if change == "damaged":
        (folder / "results.json").write_text(
            json.dumps({k: v for k, v in results.items() if k not in ("curves", "commands")})
        )
    changed = {
        "no end": text.replace("<!-- end -->", ""),
        "another end": f"<!-- end -->{text}",
        "lost end": text.replace("<!-- end -->", "") + text,
    }
    page.write_bytes(
        b"\xff" + text.encode() if change == "not UTF-8" else changed.get(change, text).encode()
    )
    before = page.read_bytes()
    code, words = fill(page.parent)
    assert (code, words.count("\n")) == (2, 1)
    assert said in words
    assert page.read_bytes() == before
    assert not (folder / "report.md").exists()


def test_without_a_command_none_is_shown(fill, page):
    file = page.parent / "mine" / "results.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"commands": []}))
    fill(page.parent)
    assert "bash" not in page.read_text()


def test_differences_that_the_report_does_not_show_are_not_bold(evaluated):
    results = json.loads((evaluated[0] / "results.json").read_text())
    for cells, row in zip(
        tables.digest(results)[1:], (r for r in results["arms"] if r["over"]), strict=True
    ):
        against = row["against"][row["over"]][results["protocol"]["headline"]]
        assert cells[4].verdict.decided == against["steps"]["clear"]
        assert cells[5].verdict.decided == row["final_loss_ratio"]["clear"]
