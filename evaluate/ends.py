"""Where runs are at the end, at their best, and after so many seconds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from collect.tasks.protocol import Metric
from evaluate.curve import Curve
from evaluate.metrics import compared, worst
from evaluate.statistics import SMOOTHING, smooth, t_interval


def at_the_end(
    metrics: Sequence[Metric], base: Sequence[Curve], runs: Sequence[Curve]
) -> dict[str, Any]:
    """The other metrics at the end, beside the base's: ``test_`` what was read once, there;
    ``final_`` of a task that has no such split.
    """
    found: dict[str, Any] = {}
    for metric in metrics:
        key = f"test_{metric.name}"
        read = all(key in run for run in (*base, *runs))
        if not read and metric is metrics[0]:
            continue
        key = key if read else f"final_{metric.name}"
        own, other = (
            [run[key][-1] if read else last(metric, run) for run in each] for each in (runs, base)
        )
        found[key] = median(own)
        if metric is metrics[0]:
            continue
        if metric.compare == "ratio":
            found[f"{key}_ratio"] = compared(metric, other, own)["ratio"]
        else:
            found[f"{key}_gain"] = list(t_interval(np.subtract(own, other).tolist()))
    return found


def last(metric: Metric, run: Curve) -> float:
    """The value at the end, smoothed as targets are."""
    values = run[metric.name]
    return float(finite(metric, smooth(values) if len(values) >= SMOOTHING else values)[-1])


def best(metric: Metric, run: Curve, seconds: float = np.inf) -> float:
    """The best value, of a whole run or until so many seconds have passed."""
    values = finite(metric, run[metric.name][: passed(run, seconds) + 1])
    return float(min(values) if metric.better == "lower" else max(values))


def at(metric: Metric, run: Curve, seconds: float) -> float:
    """The smoothed value when so many seconds have passed."""
    return float(finite(metric, smooth(run[metric.name]))[passed(run, seconds)])


def passed(run: Curve, seconds: float) -> int:
    """The last evaluation until then."""
    return max(int(np.searchsorted(run["seconds"], seconds * (1 + 1e-9), side="right")) - 1, 0)


def finite(metric: Metric, values: Any) -> Any:
    """Values, of which those that are not finite are the worst ones."""
    return np.where(np.isfinite(values), values, worst(metric))


def median(values: Any) -> float:
    """Of any iterable."""
    return float(np.median(list(values)))
