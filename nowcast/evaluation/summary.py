"""From curves to results: everything that the report shows, as one JSON object."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nowcast.evaluation.arms import ALONE, CONSTANT, TUNED, Arm, Plan
from nowcast.evaluation.statistics import Crossing, Interval, crossing, speed_up
from nowcast.types import Curve

SCHEMA = "weight-nowcaster/results/1"


def summarise(
    plan: Plan, choice: Mapping[str, Any], arms: Sequence[Arm], curve: Callable[[Arm, int], Curve]
) -> dict[str, Any]:
    """Results of a comparison.

    Returns:
        ``schema``, ``plan``, ``choice``, ``arms`` (a row per arm: epochs to the target of its own base and to the
        constant base's, the latter against both bases, speed-ups with intervals, losses, test accuracy), ``verdicts`` (the result in words) and
        ``curves`` (every evaluation of every run).
    """
    curves = {arm.name: [curve(arm, seed) for seed in plan.seeds] for arm in arms}
    alone = {arm.base: arm for arm in arms if arm.forecaster == ALONE}
    rows = []
    for arm in arms:
        runs = curves[arm.name]
        own = _cross(runs, choice["targets"][arm.base])
        easy = _cross(runs, choice["targets"][CONSTANT])
        own_base = _cross(curves[alone[arm.base].name], choice["targets"][arm.base])
        easy_base = _cross(curves[alone[CONSTANT].name], choice["targets"][CONSTANT])
        easy_own_base = _cross(curves[alone[arm.base].name], choice["targets"][CONSTANT])
        rows.append(
            {
                **asdict(arm),
                "name": arm.name,
                "own_target": _against(own, own_base),
                "constant_target": _against(easy, easy_base),
                "constant_target_over_own_base": _against(easy, easy_own_base),
                "best_loss": _median(np.nanmin(_finite(run["loss"])) for run in runs),
                "final_loss": _median(_finite(run["loss"])[-1] for run in runs),
                "test_accuracy": _median(run["test_accuracy"][-1] for run in runs),
                "worst_rise": _median(_worst_rise(run["loss"]) for run in runs),
                "diverged": sum(not np.isfinite(run["loss"][-1]) for run in runs),
            }
        )
    return {
        "schema": SCHEMA,
        "plan": asdict(plan),
        "choice": dict(choice),
        "arms": rows,
        "verdicts": verdicts(rows),
        "curves": curves,
    }


def verdicts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The result in words, one sentence per forecaster and base, negatives included."""
    against = {CONSTANT: "a constant rate", TUNED: "the tuned base (best rate, cosine decay)"}
    lines = []
    for base in (CONSTANT, TUNED):
        for row in rows:
            if row["base"] != base or row["forecaster"] == ALONE:
                continue
            said = _effect(Interval(*row["own_target"]["speed_up"]))
            if base == TUNED:
                early = _effect(Interval(*row["constant_target_over_own_base"]["speed_up"]))
                said += f"; to the constant base's easier target, early in the run, it {early}"
            lines.append(f"Over {against[base]}, {row['forecaster']} {said}.")
    tuned = next(row for row in rows if row["base"] == TUNED and row["forecaster"] == ALONE)
    s = Interval(*tuned["constant_target"]["speed_up"])
    lines.append(
        f"Tuning the learning rate alone, without any forecaster, reaches the constant base's target {s.value:.2f}× "
        f"[{s.low:.2f}, {s.high:.2f}] as fast: a gain over a constant rate is not a gain over what you could have anyway."
    )
    return lines


def _effect(speed_up: Interval) -> str:
    size = f"{speed_up.value:.2f}× [{speed_up.low:.2f}, {speed_up.high:.2f}]"
    if speed_up.low > 1:
        return f"reaches the target in fewer epochs: {size}"
    if speed_up.high < 1:
        return f"HURTS, it needs more epochs: {size}"
    return f"makes no difference that these seeds can show: {size}"


def _cross(runs: Sequence[Curve], target: float) -> list[Crossing]:
    return [crossing(run["epoch"], run["loss"], target) for run in runs]


def _against(arm: Sequence[Crossing], base: Sequence[Crossing]) -> dict[str, Any]:
    epochs = [c.epoch for c in arm]
    return {
        "epochs": epochs,
        "median_epochs": float(np.median(epochs)),
        "reached": sum(c.reached for c in arm),
        "speed_up": list(speed_up([c.epoch for c in base], epochs)),
    }


def _finite(losses: Sequence[float]) -> np.ndarray:
    return np.where(np.isfinite(losses), losses, np.inf)


def _median(values: Any) -> float:
    return float(np.median(list(values)))


def _worst_rise(losses: Sequence[float]) -> float:
    """The largest ratio of a loss to the one before it: how far a jump (or noise) threw the run back at worst."""
    values = _finite(losses)
    return float(np.max(values[1:] / values[:-1]))
