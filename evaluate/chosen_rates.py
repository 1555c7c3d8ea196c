"""Describe what calibration chose for tuned arms: learning rate, warm-up, and their grid."""

from collections.abc import Mapping, Sequence
from typing import Any

from collect.tasks.protocol import Metric
from evaluate.metrics import number, oriented

SHOWN = 6
"""The most pairs of rate and warm-up that are all shown."""
BEST = 3
"""How many pairs are shown of a grid with more than :data:`SHOWN`."""


def of(row: Mapping[str, Any]) -> str:
    """An arm's learning rate as text, with its warm-up if that was tuned: ``0.01, warm-up 0.1``."""
    warm = f", warm-up {row['settings']['warmup']:g}" if row.get("warmup_tuned") else ""
    return f"{row['learning_rate']:g}{warm}"


def grid(chosen: Mapping[str, Any]) -> str:
    """The size of the grid that a choice was made from, as text.

    Examples:
        >>> from evaluate.chosen_rates import grid
        >>> grid({"rates": 5, "warmups": 1})
        '5 rates × 1 warm-up'
    """
    counts = ((chosen["rates"], "rate"), (chosen["warmups"], "warm-up"))
    return " × ".join(f"{count} {name}{'s' * (count > 1)}" for count, name in counts)


def describe_pairs(metric: Metric, chosen: Mapping[str, Any]) -> str:
    """The pairs that calibration tried, with their final metric, and a note if the best is an edge.

    Of a grid with more than :data:`SHOWN` pairs, the :data:`BEST` best ones are listed.
    """
    found: Mapping[str, float | None] = chosen[f"final_{metric.name}"]
    pairs, said = list(found), ""
    if len(found) > SHOWN:
        finite = [pair for pair in pairs if found[pair] is not None]
        pairs = sorted(finite, key=lambda pair: float(oriented(metric, found[pair])))[:BEST]
        said = f"{grid(chosen)}; "
    edge = "; at the grid's edge" if chosen["at_edge"] or chosen.get("warmup_at_edge") else ""
    return f"{said}{'; '.join(f'{pair}: {number(found[pair])}' for pair in pairs)}{edge}"


def method(results: Mapping[str, Any], metric: Metric, split: str) -> list[str]:
    """Sentences on how tuned arms were calibrated.

    Older results have a tuned rate only, chosen by the median over seeds in place of the mean.
    """
    rates, runs = results["rates"], len(results["protocol"]["calibration_seeds"])
    at_end = f"final {split} {metric.name} of {runs} calibration run{'s' * (runs > 1)}"
    old = [name for name, chosen in rates.items() if "warmups" not in chosen]
    pairs = [f"{name} of {grid(chosen)}" for name, chosen in rates.items() if name not in old]
    said = []
    if old:
        one = "is the one of the grid with the best median"
        said.append(f"The tuned learning rate of {_listed(old)} {one} {at_end}.")
    if pairs:
        pair = "the pair of learning rate and warm-up with the best mean"
        said.append(f"Tuned arms have {pair} {at_end}: {_listed(pairs)}.")
    return said


def edges(rates: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence on tuned warm-ups at the edge of their grid, if there are any."""
    names = [name for name, chosen in rates.items() if chosen.get("warmup_at_edge")]
    return (
        [
            f"The warm-up of {_listed(names)} lies at the edge of its grid: another one may do"
            " better."
        ]
        if names
        else []
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
