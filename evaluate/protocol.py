"""What is decided before the comparison, on seeds of its own: learning rates, and targets from the bases alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluate.arms import TUNED, Arm, bases
from evaluate.curve import Curve
from evaluate.statistics import SMOOTHING, Crossing, crossing, smooth
from nowcast.types import UserError

HONEST, PAPER = "honest", "paper"
LADDER = (0.5, 0.75, 0.95)
"""Shares of a base's length whose losses are targets, so that none is picked afterwards."""


@dataclass(frozen=True)
class Plan:
    """What a comparison consists of, before anything is trained."""

    arms: tuple[Arm, ...]
    grids: Mapping[str, Sequence[float]]
    """The learning rates that calibration tries, by optimizer."""
    seeds: tuple[int, ...]
    calibration_seeds: tuple[int, ...]
    target_share: float = 0.75
    """The target that verdicts are about: the loss that a base has reached after this share of its own length."""
    target_accuracy: float | None = None
    """Instead, the paper's protocol: this test accuracy, first crossed before a jump, for all arms alike."""

    def __post_init__(self) -> None:
        seeds = [*self.seeds, *self.calibration_seeds]
        if not self.seeds or not self.calibration_seeds or len(set(seeds)) < len(seeds):
            raise UserError(
                f"seeds={list(self.seeds)}, calibration seeds {list(self.calibration_seeds)}: give some of each, and none twice"
            )
        if not 0 < self.target_share <= 1:
            raise UserError(f"target_share={self.target_share}: must be above 0 and at most 1")
        for rates in self.grids.values():
            if not rates or len(set(rates)) < len(rates) or not all(0 < rate < 100 for rate in rates):
                raise UserError(f"learning_rates={list(rates)}: give some, each once, above 0 and below 100")

    @property
    def shares(self) -> list[float]:
        """Of a base's length: what its targets are named by."""
        return sorted({*LADDER, self.target_share})

    def check_length(self, evaluations: int) -> None:
        """Refuse runs of too few evaluations, the first one counted, for a target at each share.

        Raises:
            UserError: There is one that no mean of three losses lies at.
        """
        if self.protocol == HONEST and round(self.shares[0] * (evaluations - 1)) < SMOOTHING - 1:
            raise UserError(
                f"a run has {evaluations} evaluations, and a target is a mean of {SMOOTHING} of them after {self.shares[0]:.2g} of its length: train longer "
                f"(epochs=…), record more often (record_every=…)"
                + (", or give a larger target_share" if self.target_share < LADDER[0] else "")
            )

    @property
    def protocol(self) -> str:
        """``honest`` or ``paper``."""
        return HONEST if self.target_accuracy is None else PAPER

    @property
    def headline(self) -> str:
        """The name of the target that verdicts are about."""
        return f"{self.target_share if self.target_accuracy is None else self.target_accuracy:g}"

    def cross(self, places: Sequence[float], run: Curve, target: float) -> Crossing:
        """When a run reaches a target, in the places' own unit.

        Honest: its validation loss, the mean of three, is at or below it. The paper's: its accuracy is at or above it, for the first time.
        """
        if self.protocol == HONEST:
            return crossing(places, run["loss"], target, SMOOTHING)
        return crossing(places, [-value for value in run["accuracy"]], -target, 1)


def calibration_arms(plan: Plan, arms: Sequence[Arm]) -> list[Arm]:
    """What calibration seeds train for these arms: a tuned one at every rate of its grid; the others, for a target, as they are."""
    found: list[Arm] = []
    for arm in arms:
        if arm.rate_of == arm.name:
            found += [arm.at(rate) for rate in plan.grids[str(arm.optimizer)]]
        elif plan.protocol == HONEST and arm in bases(plan.arms) and not arm.rate_of:
            found.append(arm)
    return found


def followers(plan: Plan, rates: Mapping[str, Mapping[str, Any]]) -> list[Arm]:
    """Bases at the rate that calibration chose for another: calibration seeds train them for their targets, once it is known."""
    if plan.protocol != HONEST:
        return []
    return [settled(arm, rates) for arm in bases(plan.arms) if arm.rate_of not in ("", arm.name)]


def choose_rates(plan: Plan, arms: Sequence[Arm], curve: Callable[[Arm, int], Curve]) -> dict[str, dict[str, Any]]:
    """The rate of each tuned arm among these: the one with the lowest median final validation loss (smoothed).

    Returns:
        By arm ``learning_rate``, ``final_loss`` by rate, ``at_edge`` (the best rate is the grid's first or last).
    """
    choice = {}
    for arm in arms:
        if arm.rate_of != arm.name:
            continue
        grid = plan.grids[str(arm.optimizer)]
        finals = {rate: _median(plan, curve, arm.at(rate), 1.0) for rate in grid}
        best = min(finals, key=lambda rate: (finals[rate], rate))
        choice[arm.name] = {
            "learning_rate": best,
            "final_loss": {f"{rate:g}": loss for rate, loss in finals.items()},
            "at_edge": len(finals) > 1 and best in (min(finals), max(finals)),
        }
    return choice


def choose_targets(
    plan: Plan, rates: Mapping[str, Mapping[str, Any]], curve: Callable[[Arm, int], Curve]
) -> dict[str, dict[str, float]]:
    """By base the targets, by their names.

    Honest: the median over calibration seeds of the smoothed validation loss after each share of :data:`LADDER`. The paper's: the
    accuracy, for every base.
    """
    if plan.target_accuracy is not None:
        return {base.name: {plan.headline: plan.target_accuracy} for base in bases(plan.arms)}
    return {
        base.name: {f"{share:g}": _median(plan, curve, settled(base, rates), share) for share in plan.shares}
        for base in bases(plan.arms)
    }


def settled(arm: Arm, rates: Mapping[str, Mapping[str, Any]]) -> Arm:
    """The arm with the learning rate that calibration chose for it."""
    return arm.at(rates[arm.rate_of]["learning_rate"]) if arm.learning_rate == TUNED else arm


def _median(plan: Plan, curve: Callable[[Arm, int], Curve], arm: Arm, share: float) -> float:
    values = []
    for seed in plan.calibration_seeds:
        losses = smooth(curve(arm, seed)["loss"])
        values.append(losses[round(share * (len(losses) - 1))])
    return float(np.median(np.nan_to_num(values, nan=np.inf, posinf=np.inf)))
