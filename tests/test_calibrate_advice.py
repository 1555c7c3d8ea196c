"""The table of advice, made from runs whose drift follows from their rate."""

import sys
from pathlib import Path

from nowcast import advice_table

ROOT = Path(__file__).resolve().parent.parent


def test_the_calibration_reads_made_up_runs_back(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    from scripts import calibrate_advice as calibration

    def row(share, factor):
        return {"share": share, "drift": 1 / (1 + 5 * factor), "length": 1.0}

    records = [
        {
            "task": task,
            "factor": factor,
            "rows": [row(share, factor) for share in calibration.SHARES],
            "averages": [0.9],
        }
        for task in ("one", "two")
        for factor in calibration.FACTORS
    ]
    table = advice_table.read(calibration.table(records))
    for factor in calibration.FACTORS[1:-1]:
        low, likely, high = table.factor(row(0.3, factor)["drift"], 0.3)
        assert low < 1 / factor < high
        assert 0.5 < likely * factor < 2  # one step of the grid
    *_, told, held, better = calibration.confusion(records)
    assert told == "told apart: 12 of 12"
    assert int(held.partition(": ")[2].partition("%")[0]) >= 80
    assert ": 20 of 20, " in better
