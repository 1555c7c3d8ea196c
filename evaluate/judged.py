"""What each comparison with a base shows, as typed verdicts of the intervals that are printed."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from collect.tasks.protocol import LOSS, Metric
from evaluate.decision import Bound, Ratio, Verdict, bounded
from evaluate.ends import last
from evaluate.folder import with_nan
from evaluate.metrics import compared, of, verdict


class Outcome(NamedTuple):
    """What a comparison with a base shows of an arm, by what is compared."""

    steps: Verdict
    seconds: Verdict
    """Undecided where runs did not have the machine to themselves."""
    final: Verdict
    diverged: bool

    @property
    def overall(self) -> Verdict:
        """All in one: what a colour follows, and a recommendation."""
        if self.diverged:
            return Verdict.DIVERGED
        shown = {self.steps, self.final}
        worse = Verdict.WORSE in shown or self.seconds is Verdict.WORSE
        if Verdict.BETTER in shown:
            return Verdict.MIXED if worse else Verdict.BETTER
        return Verdict.WORSE if Verdict.WORSE in shown else self.steps


def outcome(results: Mapping[str, Any], row: Mapping[str, Any], base: str) -> Outcome:
    """What an arm's row shows beside any base that sets a target."""
    against = row["against"][base][results["protocol"]["headline"]]
    seconds = verdict(LOSS, against["seconds"]["speed_up"], bound(against))
    timed = row["alone"] if row["over"] == base else results["alone"]
    metric = of(results)[0]
    return Outcome(
        steps=steps(against),
        seconds=seconds if timed else Verdict.UNDECIDED,
        final=verdict(metric, ending(results, row, base)),
        diverged=bool(row["diverged"]),
    )


def steps(against: Mapping[str, Any]) -> Verdict:
    """Whether an arm reaches a target sooner than the base."""
    seeds = len(against["steps"]["each"])
    equal = list(against["steps"]["speed_up"]) == [1, 1, 1]
    if against["reached"] == against["base_reached"] == 0:
        return Verdict.UNDECIDED
    if equal and against["before_any_jump"] == seeds:
        return Verdict.UNDECIDED
    if equal and against["reached"] == against["base_reached"] == seeds:
        return Verdict.UNCHANGED
    return verdict(LOSS, against["steps"]["speed_up"], bound(against))


def bound(against: Mapping[str, Any]) -> Bound:
    """What a ratio is to the steps of runs that never reach the target, and count with their
    length.
    """
    seeds = len(against["steps"]["each"])
    return bounded(against["base_reached"] < seeds, against["reached"] < seeds)


def ending(results: Mapping[str, Any], row: Mapping[str, Any], base: str) -> Ratio:
    """How an arm ends beside any base: its own is in its row."""
    metric = of(results)[0]
    if row["over"] == base:
        return final(metric, row)[metric.compare]
    ends = (
        [last(metric, {metric.name: with_nan(run[metric.name])}) for run in runs]
        for runs in (results["curves"][base], results["curves"][row["name"]])
    )
    return compared(metric, *ends)[metric.compare]


def final(metric: Metric, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """How an arm ends beside its base, by the metric that runs are judged by."""
    return row[f"final_{metric.name}_{metric.compare}"]
