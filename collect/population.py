"""A population: several runs of one architecture that differ in seed and, if asked, in learning rate and schedule."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import collect.data
from collect import optimizers
from collect.config import AugmentConfig, CollectConfig, DataConfig, ModelConfig, OptimizerConfig
from collect.loop import Loop, State
from collect.models import MODELS
from collect.recorder import Recorder, check_destination, describe_leaves
from collect.stop import Stop
from collect.tasks import Classification

GOLDEN = (5**0.5 - 1) / 2


def make_task(
    model: ModelConfig, data: DataConfig, batch_size: int, augment: AugmentConfig | None = None
) -> Classification:
    """The task that a configuration names."""
    min_size = MODELS[model.name].min_size  # type: ignore[attr-defined]
    dataset = collect.data.load(data.name, directory=data.dir, train_size=data.train_size, min_size=min_size)
    augment = augment or AugmentConfig()
    return Classification(model.name, dataset, batch_size=batch_size, augment=augment.name, **model.sizes)


def members(config: CollectConfig) -> Iterator[tuple[int, OptimizerConfig]]:
    """Seed and optimizer of every run.

    Rates spread over ``vary.learning_rate`` on a logarithmic scale by a golden-ratio sequence: even for any number of
    runs, and the first runs of a larger population are those of a smaller one. Schedules take turns.
    """
    for i in range(config.runs):
        seed, optimizer = config.seed + i, config.optimizer
        if config.vary.schedule:
            optimizer = replace(optimizer, schedule=config.vary.schedule[seed % len(config.vary.schedule)])
        if config.vary.learning_rate:
            low, high = np.log(config.vary.learning_rate)
            rate = float(np.exp(low + (high - low) * ((0.5 + seed * GOLDEN) % 1)))
            optimizer = replace(optimizer, learning_rate=float(f"{rate:.3g}"))
        yield seed, optimizer


def collect_population(config: CollectConfig, command: str | None = None) -> dict[str, Any]:
    """Record all runs that the corpus does not hold yet; ``command`` is noted as the way to make them again.

    Returns:
        Counts of runs by outcome: ``complete``, ``diverged``, ``already``, ``left``; ``stopped``, the reason, and the
        ``exit_code`` that goes with it.

    Raises:
        UserError: Anything wrong with the configuration or the corpus.
    """
    check_destination(Path(config.corpus))
    task = make_task(config.model, config.data, config.batch_size, config.augment)
    loop = Loop(task, optimizers.make(config.optimizer.name))
    steps = config.epochs * task.steps_per_epoch
    leaves = describe_leaves(task.init(0)[0], task.labels)
    every = config.record_every or task.steps_per_epoch
    per_run = -(-steps // every) + 1
    counts: dict[str, Any] = {
        "complete": 0,
        "diverged": 0,
        "already": 0,
        "left": config.runs,
        "stopped": "",
        "exit_code": 0,
    }
    with Stop(config.max_minutes) as stop, tqdm(total=config.runs * per_run, unit="snapshot", desc=task.name) as bar:
        for seed, optimizer in members(config):
            described = {
                "task": task.name, "seed": seed, "model": asdict(config.model), "data": config.data.identity,
                "optimizer": asdict(optimizer), "augment": config.augment.name, "batch_size": config.batch_size,
                "epochs": config.epochs, "record_every": every,
            }  # fmt: skip
            with Recorder(
                Path(config.corpus),
                _run_id(described),
                config=described,
                leaves=leaves,
                snapshots=per_run,
                command=command,
            ) as recorder:
                if recorder.finished:
                    bar.update(per_run)
                    counts["already"] += 1
                    counts["left"] -= 1
                    continue
                rates = optimizers.rates(optimizer.schedule, optimizer.learning_rate, steps)
                bar.set_postfix_str(f"seed {seed}, {optimizer.schedule} {optimizer.learning_rate:g}")
                status = _record(loop, recorder, seed, rates, every, stop, bar)
                if not status:
                    counts |= {"stopped": stop.reason, "exit_code": stop.exit_code}
                    break
                counts[status] += 1
                counts["left"] -= 1
    return counts


def _record(loop: Loop, recorder: Recorder, seed: int, rates: np.ndarray, every: int, stop: Stop, bar: Any) -> str:
    """Train and record one run; its status, or nothing when it was stopped before its end."""
    resumed = recorder.resume(loop.start(seed))
    done, state = resumed if resumed else (-1, None)
    bar.update(done + 1)
    first = max(done, 0) * every
    for snapshot in loop.run(seed, rates, record_every=every, state=state and State(*state), first_step=first):
        index = -(-snapshot.step // every)
        if index <= done:  # the one we go on from
            continue
        metrics = loop.task.evaluate(snapshot.state.params, snapshot.state.extra, "validation")
        row = {"step": snapshot.step, "epoch": snapshot.epoch, "train_loss": snapshot.train_loss, **metrics}
        last = snapshot.step == len(rates)
        stopping = bool(stop.reason) and not last
        recorder.append(index, snapshot.state.params, row, snapshot.state, checkpoint=stopping)
        bar.update()
        if snapshot.step and not np.isfinite(snapshot.train_loss):
            bar.update(-(-len(rates) // every) - index)
            recorder.finish("diverged")
            return "diverged"
        if stopping:
            return ""
    recorder.finish("complete")
    return "complete"


def _run_id(config: dict[str, Any]) -> str:
    named = {key: value for key, value in config.items() if (key, value) != ("augment", "none")}  # as runs before it
    digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:8]
    return f"{config['task']}-{config['optimizer']['name']}-seed{config['seed']}-{digest}"
