"""Arms: the ways to train that are compared, and the choices that calibration seeds make for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nowcast.evaluation.statistics import smooth
from nowcast.types import Curve

CONSTANT, TUNED = "constant", "tuned"
ALONE = "alone"
LADDER = (0.25, 0.5, 0.75)
"""Shares of a base's length whose losses are all reported as targets, so that none is picked afterwards."""


@dataclass(frozen=True)
class Arm:
    """One way to train: a base, and who forecasts on top of it.

    ``base`` is ``"constant"`` (the given rate, held) or ``"tuned"`` (the best rate of a grid, with cosine decay);
    ``forecaster`` is ``"alone"`` for the base itself.
    """

    base: str
    learning_rate: float
    schedule: str
    forecaster: str = ALONE

    @property
    def name(self) -> str:
        """For tables and file names."""
        return f"{self.base}-{self.forecaster}"


@dataclass(frozen=True)
class Plan:
    """What a comparison consists of, before anything is trained."""

    learning_rate: float
    """Of the constant base."""
    tuned_rates: tuple[float, ...]
    """The grid for the tuned base."""
    forecasters: tuple[str, ...]
    seeds: tuple[int, ...]
    calibration_seeds: tuple[int, ...]
    target_share: float
    """A base's target is the validation loss that it has reached after this share of its own length."""


def calibration_arms(plan: Plan) -> list[Arm]:
    """The base arms that calibration seeds train: the constant base, and the tuned base at every rate of the grid."""
    return [Arm(CONSTANT, plan.learning_rate, "constant"), *(Arm(TUNED, r, "cosine") for r in plan.tuned_rates)]


def choose(plan: Plan, curve: Callable[[Arm, int], Curve]) -> dict[str, Any]:
    """What the calibration seeds say: the tuned base's rate, and a target for each base.

    The rate is the one with the lowest median final validation loss (smoothed). A target is the median smoothed
    validation loss at ``target_share`` of the run.

    Returns:
        ``learning_rate``, ``final_loss`` by rate, ``at_edge`` (the best rate is the grid's first or last),
        ``targets`` by base, and ``ladder``: targets by base and share of :data:`LADDER`.
    """
    constant, *tuned = calibration_arms(plan)
    finals = {arm.learning_rate: _median(plan, curve, arm, 1.0) for arm in tuned}
    rate = min(finals, key=lambda r: (finals[r], r))
    best = Arm(TUNED, rate, "cosine")
    return {
        "learning_rate": rate,
        "final_loss": {f"{r:g}": loss for r, loss in finals.items()},
        "at_edge": len(finals) > 1 and rate in (min(finals), max(finals)),
        "targets": {arm.base: _median(plan, curve, arm, plan.target_share) for arm in (constant, best)},
        "ladder": {arm.base: {str(s): _median(plan, curve, arm, s) for s in LADDER} for arm in (constant, best)},
    }


def comparison_arms(plan: Plan, choice: Mapping[str, Any]) -> list[Arm]:
    """All arms of the comparison: each base alone, then with every forecaster."""
    bases = [(CONSTANT, plan.learning_rate, "constant"), (TUNED, choice["learning_rate"], "cosine")]
    return [Arm(*base, forecaster=name) for base in bases for name in (ALONE, *plan.forecasters)]


def _median(plan: Plan, curve: Callable[[Arm, int], Curve], arm: Arm, share: float) -> float:
    values = []
    for seed in plan.calibration_seeds:
        losses = smooth(curve(arm, seed)["loss"])
        values.append(losses[round(share * (len(losses) - 1))])
    return float(np.median(np.nan_to_num(values, nan=np.inf, posinf=np.inf)))
