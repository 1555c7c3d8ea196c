"""Compute and describe the results of the robust protocol: each method's regret from every start.

Regret says how much worse than the swept base a run ends, paired by seed. For a metric compared by
ratio it is a ratio such as ``final loss / the base's`` (1: as good, above 1: worse). For a metric
compared by difference it is a difference (0: as good, above 0: worse). A higher regret is always
worse, whether a higher or a lower metric is better.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from collect.tasks.protocol import LOSS, Metric
from evaluate import chosen_rates, metrics
from evaluate.arms import Arm
from evaluate.cells import cell
from evaluate.decision import Ratio
from evaluate.judged import bound
from evaluate.metrics import number
from evaluate.starts import SWEPT, finds_its_rate, label, row
from evaluate.statistics import t_interval
from evaluate.tables import Table

LOST = "∞"
"""The regret of a method if one of its runs ends not finite."""


def summarised(
    results: Mapping[str, Any],
    spread: Mapping[str, Mapping[float, Arm]],
    metric: Metric,
    warmup: float,
) -> dict[str, Any]:
    """The content of ``robust`` in ``results.json``.

    Args:
        results: From :func:`evaluate.summarise`, with a row for the base and one for each method
            and start.
        spread: From :func:`evaluate.starts.spread`.
        metric: The metric that runs are judged by.
        warmup: The warm-up of arms that give none, a share of a run.
    """
    rows = {one["name"]: one for one in results["arms"]}
    base = rows[SWEPT]
    return {
        "base": SWEPT,
        "learning_rate": base["learning_rate"],
        "warmup": warmup,
        "starts": list(next(iter(spread.values()))),
        "methods": [_method(rows, base, name, starts, metric) for name, starts in spread.items()],
    }


def _method(
    rows: Mapping[str, Any],
    base: Mapping[str, Any],
    name: str,
    starts: Mapping[float, Arm],
    metric: Metric,
) -> dict[str, Any]:
    found = [_start(rows[row(arm, start)], base, start, metric) for start, arm in starts.items()]
    each = None
    if all(one["each"] for one in found):
        each = _unscaled(metric, np.mean([_scaled(metric, one["each"]) for one in found], axis=0))
    return {
        "name": name,
        "finds_its_rate": all(finds_its_rate(arm) for arm in starts.values()),
        "mean": _interval(metric, each),
        "each": each,
        "starts": found,
    }


def _start(
    own: Mapping[str, Any], base: Mapping[str, Any], start: float, metric: Metric
) -> dict[str, Any]:
    each = _regrets(metric, own[f"final_{metric.name}_{metric.compare}"]["each"])
    return {
        "start": start,
        "arm": own["name"],
        "learning_rate": own["learning_rate"],
        "regret": _interval(metric, each),
        "each": each,
        "diverged": own["diverged"],
        "steps": {
            share: {"share": _inverse(found["steps"]["speed_up"]), "reached": found["reached"]}
            for share, found in own["against"][base["name"]].items()
        },
    }


def _regrets(metric: Metric, each: Sequence[float] | None) -> list[float] | None:
    """The regret of each seed from the comparison of final values, :func:`metrics.compared`.

    Ratios are inverted, and differences oriented, so that a lower regret is better.
    """
    if each is None:
        return None
    return (
        [1 / one for one in each]
        if metric.compare == "ratio"
        else metrics.oriented(metric, each).tolist()
    )


def _scaled(metric: Metric, values: Any) -> Any:
    """Values on the scale on which means are taken: the logarithm for ratios."""
    return np.log(values) if metric.compare == "ratio" else np.asarray(values, float)


def _unscaled(metric: Metric, values: Any) -> list[float]:
    return np.asarray(np.exp(values) if metric.compare == "ratio" else values).tolist()


def _interval(metric: Metric, each: Sequence[float] | None) -> list[float]:
    return [math.nan] * 3 if each is None else _unscaled(metric, t_interval(_scaled(metric, each)))


def _inverse(found: Sequence[float]) -> list[float]:
    """The inverse of a ratio with its interval."""
    value, low, high = found
    return [1 / value, 1 / high, 1 / low]


def recounted(results: Mapping[str, Any]) -> dict[str, Any]:
    """The content of ``robust`` in older results, with Student's intervals computed anew."""
    metric, block = metrics.of(results)[0], results["robust"]
    rows = {one["name"]: one for one in results["arms"]}

    def start(one: Mapping[str, Any]) -> dict[str, Any]:
        against = rows[one["arm"]]["against"][block["base"]]
        steps = {
            share: {**own, "share": _inverse(against[share]["steps"]["speed_up"])}
            for share, own in one["steps"].items()
        }
        return {**one, "regret": _interval(metric, one["each"]), "steps": steps}

    methods = [
        {
            **one,
            "mean": _interval(metric, one["each"]),
            "starts": [start(each) for each in one["starts"]],
        }
        for one in block["methods"]
    ]
    return {**block, "methods": methods}


def sentence(results: Mapping[str, Any]) -> str:
    """The sentence on which method has the lowest mean regret, and on the worst start of each."""
    metric, block = metrics.of(results)[0], results["robust"]
    finite = ranked(block["methods"])
    worst = ", ".join(f"{one['name']} {_worst(metric, one)}" for one in block["methods"])
    if not finite:
        return (
            f"No method has a finite mean regret over {len(block['starts'])} starts; worst:"
            f" {worst}."
        )
    best = [one for one in finite if one["mean"][0] == finite[0]["mean"][0]]
    has = "has" if len(best) == 1 else "alike have"
    return (
        f"Over {len(block['starts'])} starts {', '.join(one['name'] for one in best)} {has} the"
        f" lowest mean regret, {metrics.shown(metric, best[0]['mean'])}; worst starts: {worst}."
    )


def ranked(methods: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The methods with a finite mean regret, the lowest regret first."""
    finite = [one for one in methods if _finite(one["mean"])]
    return sorted(finite, key=lambda one: float(one["mean"][0]))


def beside(metric: Metric, one: Mapping[str, Any], other: Mapping[str, Any]) -> list[float]:
    """Compare the mean regrets of two methods, seed by seed.

    Returns:
        ``[value, low, high]`` of the ratio ``other / one``, or of the difference ``other - one``
        for a metric compared by difference.
    """
    more = np.subtract(*(_scaled(metric, method["each"]) for method in (other, one)))
    return _unscaled(metric, t_interval(more.tolist()))


def _worst(metric: Metric, method: Mapping[str, Any]) -> str:
    def regret(start: Mapping[str, Any]) -> float:
        return float(start["regret"][0]) if _finite(start["regret"]) else math.inf

    one = max(method["starts"], key=regret)
    value = metrics.shown(metric, [regret(one), None, None]) if _finite(one["regret"]) else LOST
    return value if method["finds_its_rate"] else f"{value} from {label(one['start'])}"


def _finite(found: Ratio) -> bool:
    return found[0] is not None and math.isfinite(found[0])


def regrets(results: Mapping[str, Any]) -> Table:
    """The table of regrets: a row per method, a column per start, and the mean over starts."""
    metric, block = metrics.of(results)[0], results["robust"]
    starts = (f"from {label(start)}" for start in block["starts"])
    table: Table = [(f"regret, final {metric.name} [95 %]", *starts, "mean over starts")]
    for one in block["methods"]:
        cells = (_cell(metric, start["regret"], start["diverged"]) for start in one["starts"])
        table.append((one["name"], *cells, _cell(metric, one["mean"], 0)))
    return table


def _cell(metric: Metric, found: Ratio, diverged: int) -> str:
    note = f", {diverged} diverged" if diverged else ""
    return cell(metric, found, regret=True, note=note) if _finite(found) else LOST + note


def steps(results: Mapping[str, Any], share: str) -> Table:
    """The table of steps to one of the base's targets, as shares of the base's steps.

    Args:
        results: With the content of :func:`summarised`.
        share: The name of the target.
    """
    block, rows = results["robust"], {one["name"]: one for one in results["arms"]}
    metric, target = metrics.of(results)[0], results["targets"][block["base"]][share]
    where = f"{metric.name} {number(target)} ({float(share):.0%} of its length)"
    title = f"steps / {block['base']}'s, to {where}"
    table: Table = [(title, *(f"from {label(start)}" for start in block["starts"]))]
    seeds = len(results["protocol"]["seeds"])
    for one in block["methods"]:
        cells = []
        for start in one["starts"]:
            # A share of steps is the inverse of a speed-up, and so is its bound.
            sign = bound(rows[start["arm"]]["against"][block["base"]][share]).inverse
            found = start["steps"][share]
            note = f" {found['reached']}/{seeds}"
            cells.append(cell(LOSS, found["share"], sign, regret=True, note=note))
        table.append((one["name"], *cells))
    return table


def words(results: Mapping[str, Any]) -> str:
    """The paragraph that explains the robust protocol's tables and picture."""
    metric, block = metrics.of(results)[0], results["robust"]
    as_good = f"{metrics.none(metric):g}"
    sides = ("method", "base") if metric.compare == "ratio" else ("base", "method")
    split = metrics.splits(results)[0]
    chosen = results["rates"][block["base"]]
    free = [one["name"] for one in block["methods"] if one["finds_its_rate"]]
    rate, warm = f"{block['learning_rate']:g}", f"{chosen['warmup']:g}"
    said = [
        (
            f"Every method begins with so many times {rate}, the learning rate that is best for"
            f" {block['base']}"
        ),
        (
            f"of {chosen_rates.grid(chosen)} (with warm-up {warm}). Regret: its final {split}"
            f" {metric.name}"
        ),
        (
            f"beside the base's, {metrics.pair(metric, *sides)}, paired by seed; {as_good}: as"
            " good, above: worse."
        ),
        f"Methods that say no warm-up have {block['warmup']:g}.",
        f"{LOST}: a run ended in what is not finite.",
    ]
    if free:
        finds = "finds" if len(free) == 1 else "find"
        said.append(
            f"{', '.join(free)} {finds} a rate alone: from every start the runs are the same."
        )
    return " ".join(said)
