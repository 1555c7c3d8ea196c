"""Choose learning rates, warm-ups and targets before a comparison, from calibration runs.

Calibration runs have seeds that are not compared. Targets come from the bases alone.
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
"""Shares of a base's length. The base's value after each is a target, fixed before any result."""
WARMUPS = (0.0, 0.05, 0.1, 0.2, 0.35)
"""The warm-ups that calibration tries with each learning rate, as shares of a run."""


@dataclass(frozen=True)
class Plan:
    """The plan of a comparison, made before anything is trained.

    Raises:
        UserError: A seed occurs twice, a grid is empty or has values out of range, or a target is
            impossible for the task's metrics.
    """

    arms: tuple[Arm, ...]
    """The arms, from :func:`evaluate.resolve`."""
    grids: Mapping[str, Sequence[float]]
    """The learning rates that calibration tries, by optimizer."""
    seeds: tuple[int, ...]
    """The seeds that are compared."""
    calibration_seeds: tuple[int, ...]
    """The seeds of the calibration runs; none of them is compared."""
    metrics: tuple[Metric, ...]
    """The task's metrics; runs are judged by the first one."""
    splits: tuple[str, ...] = OLDER_SPLITS
    """The task's splits."""
    warmups: Sequence[float] = WARMUPS
    """The warm-ups that calibration tries with each rate, for arms that give none."""
    target_share: float = 0.75
    """The share of a base's length whose value is the target of the verdicts."""
    target_value: float | None = None
    """A target for all arms, on the last split; it selects the paper's protocol."""
    target_metric: str | None = None
    """The metric of ``target_value``, by name; None: the first one."""

    def __post_init__(self) -> None:
        seeds = [*self.seeds, *self.calibration_seeds]
        if not self.seeds or not self.calibration_seeds or len(set(seeds)) < len(seeds):
            raise UserError(
                f"seeds={list(self.seeds)}, calibration seeds {list(self.calibration_seeds)}: give"
                " at least one of each kind, and no seed twice"
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
                    f"learning_rates={list(rates)}: give one rate or more, each once, above 0 and"
                    " below 100"
                )
        warm = list(self.warmups)
        if not warm or len(set(warm)) < len(warm) or not all(0 <= share < 1 for share in warm):
            raise UserError(
                f"warmups={warm}: give shares of the run, each once, 0 or more and below 1"
            )

    def _check_target(self) -> None:
        """Refuse a target of the paper's protocol that the task's metrics cannot have."""
        name, names = self.target_metric, [metric.name for metric in self.metrics]
        if name is not None and self.target_value is None:
            raise UserError(f"target_metric={name}: target_value is missing; give both, or neither")
        if name is not None and name not in names:
            raise UserError(
                f"target_metric={name}: the task measures {', '.join(names)}; give one of these,"
                " with a target_value"
            )
        if self.target_value is not None and not math.isfinite(self.target_value):
            raise UserError(f"target_value={self.target_value}: must be a finite number")

    @property
    def shares(self) -> list[float]:
        """The shares of a base's length after which its values are targets, in ascending order."""
        return sorted({*LADDER, self.target_share})

    def check_length(self, evaluations: int) -> None:
        """Refuse runs with too few evaluations for a target at each share of their length.

        ``evaluations`` counts those of a run, with the one before the first step.

        Raises:
            UserError: A run has fewer than three evaluations up to the first share.
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
        """The metric that runs are judged by."""
        return self.metrics[0]

    @property
    def metric_of_target(self) -> Metric:
        """The metric of the targets."""
        named = self.target_metric or self.metric.name
        return next(metric for metric in self.metrics if metric.name == named)

    @property
    def split(self) -> str:
        """The split on which runs are judged while they train."""
        return self.splits[0 if self.protocol == HONEST else -1]

    @property
    def headline(self) -> str:
        """The name of the target that verdicts are about."""
        return f"{self.target_share if self.target_value is None else self.target_value:g}"

    def cross(self, places: Sequence[float], run: Curve, target: float) -> Crossing:
        """Find where a run first reaches a target.

        In the honest protocol, the mean of three consecutive values must be at the target or
        better. In the paper's, one value is enough.

        Args:
            places: The place of each evaluation, in any unit: steps, epochs, indices.
            run: The run.
            target: A value of the target's metric.

        Returns:
            The place, and whether the run reached the target at all.
        """
        metric, width = self.metric_of_target, SMOOTHING if self.protocol == HONEST else 1
        return crossing(
            places,
            oriented(metric, run[metric.name]).tolist(),
            float(oriented(metric, target)),
            width,
        )


def target_metric(results: Mapping[str, Any]) -> Metric:
    """The metric of the targets in some results."""
    protocol, metrics = results["protocol"], of(results)
    older = metrics[0].name if protocol["name"] == HONEST else OLDER_TARGET
    named = protocol.get("target_metric", older)
    return next(metric for metric in metrics if metric.name == named)


def calibration_arms(plan: Plan, arms: Sequence[Arm]) -> list[Arm]:
    """The arms that calibration trains for some of the plan's arms.

    They are each tuned arm at every pair of its grid, and each base whose fixed rate sets a target.
    """
    found: list[Arm] = []
    for arm in arms:
        if arm.rate_of == arm.name:
            found += swept(plan, arm)
        elif plan.protocol == HONEST and arm in bases(plan.arms) and not arm.rate_of:
            found.append(arm)
    return found


def swept(plan: Plan, arm: Arm) -> list[Arm]:
    """A copy of a tuned arm for every rate of its grid, and every warm-up if that is tuned too."""
    warmups = plan.warmups if arm.sweeps_warmup else [arm.warmup]
    return [arm.at(rate, warmup) for rate in plan.grids[str(arm.optimizer)] for warmup in warmups]


def warmup_entry(plan: Plan) -> dict[str, list[float]]:
    """The entry for the warm-ups in a report folder's configuration; empty for the default."""
    return {} if tuple(plan.warmups) == WARMUPS else {"warmups": list(plan.warmups)}


def bases_at_chosen_rates(plan: Plan, rates: Mapping[str, Mapping[str, Any]]) -> list[Arm]:
    """The bases whose rate calibration chose for another arm, with that rate.

    Calibration must train them too, for their targets, after it has chosen the rate. Empty in the
    paper's protocol, which has a given target.
    """
    if plan.protocol != HONEST:
        return []
    return [
        at_chosen_rate(arm, rates) for arm in bases(plan.arms) if arm.rate_of not in ("", arm.name)
    ]


def choose_rates(
    plan: Plan, arms: Sequence[Arm], curve: Callable[[Arm, int], Curve]
) -> dict[str, dict[str, Any]]:
    """Choose the rate and the warm-up of each tuned arm among these.

    The choice is the pair with the best smoothed final value of the first metric, in the mean over
    calibration seeds.

    Args:
        plan: The comparison.
        arms: Some of its arms; those that are not tuned are ignored.
        curve: From an arm and a seed to the finished run.

    Returns:
        For each tuned arm, by name: ``learning_rate`` and ``warmup``; ``final_loss`` (named after
        the metric), the mean of each pair; ``rates`` and ``warmups``, how many were tried;
        ``at_edge`` and ``warmup_at_edge``, whether the choice is the lowest or highest tried.
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
    """The name of a pair: the rate, and the warm-up if that is tuned too."""
    return f"{arm.learning_rate:g}" + (f", warm-up {arm.warmup:g}" if arm.sweeps_warmup else "")


def choose_targets(
    plan: Plan, rates: Mapping[str, Mapping[str, Any]], curve: Callable[[Arm, int], Curve]
) -> dict[str, dict[str, float]]:
    """Choose the targets of each base.

    In the honest protocol they are the smoothed first metric after each share of the base's length
    (:attr:`Plan.shares`), in the median over calibration seeds. In the paper's protocol every base
    has the given value.

    Args:
        plan: The comparison.
        rates: From :func:`choose_rates`.
        curve: From an arm and a seed to the finished run.

    Returns:
        By base, each target by its name, such as ``0.75``.
    """
    if plan.target_value is not None:
        return {base.name: {plan.headline: plan.target_value} for base in bases(plan.arms)}
    return {
        base.name: {
            f"{share:g}": _median(plan, curve, at_chosen_rate(base, rates), share)
            for share in plan.shares
        }
        for base in bases(plan.arms)
    }


def at_chosen_rate(arm: Arm, rates: Mapping[str, Mapping[str, Any]]) -> Arm:
    """A copy of the arm with the rate and warm-up that calibration chose, if its rate is tuned."""
    if arm.learning_rate != TUNED:
        return arm
    chosen = rates[arm.rate_of]
    return arm.at(chosen["learning_rate"], chosen["warmup"] if arm.sweeps_warmup else None)


def _median(plan: Plan, curve: Callable[[Arm, int], Curve], arm: Arm, share: float) -> float:
    return float(np.median(_reached(plan, curve, arm, share)))


def _reached(
    plan: Plan, curve: Callable[[Arm, int], Curve], arm: Arm, share: float
) -> Float[np.ndarray, "seeds"]:
    """The smoothed first metric of each calibration run after this share of its length.

    A value that is not finite counts as the metric's worst.
    """
    values = []
    for seed in plan.calibration_seeds:
        smoothed = smooth(curve(arm, seed)[plan.metric.name])
        values.append(smoothed[round(share * (len(smoothed) - 1))])
    return np.where(np.isfinite(values), values, worst(plan.metric))
