"""From curves to results: everything that the report shows, as one JSON object (``results.schema.json``)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from collect.intervals import mean_interval
from evaluate.arms import Arm, bases
from evaluate.curve import Curve
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
        errors: By arm, for every seed: the error of its forecasts by operation, over that of staying.
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
            "name": plan.protocol, "headline": plan.headline, "smoothing": SMOOTHING if plan.protocol == HONEST else 1,
            "seeds": list(plan.seeds), "calibration_seeds": list(plan.calibration_seeds),
        },
        "rates": {name: dict(chosen) for name, chosen in rates.items()},
        "targets": {name: dict(own) for name, own in targets.items()},
        "alone": _alone([run for runs in curves.values() for run in runs]),
        "machines": sorted({str(run.get("machine")) for runs in curves.values() for run in runs}),
        "arms": rows,
        "verdicts": verdicts(plan, rows, rates, targets),
        "curves": curves,
    }  # fmt: skip


def _row(
    plan: Plan, arm: Arm, curves: Mapping[str, Sequence[Curve]], over: Sequence[str], targets: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:  # fmt: skip
    runs, base = curves[arm.name], curves[arm.over or arm.name]
    ends, base_ends = [_last(run) for run in runs], [_last(run) for run in base]
    seconds = [min(run["seconds"][-1], other["seconds"][-1]) for run, other in zip(runs, base, strict=True)]

    def by_then(measure: Callable[[Curve, float], float]) -> dict[str, Any]:
        return _paired(*([measure(run, s) for run, s in zip(each, seconds, strict=True)] for each in (base, runs)))

    return {
        "name": arm.name, "over": arm.over, "words": arm.words, "learning_rate": arm.learning_rate,
        "settings": arm.settings,
        "against": {
            name: {key: _against(plan, runs, curves[name], target) for key, target in targets[name].items()} for name in over
        },
        "best_loss": _median(_best(run) for run in runs),
        "best_loss_ratio": _paired([_best(run) for run in base], [_best(run) for run in runs]),
        "final_loss": _median(ends),
        "final_loss_ratio": _paired(base_ends, ends),
        "equal_seconds_best_loss_ratio": by_then(_best),
        "equal_seconds_loss_ratio": by_then(_at),
        "test_accuracy": _median(run["test_accuracy"][-1] for run in runs) if "test_accuracy" in runs[0] else None,
        "test_accuracy_gain": _gain(base, runs),
        "test_loss": _median(run["test_loss"][-1] for run in runs),
        "seconds": _median(run["seconds"][-1] for run in runs),
        "seconds_ratio": list(speed_up([run["seconds"][-1] for run in runs], [run["seconds"][-1] for run in base])),
        "compile_seconds": _median(run["compile_seconds"] for run in runs),
        "alone": _alone([*runs, *base]),
        "parameters": runs[0]["parameters"],
        "history_bytes_per_parameter": runs[0]["history_bytes"] / runs[0]["parameters"],
        "jumps": _jumps(runs),
        "diverged": sum(not run["loss"][-1] <= run["loss"][0] for run in runs),
    }  # fmt: skip


def _against(plan: Plan, runs: Sequence[Curve], base: Sequence[Curve], target: float) -> dict[str, Any]:
    """How soon runs reach a target, and the ratios to the base's."""
    found: dict[str, Any] = {}
    own, other = ([plan.cross(range(len(run["step"])), run, target) for run in each] for each in (runs, base))
    for unit, name in UNITS.items():
        places, base_places = _places(own, runs, unit), _places(other, base, unit)
        found[name] = {
            "each": places, "median": _median(places), "speed_up": list(speed_up(base_places, places)),
            "clear": clear(base_places, places, _between(base, unit)),
        }  # fmt: skip
    early = (
        c.reached and run["step"][int(c.place)] < _first_effect(plan, run) for c, run in zip(own, runs, strict=True)
    )
    return found | {
        "reached": sum(c.reached for c in own), "base_reached": sum(c.reached for c in other), "before_any_jump": sum(early),
    }  # fmt: skip


def _first_effect(plan: Plan, run: Curve) -> float:
    """The first step at which a jump can show; by the paper's protocol runs are measured before a jump. 0: it never jumps."""
    first = next(iter(run["jumps"]["step"]), 0)
    return first + 1 if first and plan.protocol != HONEST else first


def _alone(runs: Sequence[Curve]) -> bool:
    """Whether seconds can be compared: every run had the machine to itself, and it was the same one."""
    return all(bool(run["alone"]) for run in runs) and len({run.get("machine") for run in runs}) == 1


def _places(crossings: Sequence[Crossing], runs: Sequence[Curve], unit: str) -> list[float]:
    """Evaluations as steps, epochs or seconds; a run that begins below the target crosses it at its first one: there is no ratio to 0."""
    return [float(run[unit][max(int(c.place), 1)]) for c, run in zip(crossings, runs, strict=True)]


def _between(runs: Sequence[Curve], unit: str) -> float:
    """The distance of two evaluations."""
    return float(np.median([np.median(np.diff(run[unit])) for run in runs]))


def _jumps(runs: Sequence[Curve]) -> dict[str, Any] | None:
    """Jumps taken and refused in a run, in the mean; how far the loss is thrown back, and for how long."""
    if not any(run["jumps"]["step"] for run in runs):
        return None
    rises, waits, never = [], [], 0
    for run in runs:
        for step, before, after, damping in zip(*(run["jumps"][key] for key in ("step", "before", "after", "damping")), strict=True):  # fmt: skip
            if not damping:
                continue
            rises.append(after / before if np.isfinite([before, after]).all() and before > 0 else np.inf)
            wait = _recovery(run, step, before, after)
            waits.append(wait if wait is not None else run["step"][-1] - step)
            never += wait is None
    return {
        "accepted": float(np.mean([run["accepted"] for run in runs])),
        "refused": float(np.mean([run["refused"] for run in runs])),
        "dip": _median(rises) if rises else 1.0,
        "worst_dip": float(max(rises, default=1.0)),
        "steps_to_recover": _median(waits) if waits else 0.0,
        "never_recovered": never,
        "taken": len(rises),
    }


def _recovery(run: Curve, step: float, before: float, after: float) -> float | None:
    """Steps from a jump until the loss is back where it was before; None: not within the run."""
    if after <= before:
        return 0.0
    later = (s - step for s, loss in zip(run["step"], run["loss"], strict=True) if s > step and loss <= before)
    return next(later, None)


def _errors(each: Sequence[Mapping[str, float]] | None) -> dict[str, Any] | None:
    """By operation the geometric mean over seeds, with its interval; of operations that every seed has an error for."""
    shared = [operation for operation in (each or [{}])[0] if all(operation in one for one in each or ())]
    found = {operation: [one[operation] for one in each or ()] for operation in shared}
    return {name: {"each": own, "ratio": list(speed_up(own, [1.0] * len(own)))} for name, own in found.items()} or None


def _paired(base: Sequence[float], arm: Sequence[float]) -> dict[str, Any]:
    """Ratio base / arm of paired losses, above 1 where the arm's are lower; with a run that diverged there is none."""
    if not (np.isfinite([*base, *arm]).all() and min(*base, *arm) > 0):
        return {"each": None, "ratio": [float("nan")] * 3, "clear": False}
    each = [b / a for b, a in zip(base, arm, strict=True)]
    return {"each": each, "ratio": list(speed_up(base, arm)), "clear": clear(base, arm)}


def _last(run: Curve) -> float:
    """The loss at the end, smoothed as targets are."""
    return _finite(smooth(run["loss"]))[-1] if len(run["loss"]) >= SMOOTHING else _finite(run["loss"])[-1]


def _best(run: Curve, seconds: float = np.inf) -> float:
    """The lowest loss, of a whole run or until so many seconds have passed."""
    return float(min(_finite(run["loss"][: _passed(run, seconds) + 1])))


def _at(run: Curve, seconds: float) -> float:
    """The smoothed loss when so many seconds have passed."""
    return float(_finite(smooth(run["loss"]))[_passed(run, seconds)])


def _passed(run: Curve, seconds: float) -> int:
    """The last evaluation until then."""
    return max(int(np.searchsorted(run["seconds"], seconds * (1 + 1e-9), side="right")) - 1, 0)


def _gain(base: Sequence[Curve], runs: Sequence[Curve]) -> list[float] | None:
    """By how much the test accuracy at the end is above the base's, in the mean over seeds, with its interval."""
    if any("test_accuracy" not in run for run in (*base, *runs)):
        return None
    pairs = zip(base, runs, strict=True)
    return list(mean_interval([run["test_accuracy"][-1] - other["test_accuracy"][-1] for other, run in pairs]))


def _finite(losses: Any) -> Any:
    return np.where(np.isfinite(losses), losses, np.inf)


def _median(values: Any) -> float:
    return float(np.median(list(values)))
