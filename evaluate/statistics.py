"""Compute where runs cross a target, paired speed-ups, and confidence intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from collect.intervals import Interval

Values = Sequence[float] | Float[np.ndarray, "n"]
SMOOTHING = 3
"""How many consecutive values a smoothed value is the mean of."""
ROUNDING = 1e-12
"""A scatter below this share of the mean comes from rounding alone."""


class Crossing(NamedTuple):
    """Where a run reached its target."""

    place: float
    """The place of the evaluation, such as its step; the last place if ``reached`` is False."""
    reached: bool
    """Whether the run reached the target at all."""


def smooth(losses: Sequence[float], width: int = SMOOTHING) -> Float[np.ndarray, "S"]:
    """The mean of each value and the ``width - 1`` values before it.

    It is NaN where one of them is missing or not finite.

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
    """Find the first place at which the smoothed loss is at or below the target.

    Args:
        places: The place of each evaluation, in ascending order.
        losses: The loss at each evaluation.
        target: The target.
        width: How many values are averaged; 1 does not smooth.

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
    """The mean of some values with Student's 95 % t-interval.

    All intervals of a report are made in this way. A percentile bootstrap is too narrow for few
    seeds: with five, it misses the true mean about four times as often as it claims.

    With ``least=0`` the interval is that of ``scipy.stats.ttest_1samp(values, 0)``, apart from
    values without scatter. If all values are 0, the runs are equal, and the interval is [0, 0]. If
    they agree to rounding, or there is a single value, there is no interval (NaN).

    Args:
        values: A value for each seed, or for each task. With one that is not finite there is no
            interval.
        least: The least standard deviation that the values are taken to have.

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
    """The geometric mean of ratios, with the t-interval of their logarithms as ratios.

    Args:
        ratios: A ratio above 0 for each seed, or for each task.
        least: The least standard deviation that the logarithms are taken to have.

    Examples:
        >>> from evaluate.statistics import geometric_interval
        >>> round(geometric_interval([2.0, 8.0]).value, 6)
        4.0
    """
    return Interval(*map(float, np.exp(t_interval(np.log(np.asarray(ratios, float)), least))))


def speed_up(base: Sequence[float], arm: Sequence[float], resolution: float = 0.0) -> Interval:
    """The geometric mean of ``base / arm`` over seeds, with the t-interval of the log-ratios.

    Above 1, the arm needs less than its base: fewer steps, fewer seconds, or a lower loss.

    Args:
        base: The base's value for each seed.
        arm: The arm's value for each seed.
        resolution: The distance between values that can be told apart, such as the steps between
            two evaluations. Each value is taken to scatter by at least ``resolution / √12``, the
            deviation of a uniform distribution. So seeds that agree only because the grid is coarse
            do not make the interval too narrow.

    Examples:
        >>> from evaluate.statistics import speed_up
        >>> round(speed_up([100, 400], [50, 50]).value, 6)
        4.0
    """
    own, other = np.asarray(arm, float), np.asarray(base, float)
    coarse = resolution / np.sqrt(12) * np.sqrt(np.mean(other**-2 + own**-2)) if resolution else 0.0
    return Interval(*map(float, np.exp(t_interval(np.log(other) - np.log(own), float(coarse)))))
