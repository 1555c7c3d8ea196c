"""The result in words, negatives included."""

from collections.abc import Mapping, Sequence
from typing import Any

from nowcast.evaluation.arms import NULLS
from nowcast.evaluation.protocol import HONEST, Plan
from nowcast.forecasters import Average, LastValue

FEW = 5
"""Seeds below which an interval says little."""


def verdicts(plan: Plan, rows: Sequence[Mapping[str, Any]], rates: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One sentence per arm over its base, and what to make of them."""
    by_name = {row["name"]: row for row in rows}
    lines = [_over(plan, row, by_name[row["over"]]) for row in rows if row["over"]]
    lines += _without_forecasts(plan, rows)
    lines += [
        f"{row['diverged']} of {len(plan.seeds)} runs of the base {row['name']} DIVERGED."
        for row in rows
        if not row["over"] and row["diverged"]
    ]
    lines += [
        f"The learning rate of {name} lies at the edge of its grid: a wider one may do better, and make the gains over it smaller."
        for name, chosen in rates.items()
        if chosen["at_edge"]
    ]
    seeds = len(plan.seeds)
    if seeds < 2:
        lines.append("One seed has no interval: nothing here is more than an anecdote. Give seeds=5 or more.")
    elif seeds < FEW:
        lines.append(
            f"{seeds} seeds are too few for an interval: read [low, high] as the range of what {seeds} runs could have "
            f"shown, and give seeds=5 or more."
        )
    return lines


def warns(line: str) -> bool:
    """Whether a sentence is one that a reader of several tasks at once must not miss."""
    return any(word in line for word in ("DIVERGED", "too few", "One seed", "Without any forecast", "edge of its grid"))


def tone(line: str) -> str:
    """``worse``, ``better``, or nothing: what a sentence says of its arm."""
    if "HURTS" in line or "DIVERGED" in line:
        return "worse"
    return "better" if "in fewer steps" in line and "ENDS HIGHER" not in line else ""


def _without_forecasts(plan: Plan, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each base that forecasters jump on: what the quickest arm that forecasts nothing makes of its target."""
    lines = []
    for base in rows:
        jumping = any(row["over"] == base["name"] and not _ignorant(row) for row in rows)
        others = [row for row in rows if _ignorant(row) and row["name"] != base["name"]]
        if not jumping or not others:
            continue
        found = [(row["against"][base["name"]][plan.headline], row["name"]) for row in others]
        against, name = max(found, key=lambda pair: pair[0]["steps"]["speed_up"][0])
        value, low, high = against["steps"]["speed_up"]
        if against["steps"]["clear"] and value > 1:
            size = f"{value:.2f}× [{low:.2f}, {high:.2f}]"
            lines.append(
                f"Without any forecast {name} reaches the target of {base['name']} {size} as fast: a gain over {base['name']} is not a gain over "
                f"what you could have anyway."
            )
    return lines


def _ignorant(row: Mapping[str, Any]) -> bool:
    """Whether an arm does not jump, or knows nothing of where to."""
    return row["settings"]["forecaster"] in (None, LastValue.name, Average.name, *NULLS)


def _over(plan: Plan, row: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    against = row["against"][base["name"]][plan.headline]
    said = _effect(against)
    value, low, high = row["final_loss_ratio"]["ratio"]
    loss = "validation" if plan.protocol == HONEST else "test"
    if value == value:
        clear = row["final_loss_ratio"]["clear"]
        sure = (
            ": it ENDS HIGHER"
            if clear and value < 1
            else ""
            if clear or low != low
            else ", a difference that these seeds cannot show"
        )
        interval = f" [{low:.2f}, {high:.2f}]" if low == low else ""
        said += f". Final {loss} loss, {base['name']} / {row['name']}: {value:.2f}{interval}{sure}"
    if row["diverged"]:
        said += f". {row['diverged']} of its {len(plan.seeds)} runs DIVERGED"
    if row["jumps"] and row["jumps"]["refused"]:
        said += f". {row['jumps']['accepted']:.3g} jumps taken and {row['jumps']['refused']:.3g} refused in a run"
    return f"{row['name']} over {base['name']} {said}."


def _effect(against: Mapping[str, Any]) -> str:
    value, low, high = against["steps"]["speed_up"]
    size = f"{value:.2f}× [{low:.2f}, {high:.2f}]" if low == low else f"{value:.2f}×"
    seeds, base, arm = len(against["steps"]["each"]), against["base_reached"], against["reached"]
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
    if base == arm == seeds:
        return said
    return f"{said} (it is reached by {base} of {seeds} base runs and {arm} of {seeds} of its own)"
