"""Make examples of how far a learning rate is from its best, out of sweeps of learning rates.

The runs of a group have the same configuration apart from their rate and seed. The best rate of a
group is the lowest place of a parabola, log loss over log rate, through the lowest final
validation loss and the two on either side of it. The label of a run is
``log(best rate / its rate)``, at all of its windows; runs that diverged have a label too.

A window has five snapshots, and never the untrained weights. An example holds the Gram matrix of
the window's increments, summed over the leaves, as :func:`nowcast.auto_rate` computes it.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from collect.corpus import Run, gram
from meta_train.source import FIRST
from nowcast.movement import BAND, windows
from nowcast.types import UserError

BESIDE = 2
"""How many losses on either side of the lowest one a parabola is fitted to.

Several losses are needed, because each comes from a single seed.
"""
NEAR = 2 * np.log(2)
"""The width in the weight of a run, ``exp(−½ (label / NEAR)²)``.

Runs near the best rate weigh more, because :func:`nowcast.auto_rate` soon brings a run there. With
equal weights, the network would take a window without information for a rate far too high.
"""
FEWEST = 3
"""The fewest runs with a finite loss in a group to which a parabola is fitted."""


class Group(NamedTuple):
    """Runs that differ only in their learning rate and seed."""

    name: str
    runs: list[Run]
    best: float | None
    """The best rate; None: the lowest loss is at an end of the rates, or too few are finite."""


class Examples(NamedTuple):
    """N windows of several runs."""

    gram: Float[np.ndarray, "N 4 4"]
    """The Gram matrices, divided by the mean square of each window's increments."""
    share: Float[np.ndarray, "N"]
    """The share of the run that has passed at the window's end."""
    each: Float[np.ndarray, "N"]
    """The share of the run between two snapshots."""
    label: Float[np.ndarray, "N"]
    """The natural logarithm of the best rate over the run's rate."""
    weight: Float[np.ndarray, "N"]
    """The probability of drawing each window; the sum is 1.

    All tasks are equally likely. Within a task, runs near the best rate are more likely
    (:data:`NEAR`). Within a run, all windows are equally likely.
    """
    task: Int[np.ndarray, "N"]
    """The index of each window's task in ``tasks``."""
    tasks: list[str]

    def of(self, tasks: Sequence[str]) -> "Examples":
        """The windows of some tasks, with weights that sum to 1 again."""
        wanted = np.isin(self.task, [self.tasks.index(task) for task in tasks])
        gram, share, each, label, weight, task = (part[wanted] for part in self[:6])
        return Examples(gram, share, each, label, weight / weight.sum(), task, self.tasks)


def groups(runs: Sequence[Run]) -> list[Group]:
    """Sort runs into groups, and find the best rate of each.

    Raises:
        UserError: A run does not record its learning rate.
    """
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(json.dumps(_group_key(run), sort_keys=True), []).append(run)
    return [
        Group(_name(same[0]), same, best_rate([_rate(run) for run in same], list(map(_end, same))))
        for same in found.values()
    ]


def best_rate(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate at which a sweep ends lowest.

    Args:
        rates: Learning rates, in any order.
        losses: The final validation loss at each rate, above 0; not finite for a run that diverged.

    Returns:
        The lowest place of a parabola, log loss over log rate. The parabola is fitted by least
        squares to the lowest loss and the two on either side of it, where these are finite. The
        result is never beyond the neighbours of the lowest loss. None: the lowest loss is at the
        first or the last rate, or fewer than three losses are finite.

    Examples:
        >>> from meta_train.sweeps import best_rate
        >>> round(best_rate([0.01, 0.1, 1.0], [2.0, 1.0, 2.0]), 6)
        0.1
    """
    order = np.argsort(rates)
    rate, loss = np.log(np.asarray(rates, float)[order]), np.asarray(losses, float)[order]
    loss = np.where(np.isfinite(loss) & (loss > 0), loss, np.inf)
    lowest = int(np.argmin(loss))
    if np.isfinite(loss).sum() < FEWEST or lowest in (0, len(loss) - 1):
        return None
    near = np.arange(max(lowest - BESIDE, 0), min(lowest + BESIDE + 1, len(loss)))
    near = near[np.isfinite(loss[near])]
    x = rate - rate[lowest]
    if len(np.unique(x[near])) < FEWEST:
        return float(np.exp(rate[lowest]))
    curve = np.polyfit(x[near], np.log(loss[near]), 2)
    bottom = -curve[1] / (2 * curve[0]) if curve[0] > 0 else 0.0
    return float(np.exp(rate[lowest] + np.clip(bottom, x[lowest - 1], x[lowest + 1])))


def examples(found: Sequence[Group]) -> Examples:
    """The windows of all runs whose group has a best rate.

    Raises:
        UserError: No run has both a label and a window.
    """
    each = [
        one
        for group in found
        if group.best is not None
        for run in group.runs
        if len((one := _windows_of(run, group.best, _length(group))).share)
    ]
    if not each:
        raise UserError(
            "corpus: no group of runs that differ only in their learning rate has its lowest final"
            " validation loss between two others; collect sweeps over more rates"
        )
    tasks = sorted({one.task for one in each})
    whole = {task: sum(one.near for one in each if one.task == task) for task in tasks}
    weights = [one.near / (len(tasks) * whole[one.task] * len(one.share)) for one in each]
    counts = [len(one.share) for one in each]

    def spread(values: Sequence[float]) -> np.ndarray:
        return np.repeat(np.asarray(values), counts)

    return Examples(
        np.concatenate([one.gram for one in each]).astype(np.float32),
        np.concatenate([one.share for one in each]).astype(np.float32),
        spread([one.apart for one in each]).astype(np.float32),
        spread([one.label for one in each]).astype(np.float32),
        spread(weights),
        spread([tasks.index(one.task) for one in each]),
        tasks,
    )


class RunWindows(NamedTuple):
    """The windows of one run, with its label."""

    task: str
    gram: Float[np.ndarray, "T 4 4"]
    share: Float[np.ndarray, "T"]
    apart: float
    """The share of the run between two snapshots."""
    label: float

    @property
    def near(self) -> float:
        """The run's weight among the runs of its task, before it is normalised."""
        return float(np.exp(-0.5 * (self.label / NEAR) ** 2))


def _windows_of(run: Run, best: float, length: int) -> RunWindows:
    apart = run.metrics["step"][1] / length
    return RunWindows(run.config["task"], *_windows(run, length), apart, np.log(best / _rate(run)))


def _windows(run: Run, length: int) -> tuple[Float[np.ndarray, "T 4 4"], Float[np.ndarray, "T"]]:
    """The Gram matrices of a run's windows, and the share of the run at the end of each.

    Windows that do not move, are not finite or not evenly spaced are left out.
    """
    steps = run.metrics["step"]
    if len(steps) <= FIRST + BAND:
        return np.empty((0, BAND, BAND)), np.empty(0)
    grams = windows(_increments(run))[FIRST:]
    ends = steps[FIRST + BAND :]
    even = (
        np.convolve(np.diff(steps) == steps[1] - steps[0], np.ones(BAND), "valid")[FIRST:] == BAND
    )
    unit = np.trace(grams, axis1=1, axis2=2) / BAND
    sound = even & np.isfinite(grams).all(axis=(1, 2)) & (unit > 0) & np.isfinite(unit)
    return grams[sound] / unit[sound, None, None], ends[sound] / length


def _increments(run: Run) -> Float[np.ndarray, "D 4"]:
    """Inner products of each increment with itself and the three before it, over all leaves."""
    if any(leaf.columns < leaf.size for leaf in run.leaves):
        raise UserError(
            f"corpus: run {run.id} holds a sample of each leaf, and rates are read from whole"
            " leaves; collect with record=gram in the place of sample"
        )
    if run.band is not None and run.band < BAND:
        raise UserError(
            f"corpus: run {run.path} was recorded with band={run.band}, and rates are read from"
            f" band={BAND}; collect it with band={BAND} or more"
        )
    return gram.increments(run, BAND).sum(axis=1)


def _group_key(run: Run) -> dict:
    optimizer = run.config.get("optimizer")
    if not isinstance(optimizer, dict) or "learning_rate" not in optimizer:
        raise UserError(
            f"corpus: run {run.id} does not record its learning rate; give corpora of"
            " scripts/collect.py"
        )
    same = {key: value for key, value in optimizer.items() if key != "learning_rate"}
    return {key: value for key, value in run.config.items() if key != "seed"} | {"optimizer": same}


def _rate(run: Run) -> float:
    return float(run.config["optimizer"]["learning_rate"])


def _end(run: Run) -> float:
    """The final validation loss."""
    loss = run.metrics.get("loss")
    return float(loss[-1]) if loss is not None and run.status == "complete" else np.inf


def _length(group: Group) -> int:
    """The steps of a whole run of a group: those of the longest, as some may have diverged."""
    return max(int(run.metrics["step"][-1]) for run in group.runs)


def _name(run: Run) -> str:
    optimizer = run.config["optimizer"]
    warm = f"warm-up {optimizer.get('warmup', 0):g}"
    batch = f"batches of {run.config.get('batch_size')}"
    return ", ".join([run.config["task"], optimizer["name"], optimizer["schedule"], warm, batch])
