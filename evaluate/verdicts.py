"""The result in words, negatives included."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from evaluate import chosen_rates
from evaluate.arms import NULLS
from evaluate.metrics import is_better, oriented, pair, shown
from evaluate.protocol import Plan
from evaluate.tables import bound, ratio
from nowcast.forecasters import Average, LastValue

FEW = 5
"""Seeds below which an interval says little."""


def verdicts(
    plan: Plan,
    rows: Sequence[Mapping[str, Any]],
    rates: Mapping[str, Mapping[str, Any]],
    targets: Mapping[str, Mapping[str, float]],
) -> list[str]:
    """What to bear in mind of this comparison, then a sentence per arm over its base."""
    by_name = {row["name"]: row for row in rows}
    over = [_over(plan, row, by_name[row["over"]]) for row in rows if row["over"]]
    return [*cautions(plan, rows, rates, targets), *_without_forecasts(plan, rows), *over]


def cautions(
    plan: Plan,
    rows: Sequence[Mapping[str, Any]],
    rates: Mapping[str, Mapping[str, Any]],
    targets: Mapping[str, Mapping[str, float]],
) -> list[str]:
    """What to bear in mind whatever came out: few seeds, bases that diverged, rates at a grid's
    edge, targets that get no better.
    """
    diverged = [
        f"{row['diverged']} of {len(plan.seeds)} runs of the base {row['name']} DIVERGED."
        for row in rows
        if not row["over"] and row["diverged"]
    ]
    return [*_few_seeds(len(plan.seeds)), *diverged, *_edges(rows, rates), *_flat(plan, targets)]


def _few_seeds(seeds: int) -> list[str]:
    if seeds < 2:
        return [
            "One seed has no interval: nothing here is more than an anecdote. Give seeds=5 or more."
        ]
    if seeds < FEW:
        return [
            f"{seeds} seeds are too few for an interval: read [low, high] as the range of what"
            f" {seeds} runs could have shown, and give seeds=5 or more."
        ]
    return []


def _edges(rows: Sequence[Mapping[str, Any]], rates: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Tuned rates that a wider grid may better; where something is over them, what that does to its
    gain.
    """
    at_edge = [name for name, chosen in rates.items() if chosen["at_edge"]]
    based = [name for name in at_edge if any(row["over"] == name for row in rows)]
    lines = [
        f"The learning rate of {name} lies at the edge of its grid: a wider one may do better, and"
        " make the gains over it smaller."
        for name in based
    ]
    if others := [name for name in at_edge if name not in based]:
        many = len(others) > 1
        lines.append(
            f"The learning rate{'s' * many} of {', '.join(others)} lie{'s' * (not many)} at the"
            f" edge of {'their grids' if many else 'its grid'}: a wider one may do better."
        )
    return [*lines, *chosen_rates.edges(rates)]


def _flat(plan: Plan, targets: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Bases that are no better at one target than at the one before it."""
    lines = []
    for base, own in targets.items():
        shares = sorted(own, key=float)
        for early, late in pairwise(shares):
            if not oriented(plan.target_metric, own[late]) < oriented(
                plan.target_metric, own[early]
            ):
                lines.append(
                    f"{base} no longer improves from {float(early):.0%} to {float(late):.0%} of its"
                    f" length ({own[early]:.4g}, then {own[late]:.4g}): chance decides who reaches"
                    " the later target, and when. Compare over fewer epochs, or by an earlier"
                    f" target (target_share={early})."
                )
                break
    return lines


def warns(line: str) -> bool:
    """Whether a sentence is one that a reader of several tasks at once must not miss."""
    return any(
        word in line
        for word in (
            "DIVERGED",
            "too few",
            "One seed",
            "Without any",
            "the edge of",
            "no longer improves",
        )
    )


def tone(line: str) -> str:
    """``worse``, ``better``, or nothing: what a sentence says of its arm."""
    if "HURTS" in line or "DIVERGED" in line:
        return "worse"
    return (
        "better"
        if "in fewer steps" in line and not any(word in line for word in ("ENDS ", "SLOWER"))
        else ""
    )


def _without_forecasts(plan: Plan, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each base that forecasters jump on: what the quickest arm that forecasts nothing makes of
    its target.
    """
    lines = []
    for base in rows:
        jumping = any(row["over"] == base["name"] and not _ignorant(row) for row in rows)
        others = [row for row in rows if _ignorant(row) and row["name"] != base["name"]]
        if not jumping or not others:
            continue
        found = [
            (row["against"][base["name"]][plan.headline]["steps"], row["name"]) for row in others
        ]
        better = [pair for pair in found if pair[0]["clear"] and pair[0]["speed_up"][0] > 1]
        if better:
            steps, name = max(better, key=lambda pair: pair[0]["speed_up"][0])
            size = ratio(steps["speed_up"])
            lines.append(
                f"Without any forecast {name} reaches the target of {base['name']} {size} as fast:"
                f" a gain over {base['name']} is not a gain over what you could have anyway."
            )
    return lines


def _ignorant(row: Mapping[str, Any]) -> bool:
    """Whether an arm does not jump, or knows nothing of where to."""
    return row["settings"]["forecaster"] in (None, LastValue.name, Average.name, *NULLS)


def _over(plan: Plan, row: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    against = row["against"][base["name"]][plan.headline]
    said = _effect(against)
    seconds = against["seconds"]
    if (
        row["alone"]
        and seconds["clear"]
        and seconds["speed_up"][0] < 1 < against["steps"]["speed_up"][0]
    ):
        said += f", and in seconds it is SLOWER: {ratio(seconds['speed_up'])}"
    said += _final(plan, row, base)
    if row["diverged"]:
        said += f". {row['diverged']} of its {len(plan.seeds)} runs DIVERGED"
    if row["jumps"] and row["jumps"]["refused"]:
        said += (
            f". Of its jumps {row['jumps']['accepted']:.3g} are taken and"
            f" {row['jumps']['refused']:.3g} refused in a run"
        )
    return f"{row['name']} over {base['name']} {said}."


def _final(plan: Plan, row: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """How the arm ends beside its base; nothing where there is no such number."""
    metric = plan.metric
    final = row[f"final_{metric.name}_{metric.compare}"]
    value, low, _ = final[metric.compare]
    if value != value:
        return ""
    sure = "" if low != low else ", a difference that these seeds cannot show"
    if final["clear"]:
        better = is_better(metric, value)
        where = "lower" if better == (metric.better == "lower") else "higher"
        sure = f": it {f'ends {where}' if better else f'ENDS {where.upper()}'}"
    size = shown(metric, final[metric.compare]).replace("×", "")
    return (
        f". Final {plan.split} {metric.name}, {pair(metric, base['name'], row['name'])}:"
        f" {size}{sure}"
    )


def _effect(against: Mapping[str, Any]) -> str:
    value, low, high = against["steps"]["speed_up"]
    size = bound(against) + ratio(against["steps"]["speed_up"])
    seeds, base, arm = len(against["steps"]["each"]), against["base_reached"], against["reached"]
    if against["before_any_jump"] == seeds and low == high == 1:
        return "cannot be judged by this target: every run reaches it before its first jump"
    if base == arm == 0:
        return "cannot be judged by this target: no run of either reaches it"
    if low != low:
        said = f"comes to {size}"
    elif low == high == 1 and base == arm == seeds:
        return "changes nothing: every run reaches the target at the same step as its base"
    elif not against["steps"]["clear"]:
        said = f"makes no difference that these seeds can show: {size}"
    elif value > 1:
        said = f"reaches the target in fewer steps: {size}"
    else:
        said = f"HURTS, it needs more steps: {size}"
    if against["before_any_jump"]:
        said += (
            f" ({against['before_any_jump']} of its {seeds} runs reach the target before they jump)"
        )
    if base < seeds or arm < seeds:
        said += f" ({base} of {seeds} base runs reach the target, and {arm} of {seeds} of its own)"
    return said
