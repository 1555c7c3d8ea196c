"""Train the arms of a comparison, and keep every finished run in a file."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from collect.files import replace
from collect.tasks.protocol import Task, spacing
from collect.training import machine, optimizers
from collect.training.machine import OtherPrograms
from collect.training.stop import Stop
from collect.training.workers import side_by_side
from collect.training.workers import workers as own_workers
from evaluate import older_keys, weight_samples
from evaluate.arm_options import LAWA
from evaluate.arms import ORACLE, Arm
from evaluate.curve import Curve
from evaluate.described import described
from evaluate.folder import with_nan, write_json
from evaluate.protocol import PAPER
from evaluate.record import Record
from evaluate.tasks import Tasks
from evaluate.training import Training
from nowcast.forecasters import Forecaster
from nowcast.types import UserError


class Stopped(Exception):
    """A comparison was asked to stop before its end. Finished runs are kept."""


class Trials:
    """Trains the runs of arms on one task. Each pair of arm and seed trains once.

    All arms of a seed share initial weights and data order, and are equal bit for bit until the
    first jump. An arm with a network of its own shares the data order alone.

    Args:
        task: The task.
        networks: The same task with another network each, by the names that arms have for it
            (:attr:`evaluate.arms.Arm.model`).
        epochs: Length of every run.
        record_every: Steps between two snapshots, and between two evaluations; None: the task's.
        forecasters: The forecasters, by the names that arms have for them
            (:attr:`evaluate.arms.Arm.forecast_by`).
        identities: The identities of the forecasters, by the same names. A run is kept only for the
            identity that it was trained with.
        folder: The folder that keeps finished runs.
        stop: Consulted after every snapshot.
        protocol: ``honest`` or ``paper`` (:mod:`evaluate`).
        workers: Runs that train side by side; None: one per core, or one on an accelerator.
        together: Whether the seeds of an arm train as one program; None: only on an accelerator.
        length: A factor of ``epochs``. It stretches the distance of snapshots too, so that they lie
            at the same shares of a run.
    """

    def __init__(
        self,
        task: Task,
        *,
        networks: Mapping[str, Task] | None = None,
        epochs: int,
        record_every: int | None,
        forecasters: Mapping[str, Forecaster],
        folder: Path,
        stop: Stop,
        identities: Mapping[str, str] | None = None,
        protocol: str = "honest",
        workers: int | None = None,
        together: bool | None = None,
        length: float = 1.0,
    ):
        self.task, self._folder, self._stop, self._forecasters = task, folder, stop, forecasters
        self.tasks = Tasks(task, networks or {})
        self._identities = identities or {}
        self._every = max(1, round(length * spacing(task, record_every)))
        self._steps = max(1, round(length * epochs * task.steps_per_epoch))
        self.evaluations = -(-self._steps // self._every) + 1
        self._paper = protocol == PAPER
        self._together = jax.default_backend() != "cpu" if together is None else together
        self._workers = 1 if self._together else workers or own_workers()
        self._trainings: dict[str, Training] = {}

    @property
    def steps(self) -> int:
        """Steps of every run."""
        return self._steps

    def check(self, arms: Iterable[Arm]) -> None:
        """Refuse arms that cannot be trained, before any training begins.

        Raises:
            UserError: An arm's runs are too short for a jump, or its folder holds runs with other
                settings.
        """
        for arm in arms:
            optimizers.rates(str(arm.schedule), 1.0, self._steps)
            self._training(arm)
            file = self._folder / arm.name / "arm.json"
            if file.exists():
                try:
                    before = json.loads(file.read_text(encoding="utf-8"))
                except ValueError:
                    before = None
                if before != json.loads(json.dumps(self._described(arm))):
                    raise UserError(
                        f"arm.{arm.name}: {str(file.parent)!r} holds runs with other settings; give"
                        " the arm another name, or choose another report="
                    )

    def train(
        self, arms: Iterable[Arm], seeds: Sequence[int], title: str, *, calibrate: bool = False
    ) -> None:
        """Train every arm with every seed, where the run is not finished yet.

        Args:
            arms: The arms.
            seeds: The seeds.
            title: The text before the progress bar.
            calibrate: Whether these are calibration runs, which never read the last split (unless
                the task has only one).

        Raises:
            Stopped: ``stop`` had a reason to stop.
        """
        arms = list(arms)
        for arm in arms:
            (self._folder / arm.name).mkdir(parents=True, exist_ok=True)
            write_json(self._folder / arm.name / "arm.json", self._described(arm))
        groups = [(arm, [seed]) for seed in seeds for arm in arms]
        if self._together:
            groups = [(arm, [s for s in seeds if not self._finished(arm, s)]) for arm in arms]
            groups = [
                (arm, part)
                for arm, left in groups
                for part in ([[s] for s in left] if arm.forecaster == ORACLE else [left])
                if part
            ]
        if not groups:
            return
        with tqdm(
            total=len(arms) * len(seeds) * self.evaluations, unit="evaluation", desc=title
        ) as bar:
            if self._together:
                bar.update(bar.total - sum(len(part) for _, part in groups) * self.evaluations)
            side_by_side(
                lambda group: self._train_group(*group, bar.update, calibrate),
                groups,
                self._workers,
            )

    def curve(self, arm: Arm, seed: int) -> Curve:
        """Read what a finished run measured; NaN stands for values that were not finite."""
        content = json.loads(self._file(arm, seed).read_text(encoding="utf-8"))
        return older_keys.run_of(with_nan(content))

    def picture(self, arm: Arm, seed: int) -> bytes | None:
        """The picture that the task made of a finished run, as a PNG file; None: there is none."""
        file = self._file(arm, seed).with_suffix(".png")
        return file.read_bytes() if file.exists() else None

    def forecast_errors(
        self, arm: Arm, base: Arm, seeds: Sequence[int]
    ) -> list[dict[str, float]] | None:
        """Compare an arm's forecasts with the runs of its base.

        Args:
            arm: The arm.
            base: Its base.
            seeds: The seeds of the base's runs.

        Returns:
            For each seed and operation, the error of the forecasts over that of the last value
            (:func:`evaluate.weight_samples.errors`). None: the arm has no forecaster, or one of
            whole networks; it trains another network; its horizon varies; it jumps at named steps;
            or the base's weights were not kept.
        """
        forecaster = self._forecasters.get(str(arm.forecast_by))
        kept = [weight_samples.read(self._file(base, seed).with_suffix(".npz")) for seed in seeds]
        jump = arm.jump
        if forecaster is None or forecaster.whole or arm.model != base.model:
            return None
        if None in kept or jump.horizon_to is not None or jump.at is not None:
            return None
        horizon = forecaster.check_horizon(jump.horizon)
        whole = (
            self._steps // self._every + 1
        )  # the last row may come sooner than a snapshot after the one before it
        found = [
            {name: [leaf[:whole] for leaf in own] for name, own in one.items()}
            for one in kept
            if one is not None
        ]
        return [
            weight_samples.errors(one, forecaster, horizon, jump.every, round(jump.start_after))
            for one in found
        ]

    def _described(self, arm: Arm) -> dict[str, Any]:
        """The settings that all runs of an arm share, as plain values."""
        key = str(arm.forecast_by)
        content = self.tasks.content(arm.model) if arm.model else None
        return described(arm, self._identities.get(key), self._forecasters.get(key), content)

    def _digest(self, arm: Arm) -> str:
        return hashlib.sha256(json.dumps(self._described(arm), sort_keys=True).encode()).hexdigest()

    def _training(self, arm: Arm) -> Training:
        """The training of an arm; arms whose compiled program is the same share one."""
        settings = arm.settings | {"warmup": None}
        if not arm.tail_blend:  # its average follows the schedule
            settings |= {"schedule": None}
        if arm.average and arm.average.kind == LAWA:
            settings |= {"average": None}
        key = json.dumps(settings, sort_keys=True)
        if key not in self._trainings:
            task = self.tasks.of(arm)
            own = (
                None
                if arm.forecaster in (None, ORACLE)
                else self._forecasters[str(arm.forecast_by)]
            )
            try:
                self._trainings[key] = Training(task, arm, own, self._every, self._steps)
            except UserError as error:
                raise UserError(f"arm.{arm.name}: {error}") from None
        return self._trainings[key]

    def _train_group(
        self, arm: Arm, seeds: Sequence[int], advance: Callable[[int], Any], calibrate: bool
    ) -> None:
        files = [self._file(arm, seed) for seed in seeds]
        if all(self._finished(arm, seed) for seed in seeds):
            advance(self.evaluations * len(files))
            return
        training, together = self._training(arm), self._together and arm.forecaster != ORACLE
        training.compile(seeds, together=together)
        others = OtherPrograms()
        sampled = arm.forecaster is None and not calibrate
        records = [
            Record(self.tasks.of(arm), training, arm, self._paper and not calibrate, sampled)
            for _ in seeds
        ]
        for pause in training.pauses(arm, seeds, together=together):
            if self._stop.reason:
                raise Stopped(self._stop.reason)
            for lane, record in enumerate(records):
                record.add(pause, lane)
            if pause.snapshot:
                advance(len(records))
        undisturbed = others.undisturbed(self._workers * len(seeds))
        for file, record in zip(files, records, strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            if record.samples:
                record.samples.write(file.with_suffix(".npz"))
            if not calibrate and (picture := record.picture()):
                replace(file.with_suffix(".png"), picture)
            how = {
                "settings_sha256": self._digest(arm),
                "undisturbed": undisturbed,
                "compile_seconds": training.compile_seconds,
                "machine": machine.described(),
            }
            write_json(file, record.finished(test=not calibrate) | how)

    def _finished(self, arm: Arm, seed: int) -> bool:
        """Whether a run is finished and its file is sound.

        A run with other settings, or with a damaged file, is not finished, and trains again.
        """
        file = self._file(arm, seed)
        try:
            curve = json.loads(file.read_text(encoding="utf-8"))
            kept, digest = file.with_suffix(".npz"), self._digest(arm)
            names = [metric.name for metric in self.task.metrics]
            whole = all(
                len(curve[key]) == self.evaluations for key in ("step", "epoch", "seconds", *names)
            )
            own = curve.get("settings_sha256", digest) == digest
            return (
                own
                and whole
                and bool(curve["jumps"])
                and (not kept.exists() or weight_samples.read(kept) is not None)
            )
        except (OSError, ValueError, TypeError, KeyError):
            return False

    def _file(self, arm: Arm, seed: int) -> Path:
        warm = f"-warmup{float(arm.warmup)!r}" if arm.sweeps_warmup else ""
        return self._folder / arm.name / f"{float(arm.learning_rate)!r}{warm}" / f"seed{seed}.json"
