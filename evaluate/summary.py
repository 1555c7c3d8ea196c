"""Summarise the runs of a comparison into its results, one JSON object.

``results.schema.json`` describes the object, which has all numbers that a report shows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from collect.tasks.protocol import LOSS, Metric
from evaluate import verdicts
from evaluate.arms import Arm, bases
from evaluate.curve import Curve
from evaluate.decision import bounded
from evaluate.ends import at, at_the_end, best, last, median
from evaluate.jumped import jumps
from evaluate.metrics import compared, diverged, verdict
from evaluate.protocol import HONEST, Plan, at_chosen_rate
from evaluate.statistics import SMOOTHING, Crossing, geometric_interval, speed_up

SCHEMA = "weight-nowcaster/results/3"
INTERVALS = "student"
"""How intervals are made. Older results have bootstrap intervals, and no such entry."""
UNITS = {"step": "steps", "epoch": "epochs", "seconds": "seconds"}
"""The units in which a run reaches a target: the key in a curve, and the key in the results."""


def summarise(
    plan: Plan,
    rates: Mapping[str, Mapping[str, Any]],
    targets: Mapping[str, Mapping[str, float]],
    curve: Callable[[Arm, int], Curve],
    errors: Mapping[str, Sequence[Mapping[str, float]] | None] | None = None,
    identities: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Summarise finished runs into the results of a comparison.

    :func:`evaluate.comparison.compare` adds the facts about the task, the commands and the costs.

    Args:
        plan: The comparison.
        rates: From :func:`evaluate.protocol.choose_rates`.
        targets: From :func:`evaluate.protocol.choose_targets`.
        curve: From an arm and a seed to the finished run.
        errors: For each arm and seed, the error of the arm's forecasts by operation, relative to
            that of the last value.
        identities: For each arm, the identity of its forecaster
            (:class:`evaluate.forecasters.Loaded`).
    """
    arms = [at_chosen_rate(arm, rates) for arm in plan.arms]
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
    found = {
        "schema": SCHEMA,
        "intervals": INTERVALS,
        "protocol": {
            "name": plan.protocol,
            "headline": plan.headline,
            "target_metric": plan.metric_of_target.name,
            "smoothing": SMOOTHING if plan.protocol == HONEST else 1,
            "seeds": list(plan.seeds),
            "calibration_seeds": list(plan.calibration_seeds),
        },
        "rates": {name: dict(chosen) for name, chosen in rates.items()},
        "targets": {name: dict(own) for name, own in targets.items()},
        "seconds_comparable": _have_comparable_seconds(
            [run for runs in curves.values() for run in runs]
        ),
        "machines": sorted({str(run.get("machine")) for runs in curves.values() for run in runs}),
        "arms": rows,
        "metrics": [metric._asdict() for metric in plan.metrics],
        "splits": list(plan.splits),
        "curves": curves,
    }
    return found | {"verdicts": [line.text for line in verdicts.lines(found)]}


def _row(
    plan: Plan,
    arm: Arm,
    curves: Mapping[str, Sequence[Curve]],
    over: Sequence[str],
    targets: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    return {
        "name": arm.name,
        "over": arm.over,
        "words": arm.words,
        "learning_rate": arm.learning_rate,
        "settings": arm.settings,
        "warmup_tuned": arm.sweeps_warmup,
    } | measured(plan, arm.name, arm.over, curves, {name: targets[name] for name in over})


def measured(
    plan: Plan,
    arm: str,
    over: str | None,
    curves: Mapping[str, Sequence[Curve]],
    targets: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Measure the runs of an arm, against its base and against the targets of the bases.

    Args:
        plan: The comparison.
        arm: The arm's name.
        over: The name of its base; None: the arm is a base.
        curves: The runs of each seed, by arm.
        targets: The targets to measure against, by base.

    Returns:
        The measured part of the arm's row in ``results.json``.
    """
    runs, base = curves[arm], curves[over or arm]
    metric, name, change = (
        plan.metric,
        plan.metric.name,
        f"{plan.metric.name}_{plan.metric.compare}",
    )
    ends, base_ends = ([last(metric, run) for run in each] for each in (runs, base))
    bests, base_bests = ([best(metric, run) for run in each] for each in (runs, base))
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
        "against": {
            name: {key: _against(plan, runs, curves[name], target) for key, target in own.items()}
            for name, own in targets.items()
        },
        f"best_{name}": median(bests),
        f"best_{change}": compared(metric, base_bests, bests),
        f"final_{name}": median(ends),
        f"final_{change}": compared(metric, base_ends, ends),
        f"equal_seconds_best_{change}": by_then(best),
        f"equal_seconds_{change}": by_then(at),
        **at_the_end(plan.metrics, base, runs),
        "seconds": median(run["seconds"][-1] for run in runs),
        "seconds_ratio": list(
            speed_up([run["seconds"][-1] for run in runs], [run["seconds"][-1] for run in base])
        ),
        "compile_seconds": median(run["compile_seconds"] for run in runs),
        "seconds_comparable": _have_comparable_seconds([*runs, *base]),
        "parameters": runs[0]["parameters"],
        "history_bytes_per_parameter": runs[0]["history_bytes"] / runs[0]["parameters"],
        "jumps": jumps(metric, runs),
        "diverged": sum(diverged(metric, run[name]) for run in runs),
    }


def _against(
    plan: Plan, runs: Sequence[Curve], base: Sequence[Curve], target: float
) -> dict[str, Any]:
    """How soon runs reach a target, in every unit, and the ratios to the base's runs."""
    found: dict[str, Any] = {}
    own, other = (
        [plan.cross(range(len(run["step"])), run, target) for run in each] for each in (runs, base)
    )
    reached, base_reached = (sum(c.reached for c in each) for each in (own, other))
    bound = bounded(base_reached < len(base), reached < len(runs))
    for unit, name in UNITS.items():
        places, base_places = _places(own, runs, unit), _places(other, base, unit)
        ratio = speed_up(base_places, places, _between(base, unit))
        found[name] = {
            "each": places,
            "median": median(places),
            "speed_up": list(ratio),
            "clear": verdict(LOSS, ratio, bound).decided,
        }
    early = (
        c.reached and run["step"][int(c.place)] < _first_effect(plan, run)
        for c, run in zip(own, runs, strict=True)
    )
    return found | {
        "reached": reached,
        "base_reached": base_reached,
        "before_any_jump": sum(early),
    }


def _first_effect(plan: Plan, run: Curve) -> float:
    """The first step at which a jump can change what is measured; 0: the run never jumps.

    In the paper's protocol, runs are measured before a jump, so the jump shows a step later.
    """
    first = next(iter(run["jumps"]["step"]), 0)
    return first + 1 if first and plan.protocol != HONEST else first


def _have_comparable_seconds(runs: Sequence[Curve]) -> bool:
    """Whether the runs' seconds can be compared.

    They can if every run had the machine to itself, and it was the same machine.
    """
    return (
        all(bool(run["undisturbed"]) for run in runs)
        and len({run.get("machine") for run in runs}) == 1
    )


def _places(crossings: Sequence[Crossing], runs: Sequence[Curve], unit: str) -> list[float]:
    """Turn the evaluations at which runs reach a target into steps, epochs or seconds.

    A run that begins below the target counts with its first evaluation after the start, for there
    is no ratio to 0.
    """
    return [float(run[unit][max(int(c.place), 1)]) for c, run in zip(crossings, runs, strict=True)]


def _between(runs: Sequence[Curve], unit: str) -> float:
    """The distance between two evaluations in this unit, in the median."""
    return float(np.median([np.median(np.diff(run[unit])) for run in runs]))


def _errors(each: Sequence[Mapping[str, float]] | None) -> dict[str, Any] | None:
    """The geometric mean over seeds of each operation's forecast error, with its interval.

    An operation is left out if a seed has no error for it.
    """
    shared = [
        operation for operation in (each or [{}])[0] if all(operation in one for one in each or ())
    ]
    found = {operation: [one[operation] for one in each or ()] for operation in shared}
    return {
        name: {"each": own, "ratio": list(geometric_interval(own))} for name, own in found.items()
    } or None
