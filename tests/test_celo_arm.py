"""The arm ``celo`` of a comparison, and the key that gives its weights."""

import json
from functools import partial

import celo_files
import numpy as np
import pytest

from evaluate import Arm, resolve, starts
from nowcast.types import UserError


def test_the_robust_protocol_trains_it_once():
    arm = Arm(optimizer="celo", learned="theta.state", learning_rate=1.0)
    [_, found], _ = starts.prepared({"celo": arm}, optimizer="adam")
    assert starts.row(found, 1 / 8) == "celo"


def test_the_arm_is_left_out_without_a_file_and_refused_where_it_must_be_there():
    arms = {"cosine": Arm(schedule="cosine")}
    settled = partial(resolve, optimizer="adam", learning_rate=1e-3)
    arms["celo"] = Arm(over="cosine", optimizer="celo", learned="", optional=True)
    assert settled(arms)[1] == ["celo"]
    arms["celo"].optional = False
    with pytest.raises(UserError, match=r"arm\.celo\.learned=.*give celo=FILE, or leave the arm"):
        settled(arms)


def test_an_arm_trains_with_it_and_another_file_is_another_arm(script, small_task, tmp_path):
    report, file = tmp_path / "report", tmp_path / "theta.state"
    celo_files.write(file, celo_files.random_tensors())
    typed = ["evaluate", *small_task, "epochs=3", "seeds=2", "tuned.learning_rates=[0.01]"]
    typed += ["tuned.warmups=[0]", "tuned.seeds=1", f"report={report}"]
    dry = script(*typed, "arm=[cosine,celo]", f"celo={file}", "dry_run=true")
    assert (dry.returncode, "2 arms × 2 seeds" in dry.stdout) == (0, True), dry.stderr[-2000:]
    done = script(*typed, "arm=[cosine,celo]", f"celo={file}")
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((report / "results.json").read_text())
    rows = {row["name"]: row for row in results["arms"]}
    assert rows["celo"]["words"] == f"celo of {file}, constant"
    assert all(np.isfinite(run["loss"]).all() for run in results["curves"]["celo"])
    assert "celo" not in results["cost"]

    celo_files.write(tmp_path / "other.state", celo_files.random_tensors(1))
    other = script(*typed, "arm=[cosine,celo]", f"celo={tmp_path / 'other.state'}")
    assert "holds runs with other settings" in other.stderr
    alone = script(*typed, "arm=[cosine]", f"celo={file}")
    assert "no arm of this command trains with this optimizer" in alone.stderr
    without = script(*typed, "arm=[cosine,celo]")
    assert without.returncode == 0, without.stderr[-2000:]
    said = (report / "report.md").read_text()
    assert "Left out, because their weights were not given: celo." in said
