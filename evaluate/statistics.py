"""Crossings, paired speed-ups and their intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from collect.intervals import RESAMPLES, Interval, mean_interval

SMOOTHING = 3


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


def speed_up(base: Sequence[float], arm: Sequence[float], seed: int = 0) -> Interval:
    """How many times less an arm has or needs than its base, paired by seed: steps, seconds, a
    loss.

    The geometric mean of ``base/arm`` over seeds, with a 95 % percentile bootstrap over seeds. One
    seed has no interval (NaN).

    Examples:
        >>> from evaluate.statistics import speed_up
        >>> round(speed_up([100, 400], [50, 50]).value, 6)
        4.0
    """
    ratios = mean_interval(np.log(np.asarray(base, float)) - np.log(np.asarray(arm, float)), seed)
    return Interval(*map(float, np.exp(ratios)))


def over_tasks(ratios: Sequence[Sequence[float]], seed: int = 0) -> Interval:
    """The geometric mean over tasks of the geometric mean over each one's seeds, with a
    hierarchical bootstrap.

    Tasks are drawn with replacement, then of each drawn one its seeds, so that the interval holds
    for tasks like these and not for these alone (Davison and Hinkley, 1997, §3.8). One task has no
    interval (NaN).

    Args:
        ratios: For every task the paired ratios of its seeds.
        seed: Of the draws.

    Examples:
        >>> from evaluate.statistics import over_tasks
        >>> round(over_tasks([[2.0, 2.0], [8.0, 8.0]]).value, 6)
        4.0
    """
    return Interval(
        *map(float, np.exp(mean_over_tasks([np.log(each).tolist() for each in ratios], seed)))
    )


def mean_over_tasks(values: Sequence[Sequence[float]], seed: int = 0) -> Interval:
    """:func:`over_tasks` of differences: arithmetic means, with the same bootstrap.

    Examples:
        >>> from evaluate.statistics import mean_over_tasks
        >>> mean_over_tasks([[1.0, 3.0], [4.0]]).value
        3.0
    """
    tasks = [np.asarray(each, float) for each in values]
    value = float(np.mean([each.mean() for each in tasks]))
    if len(tasks) < 2:
        return Interval(value, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    drawn = np.stack(
        [
            each[rng.integers(len(each), size=(len(tasks), RESAMPLES, len(each)))].mean(axis=2)
            for each in tasks
        ]
    )
    # By place in the draw, so that a task that is drawn twice draws its seeds anew.
    picked = rng.integers(len(tasks), size=(len(tasks), RESAMPLES))
    places, resamples = np.arange(len(tasks))[:, None], np.arange(RESAMPLES)
    low, high = np.quantile(drawn[picked, places, resamples].mean(axis=0), [0.025, 0.975])
    return Interval(value, float(low), float(high))


def clear(base: Sequence[float], arm: Sequence[float], resolution: float = 0.0) -> bool:
    """Whether the seeds show a difference: the 95 % t-interval of the paired log-ratio excludes 0.

    With few seeds a percentile bootstrap is too narrow (at 5 seeds it errs about four times as
    often as it says), so words are chosen by this stricter interval, and the bootstrap's is shown.

    Args:
        base: By seed.
        arm: By seed.
        resolution: The distance of two values that can be told apart, such as the steps between two
            evaluations. Seeds that agree by chance of so coarse a grid have its scatter at least,
            1/√12 of it each; with none, seeds that agree exactly show nothing.
    """
    own, other = np.asarray(arm, float), np.asarray(base, float)
    coarse = resolution / np.sqrt(12) * np.sqrt(np.mean(other**-2 + own**-2)) if resolution else 0.0
    return _excludes_0(np.log(other) - np.log(own), float(coarse))


def clear_difference(base: Sequence[float], arm: Sequence[float]) -> bool:
    """:func:`clear` of paired differences: whether their 95 % t-interval excludes 0.

    Examples:
        >>> from evaluate.statistics import clear_difference
        >>> clear_difference([-5.0, -4.0, -6.0], [-2.0, -1.1, -2.9])
        True
    """
    return _excludes_0(np.asarray(arm, float) - np.asarray(base, float), 0.0)


def _excludes_0(paired: Float[np.ndarray, "n"], coarse: float) -> bool:
    """Whether the 95 % t-interval of the mean excludes 0; ``coarse`` is the least scatter."""
    from scipy import stats  # takes longer to import than all else here together

    if len(paired) < 2 or not np.isfinite(paired).all():
        return False
    scatter = max(float(paired.std(ddof=1)), coarse)
    half = stats.t.ppf(0.975, len(paired) - 1) * scatter / np.sqrt(len(paired))
    return bool(scatter > 0 and abs(paired.mean()) > half)
