"""Measure runs at their end, at their best, and after a number of seconds."""

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
    """The metrics at the end of the runs, compared with the base's.

    Args:
        metrics: The task's metrics, the one that runs are judged by first.
        base: The base's runs, a run per seed.
        runs: The arm's runs, a run per seed.

    Returns:
        The median of each metric, as ``test_NAME`` if the last split was read once at the end, else
        as ``final_NAME`` (the first metric only as ``test_NAME``). With ``_ratio`` or ``_gain``
        behind it, the comparison with the base, with its interval, of every metric but the first.
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
    """The last value of a metric, smoothed as targets are; the worst value if it is not finite."""
    values = run[metric.name]
    return float(finite(metric, smooth(values) if len(values) >= SMOOTHING else values)[-1])


def best(metric: Metric, run: Curve, seconds: float = np.inf) -> float:
    """The best value of a metric in a run, or in its first ``seconds``."""
    values = finite(metric, run[metric.name][: last_evaluation(run, seconds) + 1])
    return float(min(values) if metric.better == "lower" else max(values))


def at(metric: Metric, run: Curve, seconds: float) -> float:
    """The smoothed value of a metric after so many seconds of training."""
    return float(finite(metric, smooth(run[metric.name]))[last_evaluation(run, seconds)])


def last_evaluation(run: Curve, seconds: float) -> int:
    """The index of the last evaluation in the first ``seconds`` of a run."""
    return max(int(np.searchsorted(run["seconds"], seconds * (1 + 1e-9), side="right")) - 1, 0)


def finite(metric: Metric, values: Any) -> Any:
    """Replace values that are not finite by the metric's worst value."""
    return np.where(np.isfinite(values), values, worst(metric))


def median(values: Any) -> float:
    """The median of any iterable of numbers."""
    return float(np.median(list(values)))
