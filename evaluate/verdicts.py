"""Write the sentences of a report on what came out, by the honest and the paper's protocol."""

import math
from collections.abc import Mapping
from typing import Any

from evaluate import cautions
from evaluate.arms import NULLS
from evaluate.decision import Line, Verdict
from evaluate.judged import bound, ending, outcome, steps
from evaluate.metrics import of, pair, shown, splits, verdict
from evaluate.protocol import HONEST
from evaluate.tables import ratio
from nowcast.forecasters import Average, LastValue


def lines(results: Mapping[str, Any]) -> list[Line]:
    """The cautions of a comparison, then a sentence for each arm over its base."""
    over = [_over(results, row, row["over"]) for row in results["arms"] if row["over"]]
    return [*cautions.lines(results), *_without_forecasts(results), *over]


def _without_forecasts(results: Mapping[str, Any]) -> list[Line]:
    """For each base with arms that forecast: a caution if an arm without a forecast is faster.

    The caution names the fastest such arm.
    """
    found, rows, headline = [], results["arms"], results["protocol"]["headline"]
    for base in (row["name"] for row in rows):
        jumping = any(row["over"] == base and not _forecasts_nothing(row) for row in rows)
        others = [row for row in rows if _forecasts_nothing(row) and row["name"] != base]
        if not jumping or not others:
            continue
        better = [
            (row["against"][base][headline], row["name"])
            for row in others
            if steps(row["against"][base][headline]) is Verdict.BETTER
        ]
        if better:
            against, name = max(better, key=lambda pair: pair[0]["steps"]["speed_up"][0])
            size = bound(against) + ratio(against["steps"]["speed_up"])
            text = (
                f"Without any forecast {name} reaches the target of {base} {size} as"
                f" fast: a gain over {base} is not a gain over what you could have anyway."
            )
            found.append(Line(text, caution=True))
    return found


def _forecasts_nothing(row: Mapping[str, Any]) -> bool:
    """Whether an arm does not jump, or jumps without a forecast of the run.

    The last value, the average, noise and permuted jumps forecast nothing.
    """
    return row["settings"]["forecaster"] in (None, LastValue.name, Average.name, *NULLS)


def _over(results: Mapping[str, Any], row: Mapping[str, Any], base: str) -> Line:
    """The sentence of an arm over its base."""
    against = row["against"][base][results["protocol"]["headline"]]
    found, seeds = outcome(results, row, base), len(results["protocol"]["seeds"])
    said = _effect(against, found.steps)
    if found.seconds is Verdict.WORSE and found.steps is not Verdict.WORSE:
        size = bound(against) + ratio(against["seconds"]["speed_up"])
        said += f", and in seconds it is SLOWER: {size}"
    said += _final(results, row, base)
    if row["diverged"]:
        said += f". {row['diverged']} of its {seeds} runs DIVERGED"
    if row["jumps"] and row["jumps"]["refused"]:
        said += (
            f". Of its jumps {row['jumps']['accepted']:.3g} are taken and"
            f" {row['jumps']['refused']:.3g} refused in a run"
        )
    text = f"{row['name']} over {base} {said}."
    return Line(text, found.overall, caution=found.diverged)


def _final(results: Mapping[str, Any], row: Mapping[str, Any], base: str) -> str:
    """The part of the sentence on the final value; empty where it cannot be compared."""
    said = final_size(results, row, base)
    metric = of(results)[0]
    lower, higher = ("lower", "higher") if metric.better == "lower" else ("higher", "lower")
    sure = {
        Verdict.BETTER: f": it ends {lower}",
        Verdict.WORSE: f": it ENDS {higher.upper()}",
        Verdict.NO_DIFFERENCE: ", a difference that these seeds cannot show",
    }
    shown = verdict(metric, ending(results, row, base))
    return f". Final {said}{sure.get(shown, '')}" if said else ""


def final_size(results: Mapping[str, Any], row: Mapping[str, Any], base: str) -> str:
    """The comparison of an arm's final value with any base's, as text.

    An example is ``validation loss, cosine / mine: 1.02 [1.01, 1.03]``. The text is empty where
    the values cannot be compared.
    """
    metric = of(results)[0]
    found = ending(results, row, base)
    if found[0] is None or math.isnan(found[0]):
        return ""
    split = splits(results)[0 if results["protocol"]["name"] == HONEST else -1]
    size = shown(metric, found).replace("×", "")
    return f"{split} {metric.name}, {pair(metric, base, row['name'])}: {size}"


def _effect(against: Mapping[str, Any], shown: Verdict) -> str:
    """The part of the sentence on how soon an arm reaches the target."""
    size = bound(against) + ratio(against["steps"]["speed_up"])
    seeds, base, arm = len(against["steps"]["each"]), against["base_reached"], against["reached"]
    if shown is Verdict.UNCHANGED:
        return "changes nothing: every run reaches the target at the same step as its base"
    if base == arm == 0:
        return "cannot be judged by this target: no run of either reaches it"
    if shown is Verdict.UNDECIDED and against["before_any_jump"] == seeds:
        return "cannot be judged by this target: every run reaches it before its first jump"
    said = {
        Verdict.NO_DIFFERENCE: f"makes no difference that these seeds can show: {size}",
        Verdict.BETTER: f"reaches the target in fewer steps: {size}",
        Verdict.WORSE: f"HURTS, it needs more steps: {size}",
    }.get(shown, f"comes to {size}")
    if against["before_any_jump"]:
        said += (
            f" ({against['before_any_jump']} of its {seeds} runs reach the target before they jump)"
        )
    if base < seeds or arm < seeds:
        said += f" ({base} of {seeds} base runs reach the target, and {arm} of {seeds} of its own)"
    return said
