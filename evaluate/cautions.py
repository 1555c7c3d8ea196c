"""Write a report's cautions: reasons to doubt a comparison, whatever its outcome."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from collect.tasks.protocol import Metric
from evaluate import chosen_rates
from evaluate.decision import Line, Verdict
from evaluate.metrics import oriented
from evaluate.protocol import target_metric

FEW = 5
"""With fewer seeds than this, a 95 % interval holds 95 % only for nearly normal differences."""


def lines(results: Mapping[str, Any]) -> list[Line]:
    """A sentence for each reason to doubt the results.

    The reasons are few seeds, bases that diverged, tuned rates at the edge of their grid, and bases
    that no longer improve from one target to the next.
    """
    rows, seeds = results["arms"], len(results["protocol"]["seeds"])
    diverged = [
        Line(
            f"{row['diverged']} of {seeds} runs of the base {row['name']} DIVERGED.",
            Verdict.DIVERGED,
            caution=True,
        )
        for row in rows
        if not row["over"] and row["diverged"]
    ]
    crossed = target_metric(results)
    edges, flat = _edges(rows, results["rates"]), _flat(crossed, results["targets"])
    return [
        *(Line(text, caution=True) for text in _few_seeds(seeds)),
        *diverged,
        *(Line(text, caution=True) for text in (*edges, *flat)),
    ]


def _few_seeds(seeds: int) -> list[str]:
    if seeds < 2:
        return [
            "One seed has no interval: nothing here is more than an anecdote. Give seeds=5 or more."
        ]
    if seeds < FEW:
        return [
            f"{seeds} seeds are few: their intervals are wide, and as sure as they say only where"
            " the seeds' differences are nearly normal. Give seeds=5 or more."
        ]
    return []


def _edges(rows: Sequence[Mapping[str, Any]], rates: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sentences on tuned rates and warm-ups at the edge of their grid.

    A base's sentence adds that a wider grid may make the gains over the base smaller.
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


def _flat(metric: Metric, targets: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Sentences on bases that are no better at one target than at the target before it."""
    lines = []
    for base, own in targets.items():
        shares = sorted(own, key=float)
        for early, late in pairwise(shares):
            if not oriented(metric, own[late]) < oriented(metric, own[early]):
                lines.append(
                    f"{base} no longer improves from {float(early):.0%} to {float(late):.0%} of its"
                    f" length ({own[early]:.4g}, then {own[late]:.4g}): chance decides who reaches"
                    " the later target, and when. Compare over fewer epochs, or by an earlier"
                    f" target (target_share={early})."
                )
                break
    return lines
