"""Bring older results up to date: compute Student's intervals from the runs that they hold.

Older results have bootstrap intervals. Only intervals and sentences are replaced; every other
number stays, and files are not changed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluate import budget, metrics, robust, sentences
from evaluate.curve import Curve
from evaluate.folder import with_nan, without_nan
from evaluate.protocol import HONEST, Plan, target_metric
from evaluate.statistics import geometric_interval
from evaluate.summary import INTERVALS, measured


def recounted(results: Mapping[str, Any]) -> dict[str, Any]:
    """The same results with Student's intervals, computed from the curves in them."""
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
    return {**found, "verdicts": sentences.texts(found)}


def _planned(results: Mapping[str, Any]) -> Plan:
    """The plan of older results, as far as measuring needs it: without arms and grids."""
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
    """The old content with the new ends of intervals, and the new ``clear`` of each."""
    if isinstance(old, Mapping):
        return {name: _merged(one, new.get(name, one), name) for name, one in old.items()}
    if key == "clear":
        return new
    is_interval = key in ("speed_up", "ratio", "difference") or key.endswith(("_ratio", "_gain"))
    return [old[0], *new[1:]] if is_interval else old
