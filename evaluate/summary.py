"""From curves to results: everything that the report shows, as one JSON object
(``results.schema.json``).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from collect.intervals import mean_interval
from collect.tasks.protocol import Metric
from evaluate.arms import Arm, bases
from evaluate.curve import Curve
from evaluate.metrics import compared, diverged, none, oriented, worst
from evaluate.protocol import HONEST, Plan, settled
from evaluate.statistics import SMOOTHING, Crossing, clear, smooth, speed_up
from evaluate.verdicts import verdicts

SCHEMA = "weight-nowcaster/results/3"
UNITS = {"step": "steps", "epoch": "epochs", "seconds": "seconds"}
"""Where runs cross a target: what a curve calls it, and what the results do."""


def summarise(
    plan: Plan,
    rates: Mapping[str, Mapping[str, Any]],
    targets: Mapping[str, Mapping[str, float]],
    curve: Callable[[Arm, int], Curve],
    errors: Mapping[str, Sequence[Mapping[str, float]] | None] | None = None,
    identities: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Results of a comparison, but for what the caller knows of its task, commands and costs.

    Args:
        plan: What was compared.
        rates: From :func:`evaluate.protocol.choose_rates`.
        targets: From :func:`evaluate.protocol.choose_targets`.
        curve: What a finished run of an arm with a seed measured.
        errors: By arm, for every seed: the error of its forecasts by operation, over that of
            staying.
        identities: By arm, what its forecaster is: the hash of its parameters, or a name.
    """
    arms = [settled(arm, rates) for arm in plan.arms]
    curves = {arm.name: [curve(arm, seed) for seed in plan.seeds] for arm in arms}
    over = [base.name for base in bases(plan.arms)]
    rows = [
        _row(plan, arm, curves, over, targets)
        | {
            "forecaster_sha256": (identities or {}).get(arm.name),
            "forecast_error": _errors((errors or {}).get(arm.name)),
        }
        for arm in arms
    ]
    return {
        "schema": SCHEMA,
        "protocol": {
            "name": plan.protocol,
            "headline": plan.headline,
            "smoothing": SMOOTHING if plan.protocol == HONEST else 1,
            "seeds": list(plan.seeds),
            "calibration_seeds": list(plan.calibration_seeds),
        },
        "rates": {name: dict(chosen) for name, chosen in rates.items()},
        "targets": {name: dict(own) for name, own in targets.items()},
        "alone": _alone([run for runs in curves.values() for run in runs]),
        "machines": sorted({str(run.get("machine")) for runs in curves.values() for run in runs}),
        "arms": rows,
        "metrics": [metric._asdict() for metric in plan.metrics],
        "splits": list(plan.splits),
        "verdicts": verdicts(plan, rows, rates, targets),
        "curves": curves,
    }


def _row(
    plan: Plan,
    arm: Arm,
    curves: Mapping[str, Sequence[Curve]],
    over: Sequence[str],
    targets: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    runs, base = curves[arm.name], curves[arm.over or arm.name]
    metric, name, change = (
        plan.metric,
        plan.metric.name,
        f"{plan.metric.name}_{plan.metric.compare}",
    )
    ends, base_ends = ([last(metric, run) for run in each] for each in (runs, base))
    bests, base_bests = ([_best(metric, run) for run in each] for each in (runs, base))
    seconds = [
        min(run["seconds"][-1], other["seconds"][-1]) for run, other in zip(runs, base, strict=True)
    ]

    def by_then(measure: Callable[[Metric, Curve, float], float]) -> dict[str, Any]:
        then = (
            [measure(metric, run, s) for run, s in zip(each, seconds, strict=True)]
            for each in (base, runs)
        )
        return compared(metric, *then)

    return {
        "name": arm.name,
        "over": arm.over,
        "words": arm.words,
        "learning_rate": arm.learning_rate,
        "settings": arm.settings,
        "warmup_tuned": arm.sweeps_warmup,
        "against": {
            name: {
                key: _against(plan, runs, curves[name], target)
                for key, target in targets[name].items()
            }
            for name in over
        },
        f"best_{name}": _median(bests),
        f"best_{change}": compared(metric, base_bests, bests),
        f"final_{name}": _median(ends),
        f"final_{change}": compared(metric, base_ends, ends),
        f"equal_seconds_best_{change}": by_then(_best),
        f"equal_seconds_{change}": by_then(_at),
        **_at_the_end(plan.metrics, base, runs),
        "seconds": _median(run["seconds"][-1] for run in runs),
        "seconds_ratio": list(
            speed_up([run["seconds"][-1] for run in runs], [run["seconds"][-1] for run in base])
        ),
        "compile_seconds": _median(run["compile_seconds"] for run in runs),
        "alone": _alone([*runs, *base]),
        "parameters": runs[0]["parameters"],
        "history_bytes_per_parameter": runs[0]["history_bytes"] / runs[0]["parameters"],
        "jumps": _jumps(metric, runs),
        "diverged": sum(diverged(metric, run[name]) for run in runs),
    }


def _against(
    plan: Plan, runs: Sequence[Curve], base: Sequence[Curve], target: float
) -> dict[str, Any]:
    """How soon runs reach a target, and the ratios to the base's."""
    found: dict[str, Any] = {}
    own, other = (
        [plan.cross(range(len(run["step"])), run, target) for run in each] for each in (runs, base)
    )
    for unit, name in UNITS.items():
        places, base_places = _places(own, runs, unit), _places(other, base, unit)
        found[name] = {
            "each": places,
            "median": _median(places),
            "speed_up": list(speed_up(base_places, places)),
            "clear": clear(base_places, places, _between(base, unit)),
        }
    early = (
        c.reached and run["step"][int(c.place)] < _first_effect(plan, run)
        for c, run in zip(own, runs, strict=True)
    )
    return found | {
        "reached": sum(c.reached for c in own),
        "base_reached": sum(c.reached for c in other),
        "before_any_jump": sum(early),
    }


def _first_effect(plan: Plan, run: Curve) -> float:
    """The first step at which a jump can show; by the paper's protocol runs are measured before a
    jump. 0: it never jumps.
    """
    first = next(iter(run["jumps"]["step"]), 0)
    return first + 1 if first and plan.protocol != HONEST else first


def _alone(runs: Sequence[Curve]) -> bool:
    """Whether seconds can be compared: every run had the machine to itself, and it was the same
    one.
    """
    return (
        all(bool(run["alone"]) for run in runs) and len({run.get("machine") for run in runs}) == 1
    )


def _places(crossings: Sequence[Crossing], runs: Sequence[Curve], unit: str) -> list[float]:
    """Evaluations as steps, epochs or seconds; a run that begins below the target crosses it at its
    first one: there is no ratio to 0.
    """
    return [float(run[unit][max(int(c.place), 1)]) for c, run in zip(crossings, runs, strict=True)]


def _between(runs: Sequence[Curve], unit: str) -> float:
    """The distance of two evaluations."""
    return float(np.median([np.median(np.diff(run[unit])) for run in runs]))


def _jumps(metric: Metric, runs: Sequence[Curve]) -> dict[str, Any] | None:
    """Jumps taken and refused in a run, in the mean; how far the metric is thrown back, and for how
    long.
    """
    if not any(run["jumps"]["step"] for run in runs):
        return None
    dips: list[float] = []
    waits, never = [], 0
    for run in runs:
        for step, before, after, damping in zip(
            *(run["jumps"][key] for key in ("step", "before", "after", "damping")), strict=True
        ):
            if not damping:
                continue
            dips.append(_dip(metric, before, after))
            wait = _recovery(metric, run, step, before, after)
            waits.append(wait if wait is not None else run["step"][-1] - step)
            never += wait is None
    return {
        "accepted": float(np.mean([run["accepted"] for run in runs])),
        "refused": float(np.mean([run["refused"] for run in runs])),
        "dip": _median(dips) if dips else none(metric),
        "worst_dip": float(oriented(metric, max(oriented(metric, dips)))) if dips else none(metric),
        "steps_to_recover": _median(waits) if waits else 0.0,
        "never_recovered": never,
        "taken": len(dips),
    }


def _dip(metric: Metric, before: float, after: float) -> float:
    """What a jump did at once: ``after / before``, or of a metric that is compared by difference
    ``after - before``.
    """
    if not np.isfinite([before, after]).all() or (metric.compare == "ratio" and before <= 0):
        return np.inf if metric.better == "lower" else 0.0 if metric.compare == "ratio" else -np.inf
    return after / before if metric.compare == "ratio" else after - before


def _recovery(metric: Metric, run: Curve, step: float, before: float, after: float) -> float | None:
    """Steps from a jump until the metric is back where it was before; None: not within the run."""
    if oriented(metric, after) <= oriented(metric, before):
        return 0.0
    back = oriented(metric, run[metric.name]) <= oriented(metric, before)
    later = (s - step for s, there in zip(run["step"], back, strict=True) if s > step and there)
    return next(later, None)


def _errors(each: Sequence[Mapping[str, float]] | None) -> dict[str, Any] | None:
    """By operation the geometric mean over seeds, with its interval; of operations that every seed
    has an error for.
    """
    shared = [
        operation for operation in (each or [{}])[0] if all(operation in one for one in each or ())
    ]
    found = {operation: [one[operation] for one in each or ()] for operation in shared}
    return {
        name: {"each": own, "ratio": list(speed_up(own, [1.0] * len(own)))}
        for name, own in found.items()
    } or None


def _at_the_end(
    metrics: Sequence[Metric], base: Sequence[Curve], runs: Sequence[Curve]
) -> dict[str, Any]:
    """The other metrics at the end, beside the base's: ``test_`` what was read once, there;
    ``final_`` of a task that has no such split.
    """
    found: dict[str, Any] = {}
    for metric in metrics:
        key = f"test_{metric.name}"
        read = all(key in run for run in (*base, *runs))
        if not read and metric is metrics[0]:
            continue
        key = key if read else f"final_{metric.name}"
        own, other = (
            [run[key][-1] if read else last(metric, run) for run in each] for each in (runs, base)
        )
        found[key] = _median(own)
        if metric is metrics[0]:
            continue
        if metric.compare == "ratio":
            found[f"{key}_ratio"] = compared(metric, other, own)["ratio"]
        else:
            found[f"{key}_gain"] = list(mean_interval(np.subtract(own, other)))
    return found


def last(metric: Metric, run: Curve) -> float:
    """The value at the end, smoothed as targets are."""
    values = run[metric.name]
    return float(_finite(metric, smooth(values) if len(values) >= SMOOTHING else values)[-1])


def _best(metric: Metric, run: Curve, seconds: float = np.inf) -> float:
    """The best value, of a whole run or until so many seconds have passed."""
    values = _finite(metric, run[metric.name][: _passed(run, seconds) + 1])
    return float(min(values) if metric.better == "lower" else max(values))


def _at(metric: Metric, run: Curve, seconds: float) -> float:
    """The smoothed value when so many seconds have passed."""
    return float(_finite(metric, smooth(run[metric.name]))[_passed(run, seconds)])


def _passed(run: Curve, seconds: float) -> int:
    """The last evaluation until then."""
    return max(int(np.searchsorted(run["seconds"], seconds * (1 + 1e-9), side="right")) - 1, 0)


def _finite(metric: Metric, values: Any) -> Any:
    return np.where(np.isfinite(values), values, worst(metric))


def _median(values: Any) -> float:
    return float(np.median(list(values)))
