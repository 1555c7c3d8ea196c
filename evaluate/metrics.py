"""Compare values of a task's metrics: which is better, by how much, and how that is printed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from collect.tasks.protocol import LOSS, Metric
from evaluate.decision import Bound, Ratio, Verdict, decide
from evaluate.statistics import speed_up, t_interval

OLDER = (LOSS, Metric("accuracy", "higher", "difference"))
"""The metrics of older results, which do not name theirs; each counts if every run has it."""
OLDER_TARGET = OLDER[1].name
"""The metric of the paper's target in older results."""
OLDER_SPLITS = ("validation", "test")
"""The splits of older results."""
DIGITS = 15
"""The most decimals with which an interval is printed."""


def of(results: Mapping[str, Any]) -> list[Metric]:
    """The metrics of a comparison, the one that runs are judged by first.

    Older results do not name their metrics; they have the loss, and the accuracy where all runs
    have it.
    """
    if given := results.get("metrics"):
        return [Metric(**one) for one in given]
    runs = [run for each in results["curves"].values() for run in each]
    return [metric for metric in OLDER if metric is LOSS or all(metric.name in run for run in runs)]


def splits(results: Mapping[str, Any]) -> Sequence[str]:
    """The splits of a comparison: runs are judged on the first; the last is read at the end."""
    return results.get("splits") or OLDER_SPLITS


def oriented(metric: Metric, values: Any) -> Float[np.ndarray, "*n"]:
    """Change the sign of values where higher is better, so that a lower one is always better.

    Applied twice, it gives the values back.
    """
    values = np.asarray(values, float)
    return values if metric.better == "lower" else np.asarray(-values)


def worst(metric: Metric) -> float:
    """The value that stands for one that is not finite: plus or minus infinity."""
    return float(oriented(metric, np.inf))


def diverged(metric: Metric, values: Sequence[float]) -> bool:
    """Whether a run diverged: its metric ends not finite, or above its first value.

    The second condition is for metrics like a loss: better when lower, and compared by ratio.
    """
    if metric.better == "lower" and metric.compare == "ratio":
        return not values[-1] <= values[0]
    return not np.isfinite(values[-1])


def compared(metric: Metric, base: Sequence[float], arm: Sequence[float]) -> dict[str, Any]:
    """Compare an arm's values with its base's, seed by seed.

    A ratio is above 1 where the arm is better. A difference is the arm's value less the base's.

    Args:
        metric: The metric of the values.
        base: The base's value for each seed.
        arm: The arm's value for each seed.

    Returns:
        ``each``, the ratio or difference of each seed; under ``metric.compare``, their mean with
        its interval (the geometric mean of ratios); ``clear``, whether the interval shows a
        difference. With a value that is not finite, or one in a ratio that is not above 0, ``each``
        is None and the mean is NaN.

    Examples:
        >>> from collect.tasks import LOSS
        >>> from evaluate.metrics import compared
        >>> found = compared(LOSS, base=[0.4, 0.6], arm=[0.2, 0.3])
        >>> found["each"], round(found["ratio"][0], 6)
        ([2.0, 2.0], 2.0)
    """
    values = [*base, *arm]
    if not np.isfinite(values).all() or (metric.compare == "ratio" and min(values) <= 0):
        return {"each": None, metric.compare: [float("nan")] * 3, "clear": False}
    if metric.compare == "difference":
        each = [a - b for b, a in zip(base, arm, strict=True)]
        found = t_interval(each)
    else:
        over, under = (base, arm) if metric.better == "lower" else (arm, base)
        each = [o / u for o, u in zip(over, under, strict=True)]
        found = speed_up(over, under)
    shown = verdict(metric, found).decided
    return {"each": each, metric.compare: list(found), "clear": shown}


def verdict(
    metric: Metric, found: Ratio, bound: Bound = Bound.NONE, *, regret: bool = False
) -> Verdict:
    """The verdict of an interval of :func:`compared`, or of a regret, of which less is better."""
    more = not regret and (metric.compare == "ratio" or metric.better == "higher")
    return decide(found, none(metric), more_is_better=more, bound=bound)


def none(metric: Metric) -> float:
    """The ratio or difference of two equal runs: 1 or 0."""
    return 1.0 if metric.compare == "ratio" else 0.0


def pair(metric: Metric, base: str = "base", arm: str = "arm") -> str:
    """The formula of :func:`compared`: ``base / arm``, ``arm / base`` or ``arm − base``."""
    if metric.compare == "difference":
        return f"{arm} − {base}"
    return f"{base} / {arm}" if metric.better == "lower" else f"{arm} / {base}"


def shown(metric: Metric, found: Ratio, digits: int | None = None) -> str:
    """A comparison as text: ``1.23× [1.20, 1.26]`` or ``+1.230 [+1.200, +1.260]``.

    All three numbers get more digits where an end would be rounded to the value of two equal runs.
    So a reader sees on which side of that value the interval ends. As all have the same digits,
    the printed value lies in the printed interval.

    Args:
        metric: The metric that is compared.
        found: ``(value, low, high)``; the interval is left out where it is None or NaN.
        digits: Decimals; None: 2 for a ratio, and those of :func:`places` for a difference.
    """
    value, low, high = (float("nan") if one is None else one for one in found)
    if np.isnan(value):
        return "–"
    nothing, by_ratio = none(metric), metric.compare == "ratio"
    if digits is None:
        digits = 2 if by_ratio else places([value, low, high])
    sign = "" if by_ratio else "+"
    if not np.isnan(low):
        digits = max(_digits(end, nothing, digits) for end in (low, high))
    first, *ends = (f"{one:{sign}.{digits}f}" for one in (value, low, high))
    text = first + "×" * by_ratio
    return text if np.isnan(low) else f"{text} [{', '.join(ends)}]"


def _digits(end: float, nothing: float, digits: int) -> int:
    """With how many decimals, these or more, an interval's end differs from ``nothing``."""
    while float(f"{end:.{digits}f}") == nothing != end and digits < DIGITS:
        digits += 1
    return digits


def number(value: float | None) -> str:
    """A value as text with four decimals; a dash if it is not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.4f}" if abs(value) < 1e4 else f"{value:.4g}"


def places(values: Sequence[float]) -> int:
    """How many decimals show four digits of the largest of these values, 4 at most."""
    largest = max((abs(one) for one in values if np.isfinite(one)), default=0.0)
    return 4 if largest < 1 else max(0, 3 - int(np.log10(largest)))
