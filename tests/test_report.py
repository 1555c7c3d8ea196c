"""The report of a comparison that was run as a command: self-contained, honest, nothing done twice;
and that of several.
"""

import copy
import json
import shutil
import signal
import time
from pathlib import Path

import pytest
import warm
from curves import untimed, validate
from pages import Page

from evaluate import joint, joint_report, report, words
from evaluate.statistics import speed_up

ARMS = [
    "constant",
    "constant_linear",
    "constant_nowcast",
    "cosine",
    "cosine_linear",
    "cosine_nowcast",
]
MORE = ["constant_noop", "cosine_ema", "cosine_nowcast_ema"]


def read(folder):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads((folder / "results.json").read_text(), parse_constant=refuse)


@pytest.fixture(scope="module")
def page(evaluated):
    return Page((evaluated[0] / "report.html").read_text())


@pytest.fixture(scope="module")
def results(evaluated):
    return read(evaluated[0])


TWO = ["arm=[constant,constant_linear]", "forecaster=", "seeds=2", "epochs=6"]
PAPER = [*TWO, "protocol=paper", "data.validation=false"]
AGAIN = {  # what is added to the command of ``evaluated``
    "same": [],
    "killed": [],
    "more": [f"arm=[{','.join(ARMS + MORE)}]", "seeds=4"],
    "other": ["epochs=12"],
    "damaged": [],
    "nobody": [*PAPER, "target_value=0.99"],
    "paper": [
        *PAPER,
        "target_value=0.15",
        "beside_title=theirs",
        "+beside.constant_linear=1.33x",
    ],
    "both": ["-m", *TWO, "model.width=0.2", "model=mlp,lenet"],
    "rates": ["-m", *TWO, "optimizer.learning_rate=0.001,0.003"],
    "workers": ["-m", *TWO, "workers=1,2"],
    "into": ["-m", *TWO, "model=mlp,lenet"],
}
THERE = ("same", "more", "other", "damaged", "into")
"""Those that find that command's own report where they are to write."""


@pytest.fixture(scope="session")
def again(once, evaluated, evaluation, script, command_line):
    """What a further command came to: by name ``(folder, exit code, output, errors, files before
    it)``.
    """

    def end(name, folder):
        if name in THERE:
            shutil.copytree(evaluated[0], folder)
        if name == "same":
            (
                folder / "runs/constant/0.001/seed1.json"
            ).unlink()  # as if killed before it was finished
            (folder / "runs/cosine_linear/0.01-warmup0.1/seed2.json").write_text("{}")
        if name == "damaged":
            (folder / "configuration.json").write_text('{"epo')
        if name == "killed":
            kill(command_line("evaluate", *evaluation, f"report={folder}"), folder)
        if name == "paper":  # goes on with what is trained there
            shutil.copytree(of("nobody")[0], folder)
        before = times(folder)
        sweep = [part for part in AGAIN[name] if part == "-m"]
        more = [part for part in AGAIN[name] if part != "-m"]
        done = script("evaluate", *sweep, *evaluation, *more, f"report={folder}", cwd=folder.parent)
        return done.returncode, done.stdout, done.stderr, before

    def of(name):
        root, found = once(f"again_{name}", lambda root: end(name, root / "report"))
        return root / "report", *found

    return of


def kill(command, folder):
    """Kill a command when some arm that jumps has finished its first run."""
    process = warm.Command(command, cwd=folder.parent)
    deadline = time.monotonic() + 240
    while not list(folder.glob("runs/*_linear/*/seed*.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def times(folder):
    """Of the files of finished runs."""
    return {
        str(file.relative_to(folder)): file.stat().st_mtime_ns
        for file in folder.glob("runs/*/*/seed*")
    }


def bounded(against, unit="steps", runs=3):
    """Its speed-up in steps or seconds, as shown, with the sign of runs that miss the target."""
    short, base_short = against["reached"] < runs, against["base_reached"] < runs
    sign = {(True, False): "≤ ", (False, True): "≥ ", (True, True): "~ "}.get(
        (short, base_short), ""
    )
    return sign + interval(against[unit]["speed_up"])


def interval(found):
    digits = 2
    while any(round(end, digits) == 1 != end for end in found[1:]):  # an end that is not 1 shows it
        digits += 1
    value, low, high = (f"{one:.{digits}f}" for one in found)
    return f"{value}× [{low}, {high}]"


def test_the_page_is_well_formed_and_loads_nothing_from_elsewhere(page):
    page.check()


def test_the_page_has_its_pictures(page):
    assert sum(tag == "svg" for tag, _ in page.tags) == 2
    words = " ".join(page.words)
    for label in ("validation loss", "over constant", "over cosine", *ARMS):
        assert label in words


def test_the_tables_hold_the_numbers_of_results_json(page, results):
    assert [row["name"] for row in results["arms"]] == ARMS
    mains = [table for table in page.tables if "final loss" in table[0]]
    assert [[row[0] for row in table[1:]] for table in mains] == [ARMS[:3], ARMS[3:]]
    cells = {row[0]: dict(zip(table[0], row, strict=True)) for table in mains for row in table[1:]}
    for row in results["arms"]:
        shown, base = cells[row["name"]], row["over"] or row["name"]
        against = row["against"][base]["0.75"]
        assert shown["final loss"] == f"{row['final_loss']:.4f}"
        assert shown["test accuracy"] == f"{row['test_accuracy']:.4f}"
        assert shown["reached"] == f"{against['reached']}/3"
        warm = ", warm-up 0.1" if row["warmup_tuned"] else ""
        assert shown["learning rate"] == f"{row['learning_rate']:g}{warm}"
        if row["over"]:
            assert shown["speed-up, steps [95 %]"] == bounded(against)
            seconds = shown["speed-up, seconds [95 %]"].removeprefix("≈")
            assert seconds == bounded(against, "seconds")
            assert shown["base / arm [95 %]"] == interval(row["final_loss_ratio"]["ratio"])


def test_the_other_tables_do_too(page, results):
    rows = {row["name"]: row for row in results["arms"]}
    ladders = [table for table in page.tables if table[0][0] == "speed-up, steps"]
    for base, table in zip(("constant", "cosine"), ladders, strict=True):
        assert [title.split()[1] for title in table[0][1:]] == [
            f"{loss:.4f}" for loss in results["targets"][base].values()
        ]
        for name, *cells in table[1:]:
            found = rows[name]["against"][base].values()
            assert cells == [f"{bounded(one)} {one['reached']}/3" for one in found]
    for name, shown in page.table("loss after / before").items():
        jumps = rows[name]["jumps"]
        assert (shown["jumps a run"], shown["refused"]) == ("2", "0")
        assert (shown["loss after / before"], shown["at worst"]) == (
            f"{jumps['dip']:.2f}×",
            f"{jumps['worst_dip']:.2f}×",
        )
        assert shown["never recovered"] == f"{jumps['never_recovered']} of 6"
    forecasts = page.table("runs of")
    assert forecasts.keys() == {name for name in ARMS if rows[name]["over"]}
    for name, shown in forecasts.items():
        for operation, error in rows[name]["forecast_error"].items():
            assert shown[operation] == interval(error["ratio"])
    costs = page.table("seconds a run")
    for name in ("constant_nowcast", "cosine_nowcast"):
        saved = results["cost"][name]["saved_seconds"]
        assert costs[name]["saved a run, s"].removeprefix("≈") == f"{saved:.3g}"
        assert costs[name]["fit, s"] == f"{results['cost'][name]['fit_seconds']:,.0f}"
    assert costs["constant_linear"]["pays after"] == ""


def test_the_files_are_as_their_schemas_say(results, again):
    validate("results", results)
    validate("results", read(again("paper")[0]))


def test_the_results_follow_from_the_curves(results):
    for row in results["arms"]:
        runs = results["curves"][row["name"]]
        assert len(runs) == 3
        assert all(len(run["loss"]) == 12 for run in runs)
        assert row["final_loss"] == pytest.approx(
            sorted(sum(run["loss"][-3:]) / 3 for run in runs)[1]
        )
        assert row["best_loss"] == pytest.approx(sorted(min(run["loss"]) for run in runs)[1])
        assert row["jumps"] is None or row["jumps"]["accepted"] == 2
        if row["over"]:
            each = [
                [sum(run["loss"][-3:]) for run in results["curves"][name]]
                for name in (row["over"], row["name"])
            ]
            assert row["final_loss_ratio"]["ratio"] == pytest.approx(list(speed_up(*each)))


def test_arms_of_a_seed_are_equal_until_the_first_jump(results):
    for row in results["arms"]:
        for run, base in zip(
            results["curves"][row["name"]],
            results["curves"][row["over"] or row["name"]],
            strict=True,
        ):
            assert run["loss"][:5] == base["loss"][:5]
            assert (run["loss"][5] != base["loss"][5]) == bool(row["over"])


def test_runs_of_one_seed_on_machines_that_differ_are_named(page, results):
    said = "on another number of cores"
    assert said not in page.text
    assert said not in report.markdown(results)
    other = copy.deepcopy(results)
    [arm, *_] = [row["name"] for row in results["arms"] if row["over"]]
    other["curves"][arm][1]["machine"] = "another, 1 cores"
    for text in (report.markdown(other), report.text(other), report.page(other)):
        assert f"{said}: {arm} (seed {results['protocol']['seeds'][1]}). " in text


def test_arms_whose_windows_skip_snapshots_are_named(results):
    assert "apart" not in words.setting(results)
    changed = copy.deepcopy(results)
    for row in changed["arms"]:
        row["settings"]["jump"]["every"] = 3 if row["name"] == "cosine_linear" else 2
    jumping = [name for name in ARMS if name not in ("constant", "cosine", "cosine_linear")]
    said = (
        f"Windows of snapshots 2 apart: {', '.join(jumping)}. Windows of snapshots 3 apart:"
        " cosine_linear."
    )
    assert said in words.setting(changed)


def test_the_page_says_how_to_make_it_again_and_what_was_seen(page, results, evaluated):
    words = " ".join(page.words)
    assert "python scripts/collect.py model=mlp" in words
    assert "python scripts/meta_train.py" in words
    assert str(evaluated[0]) in words  # the command
    assert "ALREADY seen mlp-digits" in words  # this bundle has
    for verdict in results["verdicts"]:
        assert verdict in words


def test_the_markdown_has_tables_verdicts_and_the_command(evaluated, results):
    text = (evaluated[0] / "report.md").read_text()
    lines = text.splitlines()
    for row in results["arms"]:
        [line] = [line for line in lines if line.startswith(f"| {row['name']} |")]
        assert f"| {row['final_loss']:.4f} |" in line
        assert line.count("|") == 12
    assert all(f"- {verdict}" in lines for verdict in results["verdicts"])
    assert f"```bash\n{results['commands'][-1]}\n```" in text


def test_the_terminal_shows_the_tables_the_place_and_what_to_do_next(evaluated, results):
    folder, done = evaluated
    lines = done.stdout.splitlines()
    assert f"report: {folder / 'report.html'}" in lines
    assert str(folder / "results.json") in lines[-2]
    assert lines[-1] == f"next: open {folder / 'report.html'} in a browser"
    for row in results["arms"]:
        assert any(
            line.startswith(row["name"]) and f"{row['final_loss']:.4f}" in line for line in lines
        )
    assert all(f"- {verdict}" in lines for verdict in results["verdicts"])
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_can_be_made_again_from_results_json(page, results):
    assert report.page(results) == page.text


def test_targets_and_rates_are_written_before_any_arm_is_trained_that_jumps(evaluated, results):
    folder, _ = evaluated
    assert json.loads((folder / "targets.json").read_text()) == {
        key: results[key] for key in ("targets", "rates")
    }
    written = (folder / "targets.json").stat().st_mtime_ns
    runs = times(folder)
    assert all(time < written for file, time in runs.items() if "seed100" in file)
    assert all(time > written for file, time in runs.items() if "seed100" not in file)
    assert {Path(file).parts[1] for file in runs if "seed100" in file} == {"constant", "cosine"}


def test_the_same_command_again_trains_only_what_is_missing_or_damaged(again, results):
    folder, code, _, err, before = again("same")
    assert code == 0, err
    lost = {
        "runs/constant/0.001/seed1.json",
        "runs/constant/0.001/seed1.npz",
        "runs/cosine_linear/0.01-warmup0.1/seed2.json",
    }
    after = times(folder)
    assert {file for file, time in after.items() if before.get(file) != time} <= lost
    assert after.keys() == before.keys() | lost
    found = read(folder)
    assert found["targets"] == results["targets"]
    assert found["curves"].keys() == results["curves"].keys()
    for name, runs in found["curves"].items():
        assert list(map(untimed, runs)) == list(map(untimed, results["curves"][name]))
    for row, old in zip(found["arms"], results["arms"], strict=True):
        for key in ("final_loss", "final_loss_ratio", "test_loss", "forecast_error"):
            assert row[key] == old[key]
        assert {**(row["jumps"] or {}), "seconds": 0} == {**(old["jumps"] or {}), "seconds": 0}


@pytest.mark.slow
def test_killed_at_any_time_it_goes_on_and_ends_in_the_same(again, results):
    folder, code, _, err, before = again("killed")
    assert code == 0, err
    after = times(folder)
    finished = {file for file in before if file.endswith(".json")}
    assert 0 < len(finished) < len([file for file in after if file.endswith(".json")])
    assert {file: after[file] for file in finished} == {file: before[file] for file in finished}
    found = read(folder)
    assert (found["targets"], found["rates"]) == (results["targets"], results["rates"])
    for name, runs in found["curves"].items():
        assert list(map(untimed, runs)) == list(map(untimed, results["curves"][name]))
    assert not [
        file
        for file in folder.rglob("*")
        if file.name == "lock" or (file.name[0] == "." and file.is_file())
    ]


@pytest.mark.slow
def test_more_arms_and_more_seeds_join_what_is_there(again, results):
    folder, code, _, err, before = again("more")
    assert code == 0, err
    after = times(folder)
    assert {file: after[file] for file in before} == before
    fresh = {Path(file).with_suffix("").parts[1:] for file in after.keys() - before.keys()}
    rates = {
        row["name"]: f"{row['learning_rate']:g}" + "-warmup0.1" * row["warmup_tuned"]
        for row in read(folder)["arms"]
    }
    assert fresh == {
        *((name, rates[name], "seed3") for name in ARMS),
        *((name, rates[name], f"seed{n}") for name in MORE for n in range(4)),
        ("cosine_ema", rates["cosine"], "seed1000"),
        ("cosine_ema", rates["cosine"], "seed1001"),  # a base with targets of its own
    }
    found = read(folder)
    assert [row["name"] for row in found["arms"]] == ARMS + MORE
    assert all(len(runs) == 4 for runs in found["curves"].values())
    for name in ARMS:
        old = results["curves"][name]
        assert list(map(untimed, found["curves"][name][:3])) == list(map(untimed, old))
    assert {base: found["targets"][base] for base in results["targets"]} == results["targets"]
    assert found["targets"].keys() == {"constant", "cosine", "cosine_ema"}
    Page((folder / "report.html").read_text()).check()
    validate("results", found)


@pytest.mark.slow
def test_jumping_to_where_a_run_is_changes_nothing(again):
    rows = {row["name"]: row for row in read(again("more")[0])["arms"]}
    row = rows["constant_noop"]
    assert row["final_loss_ratio"]["ratio"] == pytest.approx([1, 1, 1], rel=1e-3)
    assert row["forecast_error"]["fc"]["ratio"] == [1, 1, 1]
    for target, found in row["against"]["constant"].items():
        assert found["steps"]["speed_up"] == [1, 1, 1]
        assert (
            found["steps"]["each"]
            == rows["constant"]["against"]["constant"][target]["steps"]["each"]
        )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("other", "epochs: 11 there, 12 in this command"),
        ("damaged", "configuration.json is damaged"),
        ("into", "holds a report of one task"),
    ],
)
def test_other_configurations_do_not_mix_with_results_that_are_there(again, evaluated, name, said):
    folder, code, out, err, before = again(name)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err
    assert before is None or times(folder) == before
    assert read(folder) == read(evaluated[0])
    assert sorted(item.name for item in folder.iterdir()) == sorted(
        item.name for item in evaluated[0].iterdir()
    )


def test_a_value_that_nobody_reaches_is_refused_in_one_line_and_what_is_trained_is_kept(again):
    folder, code, out, err, _ = again("nobody")
    assert (code, out) == (2, "")
    [line] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (
        "target_value=0.99: no run of any arm reaches this accuracy, and the best run reaches 0."
        in line
    )
    assert "Traceback" not in err
    _, code, out, err, _ = again("paper")
    assert code == 0, err
    assert len(times(folder)) == 6  # two arms, two seeds, and samples of the base


def test_the_papers_protocol_has_one_target_for_all_and_no_calibration(again):
    folder, _, out, _, _ = again("paper")
    found = read(folder)
    assert found["protocol"]["name"] == "paper"
    assert (found["targets"], found["rates"]) == ({"constant": {"0.15": 0.15}}, {})
    for run in found["curves"]["constant_linear"]:
        assert run["jumps"]["step"] == [20]  # 5 epochs of 4 steps
        assert run["loss"][5] == run["jumps"]["before"][0] != run["jumps"]["after"][0]
        assert run["test_loss"] == run["loss"][-1:]
    page = Page((folder / "report.html").read_text())
    page.check()
    assert page.table("theirs")["constant_linear"]["theirs"] == "1.33x"
    words = " ".join(page.words)
    assert "Target: test accuracy 0.15, first crossing, before a jump." in words
    assert "By the WNN paper's protocol" in words
    assert "validation" not in out


@pytest.mark.slow
def test_several_tasks_of_one_command_make_a_report_of_all(again):
    folder, code, out, err, _ = again("both")
    assert code == 0, err
    found = read(folder)
    assert found["schema"] == joint.JOINT
    validate("joint", found)
    assert [task["name"] for task in found["tasks"]] == ["mlp-digits", "lenet-digits"]
    [row] = found["arms"]
    reports = [one for one in folder.iterdir() if one.is_dir()]
    assert sorted(one.name.rsplit("-", 1)[0] for one in reports) == ["lenet-digits", "mlp-digits"]
    for one in reports:
        results = read(one)
        own = next(row for row in results["arms"] if row["over"])
        assert (
            row["speed_up"]["each"][results["about"]["task"]]
            == own["against"]["constant"]["0.75"]["steps"]["speed_up"]
        )
    page = Page((folder / "report.html").read_text())
    page.check()
    assert f"report of all 2: {folder / 'report.html'}" in out
    assert out.splitlines()[-1] == f"next: open {folder / 'report.html'} in a browser"
    assert joint_report.verdicts(found)[0] in " ".join(page.words)


@pytest.mark.slow
def test_jobs_that_differ_in_the_given_rate_alone_have_reports_of_their_own(again):
    folder, code, _, err, _ = again("rates")
    assert code == 0, err
    assert [task["name"] for task in read(folder)["tasks"]] == ["mlp-digits (1)", "mlp-digits (2)"]
    rates = [read(one)["arms"][0]["learning_rate"] for one in folder.iterdir() if one.is_dir()]
    assert sorted(rates) == [0.001, 0.003]


@pytest.mark.slow
def test_jobs_that_write_over_one_anothers_report_are_not_joined(again):
    folder, code, _, err, _ = again("workers")
    [line] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2
    assert "several jobs wrote their reports to" in line
    assert "give each job its own report=" in line
    assert not (folder / "results.json").exists()


@pytest.mark.slow
def test_reports_that_are_there_are_joined(again, evaluated, script, tmp_path):
    parts = [one for one in again("both")[0].iterdir() if one.is_dir()]
    there = ",".join(map(str, [evaluated[0], *parts]))
    done = script("report", f"reports=[{there}]", f"report={tmp_path / 'all'}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "all")
    rows = {row["name"]: row["speed_up"]["each"] for row in found["arms"]}
    assert rows.keys() == {name for name in ARMS if "_" in name}
    assert len(rows["constant_linear"]) == 3
    assert rows["cosine_nowcast"].keys() == {"mlp-digits (1)"}
    Page((tmp_path / "all" / "report.html").read_text()).check()
    assert (tmp_path / "all" / "report.md").read_text() in done.stdout
    assert (
        done.stdout.splitlines()[-1]
        == f"next: open {tmp_path / 'all' / 'report.html'} in a browser"
    )
    assert sorted(item.name for item in tmp_path.iterdir()) == ["all"]
