"""Compute the results of the budget protocol: how long the base trains to end as well as an arm.

For each seed, the speed-up of an arm is ``length of the base / length of the arm`` at an equal
final loss. The base trains at several lengths. Its final loss, as a function of the length, is made
monotone in two steps:

1. Where the mean over seeds is worse at a longer length than at a shorter one, the shorter length
   takes its place (the running best of the mean). A longer budget need not be used up.
2. Within each seed, neighbours that are out of order are averaged (isotonic regression). The
   running best of each seed would keep the luckiest runs, and so favour the base.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from collect.tasks.protocol import LOSS, Metric
from evaluate import chosen_rates, metrics
from evaluate.cells import cell
from evaluate.decision import Bound, Line, Verdict, bounded, decide
from evaluate.ends import last
from evaluate.folder import with_nan
from evaluate.lengths import BaseRuns
from evaluate.metrics import number
from evaluate.starts import SWEPT
from evaluate.statistics import geometric_interval
from evaluate.tables import Table


class Equal(NamedTuple):
    """The length at which the base ends as well as one run of an arm."""

    length: float
    """The length, as a multiple of the arm's; the nearest length of the base if ``beyond``."""
    beyond: int
    """1: more than the base's longest length; -1: less than its shortest; 0: between them."""


def equal_lengths(
    metric: Metric, lengths: Sequence[float], base: Sequence[Sequence[float]], arm: Sequence[float]
) -> list[Equal]:
    """For each seed, the length at which the base's final value equals the arm's.

    Between two lengths the base's value is linear in the logarithm of the length. For a metric
    that is compared by ratio, the value is the logarithm of the metric. A length at which a run of
    the base ends not finite is left out.

    Args:
        metric: The metric of the values.
        lengths: L lengths of the base, as multiples of the arm's, in ascending order.
        base: The base's final values, ``(L, seeds)``.
        arm: The arm's final values, ``(seeds,)``.

    Returns:
        One :class:`Equal` for each seed; an empty list if fewer than two lengths are left.

    Examples:
        >>> from collect.tasks import LOSS
        >>> from evaluate.budget import equal_lengths
        >>> equal_lengths(LOSS, [1, 4], [[0.4], [0.1]], [0.2])
        [Equal(length=2.0, beyond=0)]
    """
    heights = _heights(metric, base)
    kept = np.isfinite(heights).all(axis=1)
    if kept.sum() < 2:
        return []
    curves = _monotone(heights[kept])
    places = np.log(np.asarray(lengths, float)[kept])
    pairs = zip(curves.T, _heights(metric, arm), strict=True)
    return [_equal(places, curve, height) for curve, height in pairs]


def _heights(metric: Metric, values: Any) -> Float[np.ndarray, "*n"]:
    """Values on the scale of the interpolation, where a lower one is better.

    Infinity stands for a value that is not finite.
    """
    values = np.asarray(values, float)
    finite = np.isfinite(values)
    if metric.compare == "ratio":
        with np.errstate(divide="ignore"):
            values = np.log(np.maximum(np.where(finite, values, 1.0), 0.0))
    return np.where(finite, metrics.oriented(metric, values), np.inf)


def _monotone(heights: Float[np.ndarray, "lengths seeds"]) -> Float[np.ndarray, "lengths seeds"]:
    """Make the curve of every seed monotone, by the two steps in this module's docstring."""
    from scipy.optimize import isotonic_regression  # takes longer to import than all else here

    means = heights.mean(axis=1)
    best = [int(np.argmin(means[: place + 1])) for place in range(len(means))]
    fitted = [isotonic_regression(curve, increasing=False).x for curve in heights[best].T]
    return np.stack(fitted, axis=1)


def _equal(places: Float[np.ndarray, "n"], curve: Float[np.ndarray, "n"], height: float) -> Equal:
    """The first place at which a falling curve has this height; places are log lengths."""
    if height > curve[0]:
        return Equal(float(np.exp(places[0])), -1)
    if height < curve[-1]:
        return Equal(float(np.exp(places[-1])), 1)
    after = int(np.argmax(curve <= height))
    if after == 0:
        return Equal(float(np.exp(places[0])), 0)
    span = slice(after, after - 2 if after > 1 else None, -1)  # np.interp wants a rising axis
    return Equal(float(np.exp(np.interp(height, curve[span], places[span]))), 0)


def summarised(
    results: Mapping[str, Any],
    runs: Mapping[float, BaseRuns],
    metric: Metric,
) -> dict[str, Any]:
    """The content of ``budget`` in ``results.json``.

    Args:
        results: From :func:`evaluate.summarise`.
        runs: The base's runs by length, from :func:`evaluate.lengths.train`.
        metric: The metric that runs are judged by.
    """
    chosen = results["rates"][SWEPT]
    ends = {length: [last(metric, run) for run in one.runs] for length, one in runs.items()}
    rows = [row for row in results["arms"] if row["name"] != SWEPT]
    return {
        "base": SWEPT,
        "learning_rate": chosen["learning_rate"],
        "warmup": chosen["warmup"],
        "lengths": [
            {"length": length, "steps": runs[length].steps, "each": ends[length]}
            for length in runs  # from the shortest up
        ],
        "arms": [_arm(metric, row, results["curves"][row["name"]], ends) for row in rows],
    }


def _arm(
    metric: Metric,
    row: Mapping[str, Any],
    runs: Sequence[Mapping[str, Any]],
    ends: Mapping[float, Sequence[float]],
) -> dict[str, Any]:
    own = [last(metric, run) for run in runs]
    found = equal_lengths(metric, list(ends), list(ends.values()), own)
    each = [one.length for one in found]
    above, below = (sum(one.beyond == side for one in found) for side in (1, -1))
    return {
        "name": row["name"],
        "final": row[f"final_{metric.name}"],
        "each": each or None,
        "speed_up": _interval(each, list(ends), above, below),
        "above": above,
        "below": below,
    }


def _interval(
    each: Sequence[float] | None, lengths: Sequence[float], above: int, below: int
) -> list[float]:
    """The speed-up with its interval, ``[value, low, high]``.

    All seeds beyond an end of the base's lengths count with the last length there, which hides
    their scatter. So the scatter is at least that of a uniform distribution between the last two
    lengths at that end.
    """
    if not each:
        return [math.nan] * 3
    places = np.log(sorted(lengths))
    steps = [
        *([places[-1] - places[-2]] if above else []),
        *([places[1] - places[0]] if below else []),
    ]
    return list(geometric_interval(each, max(steps, default=0.0) / math.sqrt(12)))


def recounted(results: Mapping[str, Any]) -> dict[str, Any]:
    """The content of ``budget`` in older results, with Student's intervals computed anew."""
    block = results["budget"]
    lengths = [one["length"] for one in block["lengths"]]
    arms = [
        {**one, "speed_up": _interval(one["each"], lengths, one["above"], one["below"])}
        for one in block["arms"]
    ]
    return {**block, "arms": arms}


def shown(arm: Mapping[str, Any]) -> Verdict:
    """The verdict on an arm's speed-up."""
    return decide(arm["speed_up"], bound=_bound(arm))


def lines(results: Mapping[str, Any]) -> list[Line]:
    """For each arm, a sentence with its speed-up and verdict."""
    metric, seeds = metrics.of(results)[0], len(results["protocol"]["seeds"])
    return [Line(_sentence(arm, metric, seeds), shown(arm)) for arm in results["budget"]["arms"]]


def _sentence(arm: Mapping[str, Any], metric: Metric, seeds: int) -> str:
    name = arm["name"]
    if arm["each"] is None:
        few = "the base has fewer than two lengths of finite runs"
        return f"{name}: no speed-up is known, since {few}."
    needs = f"the base needs {size(arm)} as many steps for an equal final {metric.name}"
    if beyond := arm["above"] + arm["below"]:
        needs += f"; beyond the base's lengths: {beyond} of {seeds} seeds"
    said = {
        Verdict.BETTER: "is a gain, as good in fewer steps",
        Verdict.WORSE: "HURTS",
        Verdict.UNDECIDED: "cannot be judged",
    }
    return f"{name} {said.get(shown(arm), 'is no gain that these seeds can show')}: {needs}."


def _bound(arm: Mapping[str, Any]) -> Bound:
    """On which sides the true speed-up may lie, because seeds lie beyond the base's lengths."""
    return bounded(bool(arm["above"]), bool(arm["below"]))


def size(arm: Mapping[str, Any]) -> str:
    """The speed-up with its bound and its interval, as text."""
    return _bound(arm) + metrics.shown(LOSS, arm["speed_up"])


def speed_ups(results: Mapping[str, Any]) -> Table:
    """The table of speed-ups: final value, the base's epochs to an equal one, and their ratio."""
    metric, block = metrics.of(results)[0], results["budget"]
    epochs, seeds = results["about"]["epochs"], len(results["protocol"]["seeds"])
    title = f"final {metric.name}"
    table: Table = [("arm", title, f"epochs of {block['base']}, equal {title}", "speed-up [95 %]")]
    for arm in block["arms"]:
        value, beyond = arm["speed_up"][0], arm["above"] + arm["below"]
        equal = "–" if value is None else f"{value * epochs:.3g}"
        note = f", {beyond}/{seeds} beyond" if beyond else ""
        speed_up = cell(LOSS, arm["speed_up"], _bound(arm), note=note)
        table.append((arm["name"], number(arm["final"]), equal, speed_up))
    return table


def base(results: Mapping[str, Any]) -> Table:
    """The table of the base's lengths: mean, least and most of its final values over seeds."""
    metric, block = metrics.of(results)[0], results["budget"]
    table: Table = [("length", "epochs", "steps", f"final {metric.name}, mean", "least", "most")]
    for one in block["lengths"]:
        values = with_nan(one["each"])
        cells = (float(of(values)) for of in (np.mean, np.min, np.max))
        length, epochs = one["length"], one["length"] * results["about"]["epochs"]
        table.append((f"{length:g}", f"{epochs:.3g}", str(one["steps"]), *map(number, cells)))
    return table


def words(results: Mapping[str, Any]) -> str:
    """The paragraph that explains the budget protocol's table and picture."""
    metric, block = metrics.of(results)[0], results["budget"]
    split, chosen = metrics.splits(results)[0], results["rates"][block["base"]]
    rate, warm = f"{block['learning_rate']:g}", f"{chosen['warmup']:g}"
    lengths = ", ".join(f"{one['length']:g}" for one in block["lengths"])
    scale = f"log {metric.name}" if metric.compare == "ratio" else metric.name
    return (
        f"Speed-up: the steps that {block['base']} needs for the arm's final {split} {metric.name},"
        " over the arm's own, seed by seed; the mean is geometric (above 1: the arm is faster)."
        f" The base has the rate {rate} and the warm-up {warm}, the best of"
        f" {chosen_rates.grid(chosen)}, and a cosine fitted to each of its lengths: {lengths} of"
        f" {results['about']['epochs']} epochs. Between them {scale} is linear in log length. A"
        " length that is worse than a shorter one, in the mean over seeds, counts as that one;"
        " within a seed, what is out of order is averaged. Steps are counted, not seconds."
    )
