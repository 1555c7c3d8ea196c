"""What a task's metrics mean for a comparison: which of two values is better, how two runs compare,
and what that is called.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from collect.tasks.protocol import LOSS, Metric
from evaluate.decision import Bound, Ratio, Verdict, decide
from evaluate.statistics import speed_up, t_interval

OLDER = (LOSS, Metric("accuracy", "higher", "difference"))
"""The metrics of results that do not say theirs, each where a run has it."""
OLDER_TARGET = OLDER[1].name
"""The metric of the paper's target, of results that do not say theirs."""
OLDER_SPLITS = ("validation", "test")
DIGITS = 15
"""The most decimals of an interval's end."""


def of(results: Mapping[str, Any]) -> list[Metric]:
    """The metrics of a comparison, the headline first; of older results that do not say, their loss
    and what else we had.
    """
    if given := results.get("metrics"):
        return [Metric(**one) for one in given]
    runs = [run for each in results["curves"].values() for run in each]
    return [metric for metric in OLDER if metric is LOSS or all(metric.name in run for run in runs)]


def splits(results: Mapping[str, Any]) -> Sequence[str]:
    """What runs were judged by as they went on, and what was read at the end."""
    return results.get("splits") or OLDER_SPLITS


def oriented(metric: Metric, values: Any) -> Float[np.ndarray, "*n"]:
    """Values of which a lower one is better, whichever way the metric's are; :func:`oriented` of
    them gives them back.
    """
    values = np.asarray(values, float)
    return values if metric.better == "lower" else np.asarray(-values)


def worst(metric: Metric) -> float:
    """What a value that is not finite counts as."""
    return float(oriented(metric, np.inf))


def diverged(metric: Metric, values: Sequence[float]) -> bool:
    """Whether a run's metric ends not finite, or, if it is like a loss, above its first value."""
    if metric.better == "lower" and metric.compare == "ratio":
        return not values[-1] <= values[0]
    return not np.isfinite(values[-1])


def compared(metric: Metric, base: Sequence[float], arm: Sequence[float]) -> dict[str, Any]:
    """An arm's values beside its base's, paired by seed; with a value that is not finite, or a
    ratio to what is not above 0, nothing.

    Returns:
        ``each`` seed's; under the metric's ``compare`` their mean with its interval, of ratios
        (above 1: the arm is better) the geometric one, of differences (the arm's less the base's)
        the arithmetic one; and whether that interval shows a difference, ``clear``.
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


def verdict(metric: Metric, found: Ratio, bound: Bound = Bound.NONE) -> Verdict:
    """What the interval of :func:`compared` says."""
    more = metric.compare == "ratio" or metric.better == "higher"
    return decide(found, none(metric), more_is_better=more, bound=bound)


def none(metric: Metric) -> float:
    """The ratio or difference of two runs that are equal."""
    return 1.0 if metric.compare == "ratio" else 0.0


def pair(metric: Metric, base: str = "base", arm: str = "arm") -> str:
    """What :func:`compared` gives, in words: ``base / arm``, ``arm / base``, ``arm − base``."""
    if metric.compare == "difference":
        return f"{arm} − {base}"
    return f"{base} / {arm}" if metric.better == "lower" else f"{arm} / {base}"


def shown(metric: Metric, found: Ratio, digits: int | None = None) -> str:
    """``1.23× [1.20, 1.26]`` or ``+1.230 [+1.200, +1.260]``; without an interval where there is
    none.

    An end that would be rounded to the value of two equal runs has more digits, so that a reader
    sees on which side of it the interval ends.
    """
    value, low, high = (float("nan") if one is None else one for one in found)
    if np.isnan(value):
        return "–"
    nothing, by_ratio = none(metric), metric.compare == "ratio"
    if digits is None:
        digits = 2 if by_ratio else places([value, low, high])
    sign = "" if by_ratio else "+"
    text = f"{value:{sign}.{digits}f}" + "×" * by_ratio
    if np.isnan(low):
        return text
    return f"{text} [{_end(low, nothing, digits, sign)}, {_end(high, nothing, digits, sign)}]"


def _end(value: float, nothing: float, digits: int, sign: str) -> str:
    """An interval's end, with as many more digits as tell it from ``nothing``."""
    while float(text := f"{value:{sign}.{digits}f}") == nothing != value and digits < DIGITS:
        digits += 1
    return text


def number(value: float | None) -> str:
    """Four places; a dash for what is not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.4f}" if abs(value) < 1e4 else f"{value:.4g}"


def places(values: Sequence[float]) -> int:
    """Decimals that show four digits of the largest of these, 4 at most."""
    largest = max((abs(one) for one in values if np.isfinite(one)), default=0.0)
    return 4 if largest < 1 else max(0, 3 - int(np.log10(largest)))
