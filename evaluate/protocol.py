"""What is decided before the comparison, on seeds of its own: learning rates, and targets from the bases alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from collect.tasks.protocol import Metric
from evaluate.arms import TUNED, Arm, bases
from evaluate.curve import Curve
from evaluate.metrics import OLDER_SPLITS, oriented, worst
from evaluate.statistics import SMOOTHING, Crossing, crossing, smooth
from nowcast.types import UserError

HONEST, PAPER = "honest", "paper"
ACCURACY = "accuracy"
"""The metric that the paper's protocol and its ``target_accuracy`` are about."""
LADDER = (0.5, 0.75, 0.95)
"""Shares of a base's length after which what it has reached is a target, so that none is picked afterwards."""


@dataclass(frozen=True)
class Plan:
    """What a comparison consists of, before anything is trained."""

    arms: tuple[Arm, ...]
    grids: Mapping[str, Sequence[float]]
    """The learning rates that calibration tries, by optimizer."""
    seeds: tuple[int, ...]
    calibration_seeds: tuple[int, ...]
    metrics: tuple[Metric, ...]
    """The task's; runs are judged by the first one."""
    splits: tuple[str, ...] = OLDER_SPLITS
    """The task's."""
    target_share: float = 0.75
    """The target that verdicts are about: what a base has reached after this share of its own length."""
    target_accuracy: float | None = None
    """Instead, the paper's protocol: this accuracy on the last split, first crossed before a jump, for all arms alike."""

    def __post_init__(self) -> None:
        seeds = [*self.seeds, *self.calibration_seeds]
        if not self.seeds or not self.calibration_seeds or len(set(seeds)) < len(seeds):
            raise UserError(
                f"seeds={list(self.seeds)}, calibration seeds {list(self.calibration_seeds)}: give some of each, and none twice"
            )
        if not 0 < self.target_share <= 1:
            raise UserError(f"target_share={self.target_share}: must be above 0 and at most 1")
        if self.target_accuracy is not None and ACCURACY not in [metric.name for metric in self.metrics]:
            raise UserError(f"target_accuracy={self.target_accuracy:g}: the task has no {ACCURACY}; leave it out")
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
            UserError: There is one that no mean of three values lies at.
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
    def metric(self) -> Metric:
        """What runs are judged by."""
        return self.metrics[0]

    @property
    def target_metric(self) -> Metric:
        """What targets are values of."""
        return target_metric(self.metrics, self.protocol)

    @property
    def split(self) -> str:
        """What runs are judged by as they go on."""
        return self.splits[0 if self.protocol == HONEST else -1]

    @property
    def headline(self) -> str:
        """The name of the target that verdicts are about."""
        return f"{self.target_share if self.target_accuracy is None else self.target_accuracy:g}"

    def cross(self, places: Sequence[float], run: Curve, target: float) -> Crossing:
        """When a run reaches a target, in the places' own unit.

        Honest: the mean of three values of its first metric is at the target or better. The paper's: its accuracy is, for the first time.
        """
        metric, width = self.target_metric, SMOOTHING if self.protocol == HONEST else 1
        return crossing(places, oriented(metric, run[metric.name]).tolist(), float(oriented(metric, target)), width)


def target_metric(metrics: Sequence[Metric], protocol: str) -> Metric:
    """What targets are values of: the first metric, or by the paper's protocol the accuracy."""
    return metrics[0] if protocol == HONEST else next(one for one in metrics if one.name == ACCURACY)


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
    """The rate of each tuned arm among these: the one with the best median final value of the first metric (smoothed).

    Returns:
        By arm ``learning_rate``, ``final_loss`` (or what the metric is called) by rate, ``at_edge`` (the best rate is the grid's first or last).
    """
    choice: dict[str, dict[str, Any]] = {}
    for arm in arms:
        if arm.rate_of != arm.name:
            continue
        grid = plan.grids[str(arm.optimizer)]
        finals = {rate: _median(plan, curve, arm.at(rate), 1.0) for rate in grid}
        best = min(finals, key=lambda rate: (float(oriented(plan.metric, finals[rate])), rate))
        choice[arm.name] = {
            "learning_rate": best,
            f"final_{plan.metric.name}": {f"{rate:g}": value for rate, value in finals.items()},
            "at_edge": len(finals) > 1 and best in (min(finals), max(finals)),
        }
    return choice


def choose_targets(
    plan: Plan, rates: Mapping[str, Mapping[str, Any]], curve: Callable[[Arm, int], Curve]
) -> dict[str, dict[str, float]]:
    """By base the targets, by their names.

    Honest: the median over calibration seeds of the first metric, smoothed, after each share of :data:`LADDER`. The paper's: the
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
        smoothed = smooth(curve(arm, seed)[plan.metric.name])
        values.append(smoothed[round(share * (len(smoothed) - 1))])
    return float(np.median(np.where(np.isfinite(values), values, worst(plan.metric))))
