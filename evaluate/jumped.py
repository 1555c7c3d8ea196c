"""What jumps did to runs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from collect.tasks.protocol import Metric
from evaluate.curve import Curve
from evaluate.ends import median
from evaluate.metrics import none, oriented


def jumps(metric: Metric, runs: Sequence[Curve]) -> dict[str, Any] | None:
    """Jumps taken and refused in a run, in the mean; how far the metric is thrown back, and for how
    long.
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
    return {
        "accepted": float(np.mean([run["accepted"] for run in runs])),
        "refused": float(np.mean([run["refused"] for run in runs])),
        "dip": median(dips) if dips else none(metric),
        "worst_dip": float(oriented(metric, max(oriented(metric, dips)))) if dips else none(metric),
        "steps_to_recover": median(waits) if waits else 0.0,
        "never_recovered": never,
        "taken": len(dips),
    }


def _dip(metric: Metric, before: float, after: float) -> float:
    """What a jump did at once: ``after / before``, or of a metric that is compared by difference
    ``after - before``.
    """
    if not np.isfinite([before, after]).all() or (metric.compare == "ratio" and before <= 0):
        return np.inf if metric.better == "lower" else 0.0 if metric.compare == "ratio" else -np.inf
    return after / before if metric.compare == "ratio" else after - before


def _recovery(metric: Metric, run: Curve, step: float, before: float, after: float) -> float | None:
    """Steps from a jump until the metric is back where it was before; None: not within the run."""
    if oriented(metric, after) <= oriented(metric, before):
        return 0.0
    back = oriented(metric, run[metric.name]) <= oriented(metric, before)
    later = (s - step for s, there in zip(run["step"], back, strict=True) if s > step and there)
    return next(later, None)
