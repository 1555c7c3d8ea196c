"""What to use: the one sentence that a report begins with, from its verdicts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from collect.tasks.protocol import LOSS, Metric
from evaluate import budget, metrics, robust, verdicts
from evaluate.arms import NULLS, ORACLE
from evaluate.decision import Ratio, Verdict, decide
from evaluate.judged import Outcome, bound, ending, outcome

NO_CHOICE = (ORACLE, *NULLS)
"""What arms jump by that are there to compare with, and that nobody can or would use."""


class Candidate(NamedTuple):
    """An arm beside the strongest base."""

    row: Mapping[str, Any]
    shown: Outcome
    steps: Ratio
    end: Ratio


def sentence(results: Mapping[str, Any]) -> str:
    """What to use on this task, and on what evidence."""
    if "robust" in results:
        said = _robust(results)
    elif "budget" in results:
        said = _budget(results)
    else:
        said = _compared(results)
    seeds = len(results["protocol"]["seeds"])
    task = results["about"]["task"]
    return f"{said} ({task}, {seeds} paired seed{'s' * (seeds > 1)})."


def over_tasks(joint: Mapping[str, Any]) -> str:
    """What to use on tasks like those of a joint report."""
    tasks, bases = len(joint["tasks"]), set(joint["strongest"].values())
    if len(bases) > 1:
        named = ", ".join(f"`{base}` on {task}" for task, base in joint["strongest"].items())
        return f"No one base is the strongest ({named}): see what to use on each task below."
    base = bases.pop()
    over = [row for row in joint["arms"] if row["over"] == base]
    shown = {row["name"]: decide(row["speed_up"]["all"]) for row in over}
    if over and all(one is Verdict.UNDECIDED for one in shown.values()):
        return (
            f"{tasks} task{'s' * (tasks > 1)} decide nothing about tasks in general: see what to"
            " use on each task below."
        )
    better = [
        row for row in over if shown[row["name"]] is Verdict.BETTER and not _ends_worse(joint, row)
    ]
    if not better:
        return f"{_none(base, 'the strongest base', list(shown.values()))} over {tasks} tasks."
    best = max(better, key=lambda row: float(row["speed_up"]["all"][1]))
    size = metrics.shown(LOSS, best["speed_up"]["all"])
    return (
        f"Use `{best['name']}` on tasks like these {tasks}: it reaches the target of `{base}`, the"
        f" strongest base, {size} as fast in steps{_among(over)}."
    )


def _ends_worse(joint: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether an arm is shown to end worse over tasks, where all are judged by one metric."""
    if not joint["metric"]:
        return False
    metric = Metric(**joint["metric"])
    end = row[f"final_{metric.name}_{metric.compare}"]["all"]
    return metrics.verdict(metric, end) is Verdict.WORSE


def strongest(results: Mapping[str, Any]) -> Mapping[str, Any]:
    """The base that ends best, in the median over seeds: of the tuned ones where there are any."""
    metric = metrics.of(results)[0]
    bases = [row for row in results["arms"] if row["over"] is None]
    tuned = [row for row in bases if row["name"] in results["rates"]]

    def end(row: Mapping[str, Any]) -> tuple[bool, float]:
        value = row[f"final_{metric.name}"]
        lost = value is None or not math.isfinite(value)
        return bool(row["diverged"]), math.inf if lost else float(metrics.oriented(metric, value))

    return min(tuned or bases, key=end)


def candidates(results: Mapping[str, Any], base: str) -> list[Candidate]:
    """Every other arm that could be used, beside a base."""
    headline = results["protocol"]["headline"]
    return [
        Candidate(
            row,
            outcome(results, row, base),
            row["against"][base][headline]["steps"]["speed_up"],
            ending(results, row, base),
        )
        for row in results["arms"]
        if row["name"] != base and row["settings"]["forecaster"] not in NO_CHOICE
    ]


def chosen(metric: Metric, found: Sequence[Candidate]) -> Candidate | None:
    """Of arms that are shown to be better, and in nothing worse, the one whose interval is farthest
    from equal: of steps where they show it, and else of the end.
    """

    def surely(one: Candidate) -> tuple[bool, float]:
        if one.shown.steps is Verdict.BETTER:
            return True, float(one.steps[1] or 0.0)
        low, high = (float(end or 0.0) for end in one.end[1:])
        less = metric.compare == "difference" and metric.better == "lower"
        return False, -high if less else low

    better = [one for one in found if one.shown.overall is Verdict.BETTER]
    return max(better, key=surely, default=None)


def _compared(results: Mapping[str, Any]) -> str:
    metric, base = metrics.of(results)[0], strongest(results)
    kind = "the strongest tuned base" if base["name"] in results["rates"] else "an untuned base"
    found = candidates(results, base["name"])
    best = chosen(metric, found)
    if best is None:
        return _none(base["name"], kind, [one.shown.overall for one in found])
    return f"Use `{best.row['name']}`: {_gain(results, best, base['name'], kind)}{_among(found)}"


def _gain(results: Mapping[str, Any], best: Candidate, base: str, kind: str) -> str:
    """What an arm gains over a base."""
    size = verdicts.final_size(results, best.row, base)
    end = f" (final {size})" if size else ""
    where = metrics.of(results)[0].better
    if best.shown.steps is not Verdict.BETTER:
        return (
            f"it ends {where} than `{base}`, {kind}{end}, with no fewer steps shown to its target"
        )
    against = best.row["against"][base][results["protocol"]["headline"]]
    speed_up = bound(against) + metrics.shown(LOSS, best.steps)
    ends = {
        Verdict.BETTER: f", and ends {where}",
        Verdict.NO_DIFFERENCE: ", with no difference shown at the end",
    }.get(best.shown.final, "")
    return f"it reaches the target of `{base}`, {kind}, {speed_up} as fast in steps{ends}{end}"


def _among(arms: Sequence[Any]) -> str:
    """Of how many arms the one that is named is the best."""
    many = len(arms)
    return f"; the best of {many} arms, not corrected for their number" if many > 1 else ""


def _none(base: str, kind: str, shown: Sequence[Verdict]) -> str:
    """What to use where no arm is shown to be better."""
    if not shown:
        return f"Use `{base}`, {kind}: no other arm was compared"
    if all(one is Verdict.UNDECIDED for one in shown):
        return f"Use `{base}` alone, {kind}: these runs decide nothing about the other arms"
    arms = f"none of the {len(shown)} other arms" if len(shown) > 1 else "the other arm"
    was = "was" if len(shown) > 1 else "was not"
    return f"Use `{base}` alone, {kind}: {arms} {was} shown to be better"


def _budget(results: Mapping[str, Any]) -> str:
    metric, base = metrics.of(results)[0], results["budget"]["base"]
    arms = [one for one in results["budget"]["arms"] if _usable(results, one["name"])]
    better = [one for one in arms if budget.shown(one) is Verdict.BETTER]
    if not better:
        return _none(base, "the tuned base", [budget.shown(one) for one in arms])
    best = max(better, key=lambda one: float(one["speed_up"][1]))
    needs = f"`{base}`, the tuned base, needs {budget.size(best)} as many steps"
    return f"Use `{best['name']}`: {needs} for an equal final {metric.name}{_among(arms)}"


def _usable(results: Mapping[str, Any], name: str) -> bool:
    row = next(row for row in results["arms"] if row["name"] == name)
    return row["settings"]["forecaster"] not in NO_CHOICE and not row["diverged"]


def _robust(results: Mapping[str, Any]) -> str:
    metric, block = metrics.of(results)[0], results["robust"]
    order = robust.ranked(block["methods"])
    starts = f"over {len(block['starts'])} starting rates"
    if not order:
        return f"Use none of these where the rate is not known: every one lost runs {starts}"
    first, *others = order
    size, name = metrics.shown(metric, first["mean"]), first["name"]
    said = f"Use `{name}` where the rate is not known: its mean regret {starts} is {size}"
    if not others:
        return f"{said}, and no other method is finite from all of them"
    beside = {one["name"]: robust.beside(metric, first, one) for one in others}
    none = metrics.none(metric)
    equal = [other for other, found in beside.items() if decide(found, none) is not Verdict.BETTER]
    sign = "/" if metric.compare == "ratio" else "−"
    listed = ", ".join(
        f"`{other}` (`{other}` {sign} `{name}`: {metrics.shown(metric, beside[other])})"
        for other in equal or list(beside)[:1]
    )
    if equal:
        return f"{said}, the lowest, but not shown to be lower than that of {listed}"
    return f"{said}, and lower than that of every other method; next is {listed}"
