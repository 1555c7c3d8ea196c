"""Write the sentence that a report begins with: which arm to use, and on what evidence."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from collect.tasks.protocol import LOSS, Metric
from evaluate import budget, judged, metrics, robust, verdicts
from evaluate.arms import NULLS, ORACLE
from evaluate.decision import Ratio, Verdict, decide
from evaluate.judged import Outcome, bound, ending, outcome
from evaluate.protocol import HONEST

NO_CHOICE = (ORACLE, *NULLS)
"""Forecasters of arms that serve as controls only. No report recommends such an arm."""


class Candidate(NamedTuple):
    """An arm that a report may recommend, compared with one base."""

    row: Mapping[str, Any]
    """The arm's row in ``results.json``."""
    shown: Outcome
    """The verdicts of the comparison with the base."""
    steps: Ratio
    """The speed-up in steps to the base's target, with its interval."""
    end: Ratio
    """The final value against the base's, with its interval."""


def sentence(results: Mapping[str, Any]) -> str:
    """The sentence that says which arm to use on this task, and on what evidence.

    Args:
        results: From :func:`evaluate.comparison.compare`, by any protocol.
    """
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
    """The sentence that says which arm to use on tasks like those of a joint report.

    Args:
        joint: From :func:`evaluate.joint.join`.
    """
    tasks, bases = len(joint["tasks"]), set(joint["strongest"].values())
    if len(bases) > 1:
        named = ", ".join(f"`{base}` on {task}" for task, base in joint["strongest"].items())
        return f"No one base is the strongest ({named}): see what to use on each task below."
    base = bases.pop()
    over = [row for row in joint["arms"] if row["over"] == base]
    shown = {row["name"]: judged.over_tasks(row["speed_up"]) for row in over}
    at = _at_the_target(joint)
    if over and all(one is Verdict.UNDECIDED for one in shown.values()):
        return (
            f"{tasks} task{'s' * (tasks > 1)} decide nothing about tasks in general: see what to"
            " use on each task below."
        )
    better = [
        row for row in over if shown[row["name"]] is Verdict.BETTER and not _ends_worse(joint, row)
    ]
    if not better:
        found = list(shown.values())
        return f"{_none_better(base, 'the strongest base', found, at)} over {tasks} tasks."
    best = max(better, key=lambda row: float(row["speed_up"]["all"][1]))
    bounded = judged.bound_over_tasks(best["speed_up"])
    size = bounded + metrics.shown(LOSS, best["speed_up"]["all"])
    return (
        f"Use `{best['name']}` on tasks like these {tasks}:{at} it is {size} as fast in steps as"
        f" `{base}`, the strongest base{_out_of(over)}."
    )


def _at_the_target(results: Mapping[str, Any]) -> str:
    """The part of the sentence that names the target, such as ``at the target of 75 %``.

    Args:
        results: Of one task, or of several from :func:`evaluate.joint.join`.
    """
    name, headline = (results["protocol"][key] for key in ("name", "headline"))
    share = f"{100 * float(headline):g} %" if name == HONEST else headline
    return f" at the target of {share}"


def _ends_worse(joint: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether the interval over tasks shows that an arm ends worse.

    False where the tasks are judged by different metrics: there is no such interval.
    """
    if not joint["metric"]:
        return False
    metric = Metric(**joint["metric"])
    end = row[f"final_{metric.name}_{metric.compare}"]["all"]
    return metrics.verdict(metric, end) is Verdict.WORSE


def strongest(results: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row of the base with the best final value, in the median over seeds.

    Where some bases are tuned, only they are considered. A base whose runs diverged comes last.
    """
    metric = metrics.of(results)[0]
    bases = [row for row in results["arms"] if row["over"] is None]
    tuned = [row for row in bases if row["name"] in results["rates"]]

    def end(row: Mapping[str, Any]) -> tuple[bool, float]:
        value = row[f"final_{metric.name}"]
        lost = value is None or not math.isfinite(value)
        return bool(row["diverged"]), math.inf if lost else float(metrics.oriented(metric, value))

    return min(tuned or bases, key=end)


def candidates(results: Mapping[str, Any], base: str) -> list[Candidate]:
    """Compare every arm that could be recommended with the base of this name.

    Arms that jump by the oracle or by a null forecaster are left out.
    """
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
    """The best of the arms that are shown to be better in one thing and worse in none.

    Arms that need fewer steps come first, and among them the one whose speed-up has the highest
    lower end of its interval. Where no arm needs fewer steps, the final value decides in the same
    way. None: no arm is shown to be better.
    """

    def distance_from_equal(one: Candidate) -> tuple[bool, float]:
        if one.shown.steps is Verdict.BETTER:
            return True, float(one.steps[1] or 0.0)
        low, high = (float(end or 0.0) for end in one.end[1:])
        less = metric.compare == "difference" and metric.better == "lower"
        return False, -high if less else low

    better = [one for one in found if one.shown.overall is Verdict.BETTER]
    return max(better, key=distance_from_equal, default=None)


def _compared(results: Mapping[str, Any]) -> str:
    """What to use, by the honest protocol or the paper's."""
    metric, base = metrics.of(results)[0], strongest(results)
    kind = "the strongest tuned base" if base["name"] in results["rates"] else "an untuned base"
    found = candidates(results, base["name"])
    best = chosen(metric, found)
    if best is None:
        where = f"{_at_the_target(results)} or at the end"
        return _none_better(base["name"], kind, [one.shown.overall for one in found], where)
    return f"Use `{best.row['name']}`: {_gain(results, best, base['name'], kind)}{_out_of(found)}"


def _gain(results: Mapping[str, Any], best: Candidate, base: str, kind: str) -> str:
    """The part of the sentence that says what an arm gains over a base."""
    size = verdicts.final_size(results, best.row, base)
    end = f" (final {size})" if size else ""
    where = metrics.of(results)[0].better
    if best.shown.steps is not Verdict.BETTER:
        return (
            f"it ends {where} than `{base}`, {kind}{end}, and is not shown to be faster"
            f"{_at_the_target(results)}"
        )
    against = best.row["against"][base][results["protocol"]["headline"]]
    speed_up = bound(against) + metrics.shown(LOSS, best.steps)
    ends = {
        Verdict.BETTER: f", and ends {where}",
        Verdict.NO_DIFFERENCE: ", with no difference shown at the end",
    }.get(best.shown.final, "")
    at = _at_the_target(results).strip()
    return f"{at} it is {speed_up} as fast in steps as `{base}`, {kind}{ends}{end}"


def _out_of(arms: Sequence[Any]) -> str:
    """The part of the sentence that says out of how many arms the named one was chosen."""
    many = len(arms)
    return f"; the best of {many} arms, not corrected for their number" if many > 1 else ""


def _none_better(base: str, kind: str, shown: Sequence[Verdict], where: str = "") -> str:
    """The sentence where no arm is shown to be better than the base."""
    if not shown:
        return f"Use `{base}`, {kind}: no other arm was compared"
    if all(one is Verdict.UNDECIDED for one in shown):
        return f"Use `{base}` alone, {kind}: these runs decide nothing about the other arms"
    arms = f"none of the {len(shown)} other arms" if len(shown) > 1 else "the other arm"
    was = "was" if len(shown) > 1 else "was not"
    return f"Use `{base}` alone, {kind}: {arms} {was} shown to be better{where}"


def _budget(results: Mapping[str, Any]) -> str:
    """What to use, by the budget protocol."""
    metric, base = metrics.of(results)[0], results["budget"]["base"]
    arms = [one for one in results["budget"]["arms"] if _usable(results, one["name"])]
    better = [one for one in arms if budget.shown(one) is Verdict.BETTER]
    if not better:
        return _none_better(base, "the tuned base", [budget.shown(one) for one in arms])
    best = max(better, key=lambda one: float(one["speed_up"][1]))
    needs = f"`{base}`, the tuned base, needs {budget.size(best)} as many steps"
    return f"Use `{best['name']}`: {needs} for an equal final {metric.name}{_out_of(arms)}"


def _usable(results: Mapping[str, Any], name: str) -> bool:
    """Whether an arm of this name can be recommended: it is no control, and no run diverged."""
    row = next(row for row in results["arms"] if row["name"] == name)
    return row["settings"]["forecaster"] not in NO_CHOICE and not row["diverged"]


def _robust(results: Mapping[str, Any]) -> str:
    """What to use, by the robust protocol."""
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
