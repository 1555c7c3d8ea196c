"""Results from before reports printed t-intervals: their intervals and words are made anew.

The files stay as they are, and so does every number that is no end of an interval.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluate import budget, metrics, robust, said
from evaluate.curve import Curve
from evaluate.folder import with_nan, without_nan
from evaluate.protocol import HONEST, Plan, target_metric
from evaluate.statistics import geometric_interval
from evaluate.summary import INTERVALS, measured


def recounted(results: Mapping[str, Any]) -> dict[str, Any]:
    """Results with intervals of today's kind, from the runs that are in them."""
    if results.get("intervals") == INTERVALS:
        return dict(results)
    plan = _planned(results)
    curves = {name: [with_nan(run) for run in runs] for name, runs in results["curves"].items()}
    rows = [_row(plan, row, curves, results["targets"]) for row in results["arms"]]
    found = {**results, "arms": rows, "intervals": INTERVALS}
    for key, again in (("robust", robust.recounted), ("budget", budget.recounted)):
        if key in found:
            found[key] = again(found)
    found = without_nan(found)
    return {**found, "verdicts": said.texts(found)}


def _planned(results: Mapping[str, Any]) -> Plan:
    """As much of the plan as measuring needs."""
    protocol = results["protocol"]
    headline = float(protocol["headline"])
    target: dict[str, Any] = (
        {"target_share": headline}
        if protocol["name"] == HONEST
        else {"target_value": headline, "target_metric": target_metric(results).name}
    )
    return Plan(
        arms=(),
        grids={},
        seeds=tuple(protocol["seeds"]),
        calibration_seeds=tuple(protocol["calibration_seeds"]),
        metrics=tuple(metrics.of(results)),
        splits=tuple(metrics.splits(results)),
        **target,
    )


def _row(
    plan: Plan,
    row: Mapping[str, Any],
    curves: Mapping[str, Sequence[Curve]],
    targets: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    compared = {name: targets[name] for name in row["against"]}
    found = _merged(row, measured(plan, row["name"], row["over"], curves, compared))
    errors = {
        name: {**one, "ratio": list(geometric_interval(one["each"]))}
        for name, one in (row["forecast_error"] or {}).items()
    }
    return {**found, "forecast_error": errors or None}


def _merged(old: Any, new: Any, key: str = "") -> Any:
    """What was there, with the ends of intervals, and whether they show a difference, from now."""
    if isinstance(old, Mapping):
        return {name: _merged(one, new.get(name, one), name) for name, one in old.items()}
    if key == "clear":
        return new
    is_interval = key in ("speed_up", "ratio", "difference") or key.endswith(("_ratio", "_gain"))
    return [old[0], *new[1:]] if is_interval else old
