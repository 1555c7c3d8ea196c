"""A population: several runs of one architecture, recorded side by side."""

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from collect.config import AugmentConfig, CollectConfig, DataConfig, ModelConfig
from collect.corpus import destination, places
from collect.corpus.destination import Folder
from collect.corpus.leaf import describe_leaves
from collect.corpus.recorder import Recorder, holds
from collect.members import Member, members
from collect.tasks import Classification, build
from collect.tasks.check import check_measured
from collect.tasks.protocol import spacing
from collect.training import optimizers, pace
from collect.training.loop import Loop, Snapshot, State
from collect.training.stop import Stop
from collect.training.workers import side_by_side


def make_task(
    model: ModelConfig, data: DataConfig, batch_size: int, augment: AugmentConfig | None = None
) -> Classification:
    """The classification that these parts of a configuration name.

    :func:`collect.tasks.build.make` makes any task.
    """
    return Classification.configured(model, data, augment or AugmentConfig(), batch_size)


def collect_population(config: CollectConfig, command: str | None = None) -> dict[str, Any]:
    """Record all runs that the corpus does not hold yet.

    ``command`` is noted as the way to make them again.

    Returns:
        ``task``, its name; counts of runs by outcome: ``complete``, ``diverged``, ``already``,
        ``left``; ``stopped``, the reason, and the ``exit_code`` that goes with it.

    Raises:
        UserError: Anything wrong with the configuration or the corpus.
    """
    into = destination.make(places.at(config.corpus))
    into.check()
    groups = _groups(config, command)
    total = sum(len(group.members) * group.snapshots for group in groups)
    name = groups[0].task.name
    with (
        into,
        Stop(config.max_minutes) as stop,
        tqdm(total=total, unit="snapshot", desc=name) as bar,
    ):
        outcomes = Counter(outcome for group in groups for outcome in group.record(into, stop, bar))
        counts = {key: outcomes[key] for key in ("complete", "diverged", "already")}
        reason, code = (stop.reason, stop.exit_code) if outcomes[""] else ("", 0)
    more = {"left": outcomes[""], "stopped": reason, "exit_code": code}
    return {"task": name} | counts | more


def _groups(config: CollectConfig, command: str | None = None) -> list["Group"]:
    population = list(members(config))
    sizes = dict.fromkeys(member.batch_size for member in population)
    return [
        Group(config, [m for m in population if m.batch_size == size], command) for size in sizes
    ]


class Group:
    """The members of a population that share a batch size, and so a compiled program."""

    def __init__(self, config: CollectConfig, members: Sequence[Member], command: str | None):
        self.config, self.members, self._command = config, members, command
        self.task = build.make(config, members[0].batch_size)
        self.loop = Loop(self.task, optimizers.make(config.optimizer.name, self.task))
        self.steps = config.epochs * self.task.steps_per_epoch
        self.every = spacing(self.task, config.record_every)
        self.snapshots = -(-self.steps // self.every) + 1
        params, extra = self.task.init(0)
        self.leaves = describe_leaves(params, self.task.labels)
        recorded = (
            describe_leaves(extra, jax.tree.map(lambda _: "norm", extra))
            if config.batch_stats
            else []
        )
        self.statistics = recorded or None  # not every network has some

    def record(self, into: Folder, stop: Stop, bar: tqdm) -> list[str]:
        """Train and record every member, and return the outcome of each.

        An outcome is ``complete``, ``diverged``, ``already``, or empty.
        """
        self._into, self._stop, self._bar = into, stop, bar
        finished = into.finished([_run_id(self._describe(member)) for member in self.members])
        todo = [
            member for member in self.members if _run_id(self._describe(member)) not in finished
        ]
        already = len(self.members) - len(todo)
        self._bar.update(already * self.snapshots)
        outcomes = ["already"] * already
        at_once = [
            todo[i : i + self.config.at_once] for i in range(0, len(todo), self.config.at_once)
        ]
        if not todo or self._stop.reason:
            return outcomes + [""] * len(todo)
        if self._together(at_once[0], len(todo)):
            return outcomes + [
                outcome for chunk in at_once for outcome in self._record(chunk, together=True)
            ]
        return outcomes + [
            outcome
            for one in side_by_side(lambda member: self._record([member], together=False), todo)
            for outcome in one
        ]

    def _together(self, first: Sequence[Member], runs: int) -> bool:
        if self.config.together is not None or len(first) == 1:
            return bool(self.config.together)
        measured = pace.measure(self.loop, [member.seed for member in first], runs * self.steps)
        if np.isfinite(measured.together):
            speeds = f"together {measured.together:.3g} steps/s, apart {measured.apart:.3g}"
            self._bar.write(
                f"{self.task.name}, batch {first[0].batch_size}: {speeds}; training {measured.best}"
            )
        return measured.best == "together"

    def _record(self, members: Sequence[Member], *, together: bool) -> list[str]:
        """Train some members in step with each other.

        Members that resume from different snapshots train in turns.
        """
        if self._stop.reason:
            return [""] * len(members)
        with ExitStack() as stack:
            recorders = [stack.enter_context(self._recorder(member)) for member in members]
            for recorder in recorders:
                if recorder.unfinished and not recorder.finished:
                    self._bar.write(
                        f"{recorder.path.name} was unfinished: {recorder.unfinished}",
                        file=sys.stderr,
                    )
            # Another process may have finished a run since we asked.
            outcomes = {i: "already" for i, recorder in enumerate(recorders) if recorder.finished}
            self._bar.update(len(outcomes) * self.snapshots)
            begun = {
                i: recorders[i].resume(self.loop.start(member.seed)) or (-1, None)
                for i, member in enumerate(members)
                if i not in outcomes
            }
            for done in dict.fromkeys(snapshot for snapshot, _ in begun.values()):
                lanes = [i for i, (snapshot, _) in begun.items() if snapshot == done]
                snapshots = self._train(
                    [members[i] for i in lanes], [begun[i][1] for i in lanes], done, together
                )
                self._bar.update(len(lanes) * (done + 1))
                outcomes |= zip(
                    lanes, self._follow(snapshots, [recorders[i] for i in lanes], done), strict=True
                )
        return [outcomes[i] for i in range(len(members))]

    def _train(
        self, members: Sequence[Member], states: Sequence[Any], done: int, together: bool
    ) -> Iterator[Sequence[Snapshot]]:
        """The snapshots of some members from ``done`` on (−1: from their start)."""
        seeds = [member.seed for member in members]
        rates = np.stack([self._rates(member) for member in members])
        own = None if done < 0 else [State(*state) for state in states]
        start: dict[str, Any] = {
            "record_every": self.every,
            "first_step": max(done, 0) * self.every,
        }
        if together:
            return self.loop.run_together(seeds, rates, states=own, **start)
        return (
            [one]
            for one in self.loop.run(seeds[0], rates[0], state=own[0] if own else None, **start)
        )

    def _follow(
        self, snapshots: Iterable[Sequence[Snapshot]], recorders: Sequence[Recorder], done: int
    ) -> list[str]:
        """Record what a loop yields, and return each run's status.

        The status is empty for a run that was stopped before its end.
        """
        status, begun = [""] * len(recorders), time.perf_counter()
        for group in snapshots:
            index = -(-group[0].step // self.every)
            if index <= done:  # the one we go on from
                continue
            stopping = bool(self._stop.reason) and group[0].step < self.steps
            for lane, (snapshot, recorder) in enumerate(zip(group, recorders, strict=True)):
                if status[lane]:
                    continue
                metrics = self.task.evaluate(
                    snapshot.state.params, snapshot.state.extra, self.task.splits[0]
                )
                check_measured(self.task, metrics)
                row = {
                    "step": snapshot.step,
                    "epoch": snapshot.epoch,
                    "train_loss": snapshot.train_loss,
                    **metrics,
                }
                recorder.append(
                    index,
                    snapshot.state.params,
                    row,
                    snapshot.state,
                    checkpoint=stopping,
                    statistics=snapshot.state.extra,
                )
                self._bar.update()
                if snapshot.step and not np.isfinite(snapshot.train_loss):
                    self._bar.update(self.snapshots - 1 - index)
                    status[lane] = "diverged"
                elif snapshot.step == self.steps:
                    status[lane] = "complete"
                if status[lane]:  # snapshots before a restart took as long each
                    passed = (time.perf_counter() - begun) / len(recorders)
                    recorder.finish(status[lane], passed * index / max(index - max(done, 0), 1))
            if stopping or all(status):
                break
        return status

    def _rates(self, member: Member) -> np.ndarray:
        optimizer = member.optimizer
        return optimizers.rates(
            optimizer.schedule, optimizer.learning_rate, self.steps, optimizer.warmup
        )

    def _describe(self, member: Member) -> dict[str, Any]:
        """Everything that determines a run."""
        parts = build.described(self.config)
        augment = {"augment": parts.pop("augment")} if "augment" in parts else {}
        return {
            "task": self.task.name,
            "seed": member.seed,
            **parts,
            "optimizer": asdict(member.optimizer),
            **augment,
            "batch_size": member.batch_size,
            "epochs": self.config.epochs,
            "record_every": self.every,
            **({"batch_stats": True} if self.statistics else {}),
            **holds(self.config.sample, self.config.record, self.config.band),
        }

    def _recorder(self, member: Member) -> Recorder:
        described = self._describe(member)
        return self._into.recorder(
            _run_id(described),
            config=described,
            leaves=self.leaves,
            statistics=self.statistics,
            snapshots=self.snapshots,
            command=self._command,
            sample=self.config.sample,
            band=self.config.band if self.config.record == "gram" else None,
        )


def _run_id(config: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]
    return f"{config['task']}-{config['optimizer']['name']}-seed{config['seed']}-{digest}"
