"""Turn a printed 95 % interval into a verdict. All verdicts of a report are decided here."""

import math
from collections.abc import Iterable, Sequence
from enum import Enum, StrEnum
from typing import NamedTuple

Ratio = Sequence[float | None]
"""``(value, low, high)``: a value and the ends of its interval; None where there is none."""


class Verdict(Enum):
    """The verdict on an arm, compared with a base."""

    BETTER = "better"
    WORSE = "worse"
    MIXED = "mixed"
    """Better in one respect, and worse in another."""
    NO_DIFFERENCE = "no difference"
    """The interval includes the value of two equal runs."""
    UNCHANGED = "unchanged"
    """Every seed has the same result as the base."""
    UNDECIDED = "undecided"
    """There is no interval, or runs that missed the target leave the direction open."""
    DIVERGED = "diverged"

    @property
    def decided(self) -> bool:
        """Whether a difference is shown, which a report prints bold or in colour."""
        return self in (Verdict.BETTER, Verdict.WORSE)


class Line(NamedTuple):
    """A sentence of a report."""

    text: str
    verdict: Verdict | None = None
    """The verdict that the sentence gives on an arm; it chooses the sentence's colour."""
    caution: bool = False
    """Whether a report that joins several tasks repeats the sentence as a warning."""


class Bound(StrEnum):
    """On which sides of a printed ratio the true one may lie, as the sign that is printed first.

    Runs that did not reach the target count with their whole length.
    """

    NONE = ""
    """Every run reached the target."""
    AT_LEAST = "≥ "
    """Only runs of the base did not: the true ratio can only be larger."""
    AT_MOST = "≤ "
    """Only runs of the arm did not: the true ratio can only be smaller."""
    UNKNOWN = "~ "
    """Runs of both did not: the true ratio may be larger or smaller."""

    @property
    def inverse(self) -> "Bound":
        """The bound of the inverse ratio."""
        turned = {Bound.AT_LEAST: Bound.AT_MOST, Bound.AT_MOST: Bound.AT_LEAST}
        return turned.get(self, self)


def bounded(at_least: bool, at_most: bool) -> Bound:
    """The bound of a ratio from the directions in which its seeds may be wrong.

    A seed is a lower bound if only the base missed the target, an upper bound if only the arm did,
    and unknown if both did. The mean of seeds is unknown if one seed is, or if some are lower
    bounds and others upper ones. So it is unknown if and only if a run of the base and a run of the
    arm missed, of one seed or of two, and the counts of runs are enough to tell.

    Args:
        at_least: Whether the true ratio of some seed may lie above the one that counts.
        at_most: Whether the true ratio of some seed may lie below it.
    """
    if at_least and at_most:
        return Bound.UNKNOWN
    return Bound.AT_LEAST if at_least else Bound.AT_MOST if at_most else Bound.NONE


def together(bounds: Iterable[Bound]) -> Bound:
    """The bound of a mean of ratios that have these bounds.

    Examples:
        >>> from evaluate.decision import Bound, together
        >>> together([Bound.NONE, Bound.AT_LEAST]), together([Bound.AT_LEAST, Bound.AT_MOST])
        (<Bound.AT_LEAST: '≥ '>, <Bound.UNKNOWN: '~ '>)
    """
    found = set(bounds)
    unknown = Bound.UNKNOWN in found
    return bounded(unknown or Bound.AT_LEAST in found, unknown or Bound.AT_MOST in found)


def excludes(found: Ratio, nothing: float) -> bool:
    """Whether an interval leaves out ``nothing``, the value of two equal runs."""
    low, high = found[1:]
    return low is not None and high is not None and (low > nothing or high < nothing)


def decide(
    found: Ratio,
    nothing: float = 1.0,
    *,
    more_is_better: bool = True,
    bound: Bound = Bound.NONE,
) -> Verdict:
    """The verdict of a printed interval, which shows a difference if it excludes ``nothing``.

    A difference must also hold with every uncertain seed counted against it. An upper bound (``≤``)
    above ``nothing`` is undecided, because the true value may lie below ``nothing``. So is a lower
    bound (``≥``) below ``nothing``, and any value that is marked ``~``.

    Args:
        found: ``(value, low, high)``; None or NaN where there is no value or no interval.
        nothing: The value of two equal runs: 1 for a ratio, 0 for a difference.
        more_is_better: Whether a better arm has a value above ``nothing``.
        bound: The bound that is printed before the value.

    Examples:
        >>> from evaluate.decision import decide
        >>> decide([1.13, 1.02, 1.25])
        <Verdict.BETTER: 'better'>
        >>> decide([1.13, 0.98, 1.30])
        <Verdict.NO_DIFFERENCE: 'no difference'>
    """
    if any(end is None or math.isnan(end) for end in found):
        return Verdict.UNDECIDED
    if not excludes(found, nothing):
        return Verdict.NO_DIFFERENCE
    above = float(found[1] or 0.0) > nothing
    if bound in (Bound.UNKNOWN, Bound.AT_MOST if above else Bound.AT_LEAST):
        return Verdict.UNDECIDED
    return Verdict.BETTER if above == more_is_better else Verdict.WORSE
