"""Crossings, paired speed-ups and their intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from collect.intervals import Interval

Values = Sequence[float] | Float[np.ndarray, "n"]
SMOOTHING = 3
ROUNDING = 1e-12
"""A scatter that is less than this share of the mean is one of rounding alone."""


class Crossing(NamedTuple):
    """When a run reached its target."""

    place: float
    """One of those given: a step, an evaluation."""
    reached: bool
    """False: censored, and ``place`` is the run's end."""


def smooth(losses: Sequence[float], width: int = SMOOTHING) -> Float[np.ndarray, "S"]:
    """The mean of each value and those before it, ``width`` in all; NaN where one is missing or not
    finite.

    Examples:
        >>> from evaluate.statistics import smooth
        >>> smooth([4.0, 1.0, 1.0, 1.0])[2:].tolist()
        [2.0, 1.0]
    """
    values = np.where(np.isfinite(losses), losses, np.nan)
    out = np.full(len(values), np.nan)
    for i in range(width - 1, len(values)):
        out[i] = np.mean(values[i - width + 1 : i + 1])
    return out


def crossing(
    places: Sequence[float], losses: Sequence[float], target: float, width: int = SMOOTHING
) -> Crossing:
    """The first place at which the smoothed loss is at or below the target; the last place if there
    is none.

    Examples:
        >>> from evaluate.statistics import crossing
        >>> crossing([0, 10, 20, 30], [4.0, 1.0, 1.0, 1.0], target=2.0)
        Crossing(place=20.0, reached=True)
    """
    below = np.flatnonzero(smooth(losses, width) <= target)
    return (
        Crossing(float(places[below[0]]), True)
        if len(below)
        else Crossing(float(places[-1]), False)
    )


def t_interval(values: Values, least: float = 0.0) -> Interval:
    """The mean with Student's 95 % t-interval, which is what reports print and decide by.

    A percentile bootstrap is too narrow for few seeds: of five it leaves the mean out about four
    times as often as it says. With ``least=0`` this is
    ``scipy.stats.ttest_1samp(values, 0).confidence_interval()``, but where SciPy has no scatter to
    go by: values that are all 0 are of runs that are equal, and have [0, 0]; others that agree to
    the last digits, a single value, and those that are not finite have no interval (NaN).

    Args:
        values: By seed, or by task.
        least: The scatter (standard deviation) that they have at least, whatever theirs is.

    Examples:
        >>> from evaluate.statistics import t_interval
        >>> [round(one, 3) for one in t_interval([1.0, 2.0, 3.0])]
        [2.0, -0.484, 4.484]
    """
    from scipy import stats  # takes longer to import than all else here together

    sample = np.asarray(values, float)
    nothing = Interval(float(sample.mean()), float("nan"), float("nan"))
    if len(sample) < 2 or not np.isfinite(sample).all():
        return nothing
    if not sample.any():
        return Interval(0.0, 0.0, 0.0)
    scatter = max(float(sample.std(ddof=1)), least)
    if scatter <= ROUNDING * abs(nothing.value):
        return nothing
    standard_error = scatter / np.sqrt(len(sample))
    low, high = stats.t.interval(0.95, len(sample) - 1, loc=nothing.value, scale=standard_error)
    return Interval(nothing.value, float(low), float(high))


def geometric_interval(ratios: Values, least: float = 0.0) -> Interval:
    """:func:`t_interval` of ratios: that of their logarithms, as ratios; ``least`` is of those.

    Examples:
        >>> from evaluate.statistics import geometric_interval
        >>> round(geometric_interval([2.0, 8.0]).value, 6)
        4.0
    """
    return Interval(*map(float, np.exp(t_interval(np.log(np.asarray(ratios, float)), least))))


def speed_up(base: Sequence[float], arm: Sequence[float], resolution: float = 0.0) -> Interval:
    """How many times less an arm has or needs than its base, paired by seed: steps, seconds, a
    loss.

    The geometric mean of ``base/arm`` over seeds, with the t-interval of the log-ratios.

    Args:
        base: By seed.
        arm: By seed.
        resolution: The distance of two values that can be told apart, such as the steps between two
            evaluations. Seeds that agree by chance of so coarse a grid have its scatter at least,
            1/√12 of it each.

    Examples:
        >>> from evaluate.statistics import speed_up
        >>> round(speed_up([100, 400], [50, 50]).value, 6)
        4.0
    """
    own, other = np.asarray(arm, float), np.asarray(base, float)
    coarse = resolution / np.sqrt(12) * np.sqrt(np.mean(other**-2 + own**-2)) if resolution else 0.0
    return Interval(*map(float, np.exp(t_interval(np.log(other) - np.log(own), float(coarse)))))
