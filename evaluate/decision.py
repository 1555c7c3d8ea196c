"""What a 95 % interval says: the one place where a printed interval becomes a verdict."""

import math
from collections.abc import Sequence
from enum import Enum, StrEnum
from typing import NamedTuple

Ratio = Sequence[float | None]
"""A value, and the ends of its interval."""


class Verdict(Enum):
    """What a comparison with a base shows."""

    BETTER = "better"
    WORSE = "worse"
    MIXED = "mixed"
    """Better in one thing, and worse in another."""
    NO_DIFFERENCE = "no difference"
    """The interval holds the value of two runs that are equal."""
    UNCHANGED = "unchanged"
    """Equal in every seed."""
    UNDECIDED = "undecided"
    """There is no interval, or only a bound on the wrong side."""
    DIVERGED = "diverged"

    @property
    def decided(self) -> bool:
        """Whether a difference is shown: what bold and colours follow."""
        return self in (Verdict.BETTER, Verdict.WORSE)


class Line(NamedTuple):
    """A sentence of a report."""

    text: str
    verdict: Verdict | None = None
    """What it says of an arm, which its colour follows."""
    caution: bool = False
    """Whether a reader of several tasks at once must not miss it."""


class Bound(StrEnum):
    """What a ratio is whose runs did not all get where it is measured; its sign is printed."""

    NONE = ""
    AT_LEAST = "≥ "
    AT_MOST = "≤ "

    @property
    def inverse(self) -> "Bound":
        """Of the inverse of the ratio."""
        turned = {Bound.AT_LEAST: Bound.AT_MOST, Bound.AT_MOST: Bound.AT_LEAST}
        return turned.get(self, self)


def bounded(at_least: bool, at_most: bool) -> Bound:
    """The bound of a ratio, some of whose seeds are too low, or too high; of both there is none."""
    if at_least == at_most:
        return Bound.NONE
    return Bound.AT_LEAST if at_least else Bound.AT_MOST


def excludes(found: Ratio, nothing: float) -> bool:
    """Whether an interval lies on one side of the value of two runs that are equal."""
    low, high = found[1:]
    return low is not None and high is not None and (low > nothing or high < nothing)


def decide(
    found: Ratio,
    nothing: float = 1.0,
    *,
    more_is_better: bool = True,
    bound: Bound = Bound.NONE,
) -> Verdict:
    """The verdict of a printed interval: a difference is shown where it excludes ``nothing``.

    A ratio that can only be smaller (``≤``) shows nothing above 1, and one that can only be larger
    (``≥``) nothing below.

    Args:
        found: ``(value, low, high)``; None or NaN: there is none.
        nothing: 1 of a ratio, 0 of a difference.
        more_is_better: Whether a value above ``nothing`` is one of an arm that is better.
        bound: What is printed before the value.

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
    if bound is (Bound.AT_MOST if above else Bound.AT_LEAST):
        return Verdict.UNDECIDED
    return Verdict.BETTER if above == more_is_better else Verdict.WORSE
