"""The rows of the WNN paper's Table 4: another network and learned optimizers beside jumps."""

import json
import re

import pytest
from curves import validate
from made_sets import needs_sets

ROWS = ("constant", "hyper", "l2o", "l2o_amalgam", "constant_introspection", "constant_auto")


@needs_sets
@pytest.mark.slow
def test_every_row_is_in_one_report(script, tmp_path):
    small = ("data=mnist", "data.train_size=64", "batch_size=16", "model.width=0.25")
    done = script(
        *("evaluate", "experiment=table4_full", *small, "epochs=12", "record_every=4", "seeds=1"),
        *("target_value=0.02", "report=report"),
        f"arm=[{','.join((*ROWS, 'constant_published'))}]",  # the others have tests of their own
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    validate("results", results)
    rows = {row["name"]: row for row in results["arms"]}
    assert tuple(rows) == ROWS  # the published weights are not given
    assert results["about"]["left_out"] == ["constant_published"]
    assert rows["hyper"]["parameters"] != rows["constant"]["parameters"]
    assert {"hyper", "l2o", "l2o_amalgam"} <= results["beside"].keys()
    cost = results["cost"]
    assert cost["l2o"]["fit_seconds"] > cost["constant_introspection"]["fit_seconds"]
    assert cost["l2o"]["corpus_seconds"] == 0
    assert any("learner=l2o_amalgam" in command for command in results["commands"])
    page = (tmp_path / "report" / "report.html").read_text()
    assert {"ms a step", "ms a jump", "fit, s"} <= set(re.findall(r"<th[^>]*>([^<]*)", page))
    assert "the paper" in page
