"""Measure what jumps did to runs: how far they threw the metric back, and for how long."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from collect.tasks.protocol import Metric
from evaluate.curve import Curve
from evaluate.ends import median
from evaluate.metrics import none, oriented


def jumps(metric: Metric, runs: Sequence[Curve]) -> dict[str, Any] | None:
    """Summarise the jumps of an arm's runs; None: no run reached a jump.

    Args:
        metric: The metric that runs are judged by.
        runs: The arm's runs.

    Returns:
        A dict with these keys:

        - ``accepted``, ``refused``: jumps a run, in the mean.
        - ``dip``, ``worst_dip``: the metric right after a jump over the one right before it, or
          less it (``metric.compare``); the median and the worst over all jumps that were taken.
        - ``steps_to_recover``: the median number of steps until the metric is back. A jump after
          which it never is back counts to the end of the run.
        - ``never_recovered``, ``taken``: how many such jumps there are, and how many were taken.
        - ``seconds``: what a jump took beyond a step, in the median; None: not measured.
    """
    if not any(run["jumps"]["step"] for run in runs):
        return None
    dips: list[float] = []
    waits, never = [], 0
    for run in runs:
        columns = (run["jumps"][key] for key in ("step", "before", "after", "damping"))
        for step, before, after, damping in zip(*columns, strict=True):
            if not damping:
                continue
            dips.append(_dip(metric, before, after))
            wait = _recovery(metric, run, step, before, after)
            waits.append(wait if wait is not None else run["step"][-1] - step)
            never += wait is None
    each = (seconds for run in runs for seconds in run["jumps"].get("seconds", ()))
    took = [seconds for seconds in each if seconds is not None and math.isfinite(seconds)]
    return {
        "accepted": float(np.mean([run["accepted"] for run in runs])),
        "refused": float(np.mean([run["refused"] for run in runs])),
        "dip": median(dips) if dips else none(metric),
        "worst_dip": float(oriented(metric, max(oriented(metric, dips)))) if dips else none(metric),
        "steps_to_recover": median(waits) if waits else 0.0,
        "never_recovered": never,
        "taken": len(dips),
        "seconds": median(took) if took else None,
    }


def _dip(metric: Metric, before: float, after: float) -> float:
    """The change of the metric at a jump.

    It is ``after / before``, or ``after - before`` for a metric that is compared by difference.
    """
    if not np.isfinite([before, after]).all() or (metric.compare == "ratio" and before <= 0):
        return np.inf if metric.better == "lower" else 0.0 if metric.compare == "ratio" else -np.inf
    return after / before if metric.compare == "ratio" else after - before


def _recovery(metric: Metric, run: Curve, step: float, before: float, after: float) -> float | None:
    """Steps from a jump until the metric is as good as before it; None: never in this run."""
    if oriented(metric, after) <= oriented(metric, before):
        return 0.0
    back = oriented(metric, run[metric.name]) <= oriented(metric, before)
    later = (s - step for s, there in zip(run["step"], back, strict=True) if s > step and there)
    return next(later, None)
