"""Arms over bases that differ in their learning rate alone: what each gains from rate to rate."""

from collections.abc import Mapping
from typing import Any

from evaluate.decision import Ratio
from evaluate.judged import final
from evaluate.metrics import of

SWEEP = 3
"""Learning rates below which bases are no sweep."""


def sweeps(results: Mapping[str, Any]) -> dict[str, dict[str, list[tuple[float, Ratio, Ratio]]]]:
    """Bases that differ in nothing but a learning rate, three or more: by their words, and by what
    an arm of the same settings over each adds to the base's name, the base's rate, the arm's ratio
    of steps, and how it ends beside it, from the lowest rate up.
    """
    metric = of(results)[0]
    alone = {row["name"]: row for row in results["arms"] if not row["over"]}
    found: dict[str, dict[tuple[str, str], dict[float, tuple[Ratio, Ratio]]]] = {}
    for row in results["arms"]:
        base, name = alone.get(row["over"]), row["name"].removeprefix(f"{row['over']}_")
        if base and name != row["name"]:
            against = row["against"][row["over"]][results["protocol"]["headline"]]
            speed_up = against["steps"]["speed_up"]
            same = (name, str(sorted(row["settings"].items())))
            arms = found.setdefault(base["words"], {})
            arms.setdefault(same, {})[base["learning_rate"]] = (
                speed_up,
                final(metric, row)[metric.compare],
            )
    kept = {
        words: {
            name: [(rate, *arms[name, settings][rate]) for rate in sorted(arms[name, settings])]
            for name, settings in arms
            if len(arms[name, settings]) >= SWEEP
        }
        for words, arms in found.items()
    }
    return {words: arms for words, arms in kept.items() if arms}
