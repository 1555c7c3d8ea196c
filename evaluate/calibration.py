"""Calibrate a comparison: train the calibration runs, then choose learning rates and targets."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluate import metrics
from evaluate.arms import bases
from evaluate.folder import write_json
from evaluate.protocol import (
    HONEST,
    Plan,
    at_chosen_rate,
    bases_at_chosen_rates,
    calibration_arms,
    choose_rates,
    choose_targets,
)
from evaluate.trials import Trials
from nowcast.types import UserError


def calibrate(plan: Plan, trials: Trials, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train the calibration runs, and choose the rates and the targets from them.

    The choice for the bases is written to ``targets.json`` before any other arm runs.

    Args:
        plan: What is compared.
        trials: Trains runs, and keeps them.
        folder: The report's folder.

    Returns:
        ``(rates, targets)``, by arm: see :func:`evaluate.protocol.choose_rates` and
        :func:`evaluate.protocol.choose_targets`.

    Raises:
        UserError: No run can reach a target; ``targets.json`` is damaged, or holds another choice.
    """
    own = bases(plan.arms)
    others = [arm for arm in plan.arms if arm not in own]
    trials.train(calibration_arms(plan, own), plan.calibration_seeds, "calibrate", calibrate=True)
    rates = choose_rates(plan, own, trials.curve)
    if following := bases_at_chosen_rates(plan, rates):
        trials.train(following, plan.calibration_seeds, "calibrate at those rates", calibrate=True)
    targets = choose_targets(plan, rates, trials.curve)
    if plan.protocol == HONEST:
        _check_targets(plan, trials, rates, targets)
    _keep(
        folder / "targets.json",
        {"targets": targets, "rates": rates} if plan.protocol == HONEST else {"rates": rates},
    )
    if tuned := calibration_arms(plan, others):
        trials.train(tuned, plan.calibration_seeds, "calibrate the others", calibrate=True)
    return rates | choose_rates(plan, others, trials.curve), targets


def _check_targets(
    plan: Plan, trials: Trials, rates: Mapping[str, Any], targets: Mapping[str, Any]
) -> None:
    """Refuse a target that is no better than the runs' first value.

    The calibration runs behind such a target diverged. Every run would reach it at once, or none.
    """
    metric = plan.metric
    for base in bases(plan.arms):
        curves = [
            trials.curve(at_chosen_rate(base, rates), seed) for seed in plan.calibration_seeds
        ]
        begin = float(np.median([run[metric.name][0] for run in curves]))
        for share, target in targets[base.name].items():
            if not metrics.oriented(metric, target) < metrics.oriented(metric, begin):
                raise UserError(
                    f"arm.{base.name}: after {share} of their length its calibration runs have a"
                    f" {metric.name} of {target:.4g}, and began at {begin:.4g}: they became no"
                    " better, which gives no target; lower the arm's learning rate, or train longer"
                )


def _keep(file: Path, chosen: dict[str, dict[str, Any]]) -> None:
    """Add choices to a file, and refuse a choice that differs from an earlier one in it."""
    try:
        before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except ValueError:
        raise UserError(
            f"{str(file)!r} is damaged; remove it: the same command makes it again from the"
            " calibration runs"
        ) from None
    for kind, own in chosen.items():
        earlier = before.get(kind, {})
        changed = [
            name
            for name in own
            if name in earlier and earlier[name] != json.loads(json.dumps(own[name]))
        ]
        if changed:
            raise UserError(
                f"{str(file)!r}: the {kind} of {changed[0]} would be {own[changed[0]]}, and an"
                f" earlier command chose {earlier[changed[0]]}; choose another report="
            )
    write_json(file, {kind: before.get(kind, {}) | own for kind, own in chosen.items()})
