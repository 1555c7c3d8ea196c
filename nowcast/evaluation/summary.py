"""From curves to results: everything that the report shows, as one JSON object."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nowcast.evaluation.arms import ALONE, CONSTANT, TUNED, Arm, Plan
from nowcast.evaluation.statistics import Crossing, Interval, clear, crossing, speed_up
from nowcast.types import Curve

SCHEMA = "weight-nowcaster/results/1"


def summarise(
    plan: Plan, choice: Mapping[str, Any], arms: Sequence[Arm], curve: Callable[[Arm, int], Curve]
) -> dict[str, Any]:
    """Results of a comparison.

    Returns:
        ``schema``, ``plan``, ``choice``, ``arms`` (a row per arm: epochs to the target of its own base and to the
        constant base's, to the ladder's targets, speed-ups with intervals, losses and their paired ratio, test accuracy), ``verdicts`` (the result in words) and
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
                "ladder": {
                    share: _against(_cross(runs, target), _cross(curves[alone[arm.base].name], target))
                    for share, target in choice["ladder"][arm.base].items()
                },
                "final_loss_ratio": _paired(
                    [_finite(run["loss"])[-1] for run in curves[alone[arm.base].name]],
                    [_finite(run["loss"])[-1] for run in runs],
                ),
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
            said = _effect(row["own_target"])
            if base == TUNED:
                easier = _effect(row["constant_target_over_own_base"])
                said += f"; to the constant base's easier target it {easier}"
            value, low, high = row["final_loss_ratio"]["ratio"]
            sure = "" if row["final_loss_ratio"]["clear"] else ", a difference that these seeds cannot show"
            said += f". Final validation loss, base / {row['forecaster']}: {value:.2f} [{low:.2f}, {high:.2f}]{sure}"
            if row["diverged"]:
                said += f". {row['diverged']} of its runs DIVERGED"
            lines.append(f"Over {against[base]}, {row['forecaster']} {said}.")
    tuned = next(row for row in rows if row["base"] == TUNED and row["forecaster"] == ALONE)
    s = Interval(*tuned["constant_target"]["speed_up"])
    lines.append(
        f"Tuning the learning rate alone, without any forecaster, reaches the constant base's target {s.value:.2f}× "
        f"[{s.low:.2f}, {s.high:.2f}] as fast: a gain over a constant rate is not a gain over what you could have anyway."
    )
    return lines


def _effect(against: Mapping[str, Any]) -> str:
    value, low, high = against["speed_up"]
    size = f"{value:.2f}× [{low:.2f}, {high:.2f}]"
    seeds, base, arm = len(against["epochs"]), against["base_reached"], against["reached"]
    if low == high == 1 and base == arm == seeds:
        return "changes nothing: every run reaches it in the same epoch as its base"
    if not against["clear"]:
        said = f"makes no difference that these seeds can show: {size}"
    elif value > 1:
        said = f"reaches the target in fewer epochs: {size}"
    else:
        said = f"HURTS, it needs more epochs: {size}"
    if base == arm == seeds:
        return said
    return f"{said} ({base} of {seeds} base runs and {arm} of {seeds} nowcast ones reach it)"


def _cross(runs: Sequence[Curve], target: float) -> list[Crossing]:
    return [crossing(run["epoch"], run["loss"], target) for run in runs]


def _against(arm: Sequence[Crossing], base: Sequence[Crossing]) -> dict[str, Any]:
    epochs, base_epochs = [c.epoch for c in arm], [c.epoch for c in base]
    return {
        "epochs": epochs,
        "median_epochs": float(np.median(epochs)),
        "reached": sum(c.reached for c in arm),
        "base_reached": sum(c.reached for c in base),
        "speed_up": list(speed_up(base_epochs, epochs)),
        "clear": clear(base_epochs, epochs),
    }


def _paired(base: Sequence[float], arm: Sequence[float]) -> dict[str, Any]:
    """Ratio base / arm of paired losses, above 1 where the arm's are lower."""
    if not np.isfinite([*base, *arm]).all():
        return {"ratio": [float("nan")] * 3, "clear": False}
    return {"ratio": list(speed_up(base, arm)), "clear": clear(base, arm)}


def _finite(losses: Sequence[float]) -> np.ndarray:
    return np.where(np.isfinite(losses), losses, np.inf)


def _median(values: Any) -> float:
    return float(np.median(list(values)))


def _worst_rise(losses: Sequence[float]) -> float:
    """The largest ratio of a loss to the one before it: how far a jump (or noise) threw the run back at worst."""
    values = _finite(losses)
    return float(np.max(values[1:] / values[:-1]))
