"""Find the bases that differ only in their learning rate, and what each arm gains over them."""

from collections.abc import Mapping
from typing import Any

from evaluate.decision import Ratio
from evaluate.judged import final
from evaluate.metrics import of

SWEEP = 3
"""The fewest learning rates that make a sweep."""


def sweeps(results: Mapping[str, Any]) -> dict[str, dict[str, list[tuple[float, Ratio, Ratio]]]]:
    """Find what each arm gains over three or more bases that differ only in their learning rate.

    An arm is recognised across the bases by equal settings, and by its name behind the base's
    (``low_linear`` and ``high_linear`` are the arm ``linear``).

    Returns:
        For each group of bases, by their common words, and for each arm, by its name: a list of
        ``(the base's rate, speed-up in steps, comparison of final values)``, the lowest rate first.
    """
    metric = of(results)[0]
    bases = {row["name"]: row for row in results["arms"] if not row["over"]}
    found: dict[str, dict[tuple[str, str], dict[float, tuple[Ratio, Ratio]]]] = {}
    for row in results["arms"]:
        base, name = bases.get(row["over"]), row["name"].removeprefix(f"{row['over']}_")
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
