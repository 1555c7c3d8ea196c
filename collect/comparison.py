"""Training the arms of a comparison with the one loop, and keeping what was trained."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tqdm import tqdm

import nowcast
from collect import optimizers
from collect.loop import Loop
from collect.stop import Stop
from collect.workers import side_by_side
from nowcast.evaluation.arms import ALONE, Arm
from nowcast.forecasters import Forecaster, LastValue
from nowcast.paths import replace
from nowcast.types import Curve, Task, UserError


class Stopped(Exception):
    """A comparison was stopped in good order before its end."""


class Trials:
    """Runs of arms on one task; each (arm, seed) is trained once and kept in a file.

    All arms of a seed share initial weights and data order, and are equal bit for bit until the first jump: the base
    alone carries the same wrapper as the others, with a first snapshot that never comes, because another program would
    round differently.

    Args:
        task: What to train.
        optimizer: Its name.
        epochs: Length of every run.
        record_every: Steps between two snapshots and evaluations; an epoch when None.
        forecasters: By the names that arms use.
        folder: Where finished runs are kept.
        stop: Asked between two snapshots.
    """

    def __init__(
        self, task: Task, *, optimizer: str, epochs: int, record_every: int | None,
        forecasters: dict[str, Forecaster], folder: Path, stop: Stop,
    ):  # fmt: skip
        self.task, self._folder, self._stop = task, folder, stop
        self._every = record_every or task.steps_per_epoch
        self._steps = epochs * task.steps_per_epoch
        self._evaluations = -(-self._steps // self._every) + 1
        longest = max((f.window for f in forecasters.values()), default=1)
        if self._steps < longest * self._every:
            raise UserError(
                f"epochs={epochs}: a run has {self._steps} steps, and the first jump comes after {longest * self._every}; "
                f"train longer or record more often"
            )

        @lru_cache
        def loop(forecaster: str) -> Loop:
            tx = optimizers.make(optimizer)
            if forecaster == ALONE:
                return Loop(task, nowcast.periodic(tx, LastValue(), every=self._steps + 1, labels=task.labels))
            return Loop(task, nowcast.periodic(tx, forecasters[forecaster], every=self._every, labels=task.labels))

        self._loop = loop

    def train(self, arms: Iterable[Arm], seeds: Iterable[int], title: str) -> None:
        """Train every arm with every seed, several at a time on a CPU; finished ones are not trained again."""
        units = [(arm, seed) for seed in seeds for arm in arms]
        for arm, _ in units:  # built here, once each, not by two threads at a time
            self._loop(arm.forecaster)
        with tqdm(total=len(units) * self._evaluations, unit="evaluation", desc=title) as bar:
            side_by_side(lambda unit: self._one(unit[0], unit[1], bar.update), units)

    def curve(self, arm: Arm, seed: int) -> Curve:
        """What a finished run measured; NaN where a value was not finite."""
        stored = json.loads(self._file(arm, seed).read_text())
        return {key: [float("nan") if value is None else value for value in values] for key, values in stored.items()}

    def _one(self, arm: Arm, seed: int, advance: Callable[[int], Any]) -> None:
        file = self._file(arm, seed)
        if self._readable(file):
            advance(self._evaluations)
            return
        rates = optimizers.rates(arm.schedule, arm.learning_rate, self._steps)
        rows = []
        for snapshot in self._loop(arm.forecaster).run(seed, rates, record_every=self._every):
            if self._stop.reason:
                raise Stopped(self._stop.reason)
            params, extra = snapshot.state.params, snapshot.state.extra
            row = {"step": snapshot.step, "epoch": snapshot.epoch, "train_loss": snapshot.train_loss}
            rows.append(row | self.task.evaluate(params, extra, "validation"))
            if snapshot.step == self._steps:  # the test set is read once
                test = self.task.evaluate(params, extra, "test")
            advance(1)
        curve = {key: [row[key] for row in rows] for key in rows[0]}
        curve |= {f"test_{key}": [value] for key, value in test.items()}
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, curve)

    def _readable(self, file: Path) -> bool:
        """Whether a finished run is there; a damaged file is not, and its run is trained again."""
        try:
            curve = json.loads(file.read_text())
            return all(len(curve[key]) == self._evaluations for key in ("step", "epoch", "loss")) and bool(
                curve["test_accuracy"]
            )
        except (OSError, ValueError, TypeError, KeyError):
            return False

    def _file(self, arm: Arm, seed: int) -> Path:
        return self._folder / f"{arm.name}-{arm.learning_rate:g}" / f"seed{seed}.json"


def claim(folder: Path, described: dict[str, Any]) -> None:
    """Make the report's folder ours, or refuse one that holds results of another configuration."""
    file = folder / "configuration.json"
    described = json.loads(json.dumps(described))
    if file.exists():
        try:
            before = dict(json.loads(file.read_text()))
        except (ValueError, TypeError):
            raise UserError(
                f"report={str(folder)!r}: {file.name} is damaged; choose another folder or remove this one"
            ) from None
        changed = sorted(key for key in described.keys() | before.keys() if described.get(key) != before.get(key))
        if changed:
            key = changed[0]
            raise UserError(
                f"report={str(folder)!r} holds results of another configuration ({key}: {before.get(key)!r} there, "
                f"{described.get(key)!r} asked for); choose another folder"
            )
    elif folder.exists() and (not folder.is_dir() or any(item.name[0] != "." for item in folder.iterdir())):
        raise UserError(f"report={str(folder)!r} exists and is no report; choose another folder")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, described)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically; JSON has no NaN, so what is not finite becomes null."""
    replace(path, json.dumps(_without_nan(content), indent=1, allow_nan=False) + "\n")


def _without_nan(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
