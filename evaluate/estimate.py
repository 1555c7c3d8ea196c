"""Estimate what a comparison takes: its runs from the plan, its time from a few training steps."""

import time
from typing import Any, NamedTuple

import jax
from tqdm import tqdm

from collect.tasks.protocol import Task
from collect.training import optimizers, pace
from collect.training.loop import Loop
from collect.training.workers import workers as own_workers
from evaluate.arms import Arm
from evaluate.preparation import Prepared
from evaluate.protocol import bases_at_chosen_rates, calibration_arms
from evaluate.starts import SWEPT, finds_its_rate

PROBE = 8
"""Training steps that are timed first."""
SHORT = 3.0
"""Seconds that the timed steps should take: fast tasks are timed again, over more steps."""


class Estimate(NamedTuple):
    """The size and time of a comparison from its start."""

    task: str
    """The task's name."""
    arms: int
    """Arms to compare, each start of an arm counted."""
    seeds: int
    calibration: int
    """Runs before the comparison, from which rates and targets come."""
    runs: int
    """All runs."""
    epochs: float
    """Of all runs."""
    snapshots: int
    """Of all runs, which are evaluated at each."""
    hours: float
    """Of training and evaluating, on this machine, without jumps and compilation."""

    def __str__(self) -> str:
        before = f" and {self.calibration:,} calibration runs" if self.calibration else ""
        time = f"{self.hours:,.2f} hours" if self.hours >= 1 else f"{60 * self.hours:,.1f} minutes"
        return (
            f"{_counted(self.arms, 'arm')} × {_counted(self.seeds, 'seed')}{before}:"
            f" {_counted(self.runs, 'run')},"
            f" {self.epochs:,.4g} epochs, {self.snapshots:,} snapshots: {time}"
        )


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


class _Runs(NamedTuple):
    """Runs of one arm that have one length."""

    arm: Arm
    number: int
    steps: int
    snapshots: int


def estimate(
    task: Task, ready: Prepared, starts: Any = None, workers: int | None = None
) -> Estimate:
    """Estimate a comparison; nothing is written, and no run begins.

    Args:
        task: The task.
        ready: From :func:`evaluate.preparation.prepare`.
        starts: The starts of the robust protocol.
        workers: Runs that train side by side; None: one per core.
    """
    plan, trials = ready.plan, ready.trials
    before = calibration_arms(plan, plan.arms)
    follow = {arm.name: {"learning_rate": 1.0, "warmup": 0.0} for arm in plan.arms}
    before += bases_at_chosen_rates(plan, follow)
    at_once = 1 if jax.default_backend() != "cpu" else workers or own_workers()
    seeds, sizes = len(plan.seeds), (trials.steps, trials.evaluations)
    compared = [_Runs(arm, seeds * _starts(arm, starts), *sizes) for arm in plan.arms]
    calibration = [_Runs(arm, len(plan.calibration_seeds), *sizes) for arm in before]
    lengths = [
        _Runs(plan.arms[0], seeds, one.steps, one.evaluations)
        for length, one in ready.shorter.items()
        if length != 1
    ]
    every = [*compared, *calibration, *lengths]
    used = {_program(one.arm): one.arm for one in every}
    with tqdm(total=1 + len(used), desc="estimate", delay=2, leave=False) as bar:
        each = _evaluation(task)
        bar.update()
        paces = {}
        for program, arm in used.items():
            own = trials.tasks.of(arm)
            tx = optimizers.make(str(arm.optimizer), own, arm.learned, trials.steps)
            paces[program] = _pace(Loop(own, tx), at_once)
            bar.update()
    seconds = sum(
        one.number * (one.steps / paces[_program(one.arm)] + one.snapshots * each / at_once)
        for one in every
    )
    return Estimate(
        task.name,
        sum(one.number for one in compared) // seeds,
        seeds,
        sum(one.number for one in calibration),
        sum(one.number for one in every),
        sum(one.number * one.steps for one in every) / task.steps_per_epoch,
        sum(one.number * one.snapshots for one in every),
        seconds / 3600,
    )


def _program(arm: Arm) -> tuple[str | None, ...]:
    """What decides how long a step of an arm takes, jumps and wrappers apart."""
    return arm.model, arm.optimizer, arm.learned


def _starts(arm: Arm, starts: Any) -> int:
    """From how many rates the robust protocol trains an arm; 1 in the others."""
    return 1 if starts is None or arm.name == SWEPT or finds_its_rate(arm) else len(starts)


def _pace(loop: Loop, at_once: int) -> float:
    """Steps per second over all runs that train side by side."""
    found = pace.apart(loop, range(at_once), PROBE, at_once)
    more = round(SHORT * found / at_once)
    return found if more <= PROBE else pace.apart(loop, range(at_once), more, at_once)


def _evaluation(task: Task) -> float:
    """Seconds of one evaluation of the split that runs are judged by."""
    params, extra = task.init(0)
    task.evaluate(params, extra, task.splits[0])  # compiles
    begun = time.perf_counter()
    task.evaluate(params, extra, task.splits[0])
    return time.perf_counter() - begun
