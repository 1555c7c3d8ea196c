"""Judge an arm against a base: a verdict for steps, one for seconds and one for the end."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from collect.tasks.protocol import LOSS, Metric
from evaluate.decision import Bound, Ratio, Verdict, bounded, together
from evaluate.ends import last
from evaluate.folder import with_nan
from evaluate.metrics import compared, of, verdict


class Outcome(NamedTuple):
    """The verdicts on an arm, compared with a base."""

    steps: Verdict
    """On the steps to the target."""
    seconds: Verdict
    """On the seconds to the target; undecided if runs did not have the machine to themselves."""
    final: Verdict
    """On the final value."""
    diverged: bool
    """Whether some runs of the arm diverged."""

    @property
    def overall(self) -> Verdict:
        """The verdicts in one, on which the colour of a sentence and a recommendation depend."""
        if self.diverged:
            return Verdict.DIVERGED
        shown = {self.steps, self.final}
        worse = Verdict.WORSE in shown or self.seconds is Verdict.WORSE
        if Verdict.BETTER in shown:
            return Verdict.MIXED if worse else Verdict.BETTER
        return Verdict.WORSE if Verdict.WORSE in shown else self.steps


def outcome(results: Mapping[str, Any], row: Mapping[str, Any], base: str) -> Outcome:
    """The verdicts on an arm, compared with any base of the results.

    Args:
        results: From :func:`evaluate.summarise`.
        row: The arm's row in the results.
        base: The name of a base.
    """
    against = row["against"][base][results["protocol"]["headline"]]
    seconds = verdict(LOSS, against["seconds"]["speed_up"], bound(against))
    timed = (row if row["over"] == base else results)["seconds_comparable"]
    metric = of(results)[0]
    return Outcome(
        steps=steps(against),
        seconds=seconds if timed else Verdict.UNDECIDED,
        final=verdict(metric, ending(results, row, base)),
        diverged=bool(row["diverged"]),
    )


def steps(against: Mapping[str, Any]) -> Verdict:
    """The verdict on the steps in which an arm and its base reach a target."""
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
    """On which sides the true speed-up may lie, because some runs do not reach the target."""
    seeds = len(against["steps"]["each"])
    return bounded(against["base_reached"] < seeds, against["reached"] < seeds)


def over_tasks(found: Mapping[str, Any]) -> Verdict:
    """The verdict on a speed-up over tasks, from :func:`evaluate.joint.join`."""
    return verdict(LOSS, found["all"], bound_over_tasks(found))


def bound_over_tasks(found: Mapping[str, Any]) -> Bound:
    """On which sides a true ratio over tasks may lie, from the bounds of its tasks."""
    return together(map(Bound, found["bounds"].values()))


def ending(results: Mapping[str, Any], row: Mapping[str, Any], base: str) -> Ratio:
    """The arm's final value against that of any base, ``(value, low, high)``.

    For the arm's own base it is read from the row, and for another one computed from the curves.
    """
    metric = of(results)[0]
    if row["over"] == base:
        return final(metric, row)[metric.compare]
    ends = (
        [last(metric, {metric.name: with_nan(run[metric.name])}) for run in runs]
        for runs in (results["curves"][base], results["curves"][row["name"]])
    )
    return compared(metric, *ends)[metric.compare]


def final(metric: Metric, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The comparison of final values in an arm's row, from :func:`evaluate.metrics.compared`."""
    return row[f"final_{metric.name}_{metric.compare}"]
