"""Collect what one run of a comparison measures at its snapshots and at its jumps."""

from collections import deque
from typing import Any

import jax
import numpy as np

from collect.tasks.check import check_measured
from collect.tasks.protocol import Task
from collect.training.loop import State
from evaluate.arm_options import LAWA
from evaluate.arms import ORACLE, Arm
from evaluate.task_pictures import encoded
from evaluate.training import Pause, Training
from evaluate.weight_samples import Samples
from nowcast.types import PyTree


class Record:
    """Collects the measurements of one run.

    Args:
        task: The task.
        training: The training that the run belongs to.
        arm: The run's arm.
        paper: Whether to measure by the paper's protocol: on the last split, before a jump.
        sampled: Whether to keep a sample of the weights at each snapshot.
    """

    def __init__(self, task: Task, training: Training, arm: Arm, paper: bool, sampled: bool):
        self._task, self._training, self._paper = task, training, paper
        self.samples = Samples(task.labels) if sampled else None
        last = arm.average.last if arm.average and arm.average.kind == LAWA else 1
        self._last: deque[PyTree] = deque(maxlen=last)
        self._rows: list[dict[str, Any]] = []
        keys = ("step", "before", "after", "damping", "seconds")
        self._jumps: dict[str, list[Any]] = {key: [] for key in keys}

    def add(self, pause: Pause, lane: int) -> None:
        """Measure a snapshot or a jump.

        Args:
            pause: From :meth:`evaluate.training.Training.pauses`.
            lane: The run's place among the runs of the pause.
        """
        snapshot = pause.snapshots[lane]
        split = self._task.splits[-1 if self._paper else 0]
        if pause.snapshot and self._last.maxlen != 1:
            self._last.append(jax.device_get(self._training.judged(snapshot.state)))
        now = self._measure(snapshot.state, split)
        if pause.before:
            before = self._measure(pause.before[lane], split)
            damping, judged = 1.0, self._task.metrics[0].name
            if self._training.arm.forecaster != ORACLE:
                damping = float(self._training.nowcast(snapshot.state.optimizer).damping)
            seconds = pause.jump_seconds and pause.jump_seconds / len(pause.snapshots)
            found = (snapshot.step, before[judged], now[judged], damping, seconds)
            for key, value in zip(self._jumps, found, strict=True):
                self._jumps[key].append(value)
            now = before if self._paper else now
        if not pause.snapshot:
            return
        if self.samples:
            self.samples.add(snapshot.state.params)
        row = {"step": snapshot.step, "epoch": snapshot.epoch, "train_loss": snapshot.train_loss}
        self._rows.append(row | {"seconds": pause.seconds / len(pause.snapshots)} | now)
        self._state = snapshot.state  # the last one stays valid

    def finished(self, *, test: bool) -> dict[str, Any]:
        """Everything that was measured; call it after the last snapshot.

        Args:
            test: Whether to evaluate the last weights on the last split too. A task with only one
                split has no other to read, except in the paper's protocol.

        Returns:
            A :data:`evaluate.curve.Curve`, without what the caller knows of the machine.
        """
        read = test and (self._paper or len(self._task.splits) > 1)
        at_end = self._measure(self._state, self._task.splits[-1]) if read else {}
        curve = {key: [row[key] for row in self._rows] for key in self._rows[0]}
        return (
            curve
            | {f"test_{key}": [value] for key, value in at_end.items()}
            | {"jumps": self._jumps}
            | self._at_end()
        )

    def picture(self) -> bytes | None:
        """The PNG file of what the task makes with the last weights.

        Call it after the last snapshot. None: the task makes no pictures.
        """
        if not hasattr(self._task, "picture"):
            return None
        return encoded(self._task, self._task.picture(self._judged(self._state), self._state.extra))

    def _judged(self, state: State) -> PyTree:
        """The weights that the run is judged by in this state."""
        params = self._training.judged(state)
        if self._last.maxlen != 1:
            params = jax.tree.map(
                lambda *each: np.mean(each, axis=0, dtype=each[0].dtype), *self._last
            )
        return params

    def _measure(self, state: State, split: str) -> dict[str, float]:
        params = self._judged(state)
        found = self._task.evaluate(params, state.extra, split)
        check_measured(self._task, found)
        return {metric.name: float(found[metric.name]) for metric in self._task.metrics}

    def _at_end(self) -> dict[str, Any]:
        own = self._training.nowcast(self._state.optimizer)
        forecaster = self._training.arm.forecaster
        history = () if forecaster in (None, ORACLE) else (own.history, own.kept)
        return {
            "accepted": len(self._jumps["step"]) if forecaster == ORACLE else int(own.accepted),
            "refused": int(own.refused),
            "history_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(history)),
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(self._state.params)),
        }
