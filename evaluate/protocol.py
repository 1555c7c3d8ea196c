"""What is decided before the comparison, on seeds of its own: learning rates and warm-ups, and
targets from the bases alone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from collect.tasks.protocol import Metric
from evaluate.arms import TUNED, Arm, bases
from evaluate.curve import Curve
from evaluate.metrics import OLDER_SPLITS, OLDER_TARGET, of, oriented, worst
from evaluate.statistics import SMOOTHING, Crossing, crossing, smooth
from nowcast.types import UserError

HONEST, PAPER, ROBUST, BUDGET = "honest", "paper", "robust", "budget"
LADDER = (0.5, 0.75, 0.95)
"""Shares of a base's length after which what it has reached is a target, so that none is picked
afterwards.
"""
WARMUPS = (0.0, 0.05, 0.1, 0.2, 0.35)
"""The warm-ups that calibration tries with each learning rate, as shares of a run."""


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
    warmups: Sequence[float] = WARMUPS
    """The warm-ups that calibration tries with each of those rates, where an arm says none."""
    target_share: float = 0.75
    """The target that verdicts are about: what a base has reached after this share of its own
    length.
    """
    target_value: float | None = None
    """Instead, the paper's protocol: this value of ``target_metric`` on the last split, first
    reached before a jump, for all arms alike.
    """
    target_metric: str | None = None
    """The name of that metric; None: the first one."""

    def __post_init__(self) -> None:
        seeds = [*self.seeds, *self.calibration_seeds]
        if not self.seeds or not self.calibration_seeds or len(set(seeds)) < len(seeds):
            raise UserError(
                f"seeds={list(self.seeds)}, calibration seeds {list(self.calibration_seeds)}: give"
                " some of each, and none twice"
            )
        if not 0 < self.target_share <= 1:
            raise UserError(f"target_share={self.target_share}: must be above 0 and at most 1")
        self._check_target()
        for rates in self.grids.values():
            if (
                not rates
                or len(set(rates)) < len(rates)
                or not all(0 < rate < 100 for rate in rates)
            ):
                raise UserError(
                    f"learning_rates={list(rates)}: give some, each once, above 0 and below 100"
                )
        warm = list(self.warmups)
        if not warm or len(set(warm)) < len(warm) or not all(0 <= share < 1 for share in warm):
            raise UserError(
                f"warmups={warm}: give shares of the run, each once, 0 or more and below 1"
            )

    def _check_target(self) -> None:
        """Refuse a target of the paper's protocol that no run of the task could have."""
        name, names = self.target_metric, [metric.name for metric in self.metrics]
        if name is not None and self.target_value is None:
            raise UserError(f"target_metric={name}: has no target_value; give both, or neither")
        if name is not None and name not in names:
            raise UserError(
                f"target_metric={name}: the task measures {', '.join(names)}; give one of these,"
                " and a target_value of it"
            )
        if self.target_value is not None and not math.isfinite(self.target_value):
            raise UserError(f"target_value={self.target_value}: must be a finite number")

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
                f"a run has {evaluations} evaluations, and a target is a mean of {SMOOTHING} of"
                f" them after {self.shares[0]:.2g} of its length: train longer (epochs=…), record"
                " more often (record_every=…)"
                + (", or give a larger target_share" if self.target_share < LADDER[0] else "")
            )

    @property
    def protocol(self) -> str:
        """``honest`` or ``paper``."""
        return HONEST if self.target_value is None else PAPER

    @property
    def metric(self) -> Metric:
        """What runs are judged by."""
        return self.metrics[0]

    @property
    def metric_of_target(self) -> Metric:
        """What targets are values of."""
        named = self.target_metric or self.metric.name
        return next(metric for metric in self.metrics if metric.name == named)

    @property
    def split(self) -> str:
        """What runs are judged by as they go on."""
        return self.splits[0 if self.protocol == HONEST else -1]

    @property
    def headline(self) -> str:
        """The name of the target that verdicts are about."""
        return f"{self.target_share if self.target_value is None else self.target_value:g}"

    def cross(self, places: Sequence[float], run: Curve, target: float) -> Crossing:
        """When a run reaches a target, in the places' own unit.

        Honest: the mean of three values of its first metric is at the target or better. The
        paper's: one value of the target's metric is, for the first time.
        """
        metric, width = self.metric_of_target, SMOOTHING if self.protocol == HONEST else 1
        return crossing(
            places,
            oriented(metric, run[metric.name]).tolist(),
            float(oriented(metric, target)),
            width,
        )


def target_metric(results: Mapping[str, Any]) -> Metric:
    """What the targets of results are values of."""
    protocol, metrics = results["protocol"], of(results)
    older = metrics[0].name if protocol["name"] == HONEST else OLDER_TARGET
    named = protocol.get("target_metric", older)
    return next(metric for metric in metrics if metric.name == named)


def calibration_arms(plan: Plan, arms: Sequence[Arm]) -> list[Arm]:
    """What calibration seeds train for these arms: a tuned one at every pair of its grid; the
    others, for a target, as they are.
    """
    found: list[Arm] = []
    for arm in arms:
        if arm.rate_of == arm.name:
            found += swept(plan, arm)
        elif plan.protocol == HONEST and arm in bases(plan.arms) and not arm.rate_of:
            found.append(arm)
    return found


def swept(plan: Plan, arm: Arm) -> list[Arm]:
    """A tuned arm at every rate of its optimizer's grid, with every warm-up of the grid where it
    says none.
    """
    warmups = plan.warmups if arm.sweeps_warmup else [arm.warmup]
    return [arm.at(rate, warmup) for rate in plan.grids[str(arm.optimizer)] for warmup in warmups]


def warmed(plan: Plan) -> dict[str, list[float]]:
    """The warm-ups that a report's folder is of, where they are not the usual ones: older folders
    say nothing of them.
    """
    return {} if tuple(plan.warmups) == WARMUPS else {"warmups": list(plan.warmups)}


def followers(plan: Plan, rates: Mapping[str, Mapping[str, Any]]) -> list[Arm]:
    """Bases at the rate that calibration chose for another: calibration seeds train them for their
    targets, once it is known.
    """
    if plan.protocol != HONEST:
        return []
    return [settled(arm, rates) for arm in bases(plan.arms) if arm.rate_of not in ("", arm.name)]


def choose_rates(
    plan: Plan, arms: Sequence[Arm], curve: Callable[[Arm, int], Curve]
) -> dict[str, dict[str, Any]]:
    """The rate and the warm-up of each tuned arm among these: the pair with the best mean final
    value of the first metric (smoothed).

    Returns:
        By arm ``learning_rate``, ``warmup``, ``final_loss`` (or what the metric is called) by pair,
        the grid's numbers of ``rates`` and ``warmups``, ``at_edge`` (the best rate is the grid's
        first or last) and ``warmup_at_edge``.
    """
    return {arm.name: _choice(plan, arm, curve) for arm in arms if arm.rate_of == arm.name}


def _choice(plan: Plan, arm: Arm, curve: Callable[[Arm, int], Curve]) -> dict[str, Any]:
    means = [(float(np.mean(_reached(plan, curve, one, 1.0))), one) for one in swept(plan, arm)]
    _, best = min(
        means,
        key=lambda pair: (
            float(oriented(plan.metric, pair[0])),
            pair[1].learning_rate,
            pair[1].warmup,
        ),
    )
    rates, warmups = (
        {getattr(one, key) for _, one in means} for key in ("learning_rate", "warmup")
    )
    return {
        "learning_rate": best.learning_rate,
        "warmup": best.warmup,
        f"final_{plan.metric.name}": {_pair(one): value for value, one in means},
        "rates": len(rates),
        "warmups": len(warmups),
        "at_edge": len(rates) > 1 and best.learning_rate in (min(rates), max(rates)),
        "warmup_at_edge": (
            len(warmups) > 1 and best.warmup in (min(warmups) or max(warmups), max(warmups))
        ),
    }


def _pair(arm: Arm) -> str:
    """The rate of a calibrated arm, and the warm-up where that is tried too, for a reader."""
    return f"{arm.learning_rate:g}" + (f", warm-up {arm.warmup:g}" if arm.sweeps_warmup else "")


def choose_targets(
    plan: Plan, rates: Mapping[str, Mapping[str, Any]], curve: Callable[[Arm, int], Curve]
) -> dict[str, dict[str, float]]:
    """By base the targets, by their names.

    Honest: the median over calibration seeds of the first metric, smoothed, after each share of
    :data:`LADDER`. The paper's: the given value, for every base.
    """
    if plan.target_value is not None:
        return {base.name: {plan.headline: plan.target_value} for base in bases(plan.arms)}
    return {
        base.name: {
            f"{share:g}": _median(plan, curve, settled(base, rates), share) for share in plan.shares
        }
        for base in bases(plan.arms)
    }


def settled(arm: Arm, rates: Mapping[str, Mapping[str, Any]]) -> Arm:
    """The arm with the learning rate, and the warm-up, that calibration chose for it."""
    if arm.learning_rate != TUNED:
        return arm
    chosen = rates[arm.rate_of]
    return arm.at(chosen["learning_rate"], chosen["warmup"] if arm.sweeps_warmup else None)


def _median(plan: Plan, curve: Callable[[Arm, int], Curve], arm: Arm, share: float) -> float:
    return float(np.median(_reached(plan, curve, arm, share)))


def _reached(
    plan: Plan, curve: Callable[[Arm, int], Curve], arm: Arm, share: float
) -> Float[np.ndarray, "seeds"]:
    """The first metric of the calibration runs after this share of their length, smoothed; the
    worst where it is not finite.
    """
    values = []
    for seed in plan.calibration_seeds:
        smoothed = smooth(curve(arm, seed)[plan.metric.name])
        values.append(smoothed[round(share * (len(smoothed) - 1))])
    return np.where(np.isfinite(values), values, worst(plan.metric))
