"""Prepare a comparison: settle its arms, load their forecasters, and refuse what cannot be trained.

Nothing is trained and nothing is written.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from collect.tasks.protocol import Task
from collect.training.optimizers import GRIDS
from collect.training.stop import Stop
from evaluate import lengths
from evaluate.arms import ORACLE, Arm
from evaluate.forecasters import Loaded, of
from evaluate.inheritance import resolve
from evaluate.protocol import HONEST, Plan
from evaluate.starts import prepared
from evaluate.trials import Trials
from nowcast.types import UserError


class Prepared(NamedTuple):
    """A comparison that is ready to be trained."""

    plan: Plan
    left_out: list[str]
    """The optional arms that lack their forecaster."""
    forecasters: dict[str, Loaded]
    """By the names that arms have for them."""
    trials: Trials
    shorter: dict[float, Trials]
    """The trials of the base's other lengths, in the budget protocol."""


def prepare(
    task: Task,
    arms: Mapping[str, Arm],
    folder: Path,
    *,
    epochs: int,
    optimizer: str,
    learning_rate: float,
    learning_rates: Sequence[float] | None,
    warmups: Sequence[float],
    seeds: Sequence[int],
    calibration_seeds: Sequence[int],
    record_every: int | None,
    target_share: float,
    target_metric: str | None,
    target_value: float | None,
    starts: Sequence[float] | None,
    start_warmup: float,
    base_lengths: Sequence[float] | None,
    workers: int | None,
    together: bool | None,
    networks: Mapping[str, Task] | None = None,
    stop: Stop,
) -> Prepared:
    """Prepare a comparison; :func:`evaluate.comparison.compare` describes the arguments.

    Raises:
        UserError: The arms or a bundle cannot be used, or runs are too short.
    """
    if starts is not None:
        chosen, left_out = prepared(arms, optimizer=optimizer, warmup=start_warmup)
    else:
        settle = resolve if base_lengths is None else lengths.prepared
        chosen, left_out = settle(arms, optimizer=optimizer, learning_rate=learning_rate)
    forecasters = {
        str(arm.forecast_by): of(arm) for arm in chosen if arm.forecaster not in (None, ORACLE)
    }
    plan = Plan(
        arms=tuple(chosen),
        grids={name: tuple(learning_rates or grid) for name, grid in GRIDS.items()},
        seeds=tuple(seeds),
        calibration_seeds=tuple(calibration_seeds),
        warmups=tuple(warmups),
        metrics=tuple(task.metrics),
        splits=tuple(task.splits),
        target_share=target_share,
        target_metric=target_metric,
        target_value=target_value,
    )
    _check_splits(task, plan)
    make = functools.partial(
        Trials, task, epochs=epochs, record_every=record_every, folder=folder / "runs", stop=stop,
        forecasters={name: one.forecaster for name, one in forecasters.items()},
        identities={name: one.identity for name, one in forecasters.items()},
        protocol=plan.protocol, workers=workers, together=together, networks=networks,
    )  # fmt: skip
    trials = make()
    trials.check(chosen)
    plan.check_length(trials.evaluations)
    shorter = lengths.trials(make, chosen[0], base_lengths or ())
    return Prepared(plan, left_out, forecasters, trials, shorter)


def _check_splits(task: Task, plan: Plan) -> None:
    """Refuse to choose rates or targets on the test split, which has the last word."""
    chosen = plan.protocol == HONEST or any(arm.rate_of for arm in plan.arms)
    if chosen and task.splits[0] == "test":
        raise UserError(
            f"{task.name} has only a test split, and targets and rates must be chosen on another"
            " one; give it a validation split"
        )
