"""Estimate what a collection takes: its size from shapes, its time from a few training steps."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import jax
from tqdm import tqdm

from collect.config import CollectConfig
from collect.members import members
from collect.tasks import build
from collect.tasks.protocol import spacing
from collect.training import optimizers, pace
from collect.training.loop import Loop

STEPS = 2
"""Training steps that are timed."""


class Estimate(NamedTuple):
    """The size and time of a collection.

    That weights compress by about a tenth is not counted on.
    """

    task: str
    """The task's name."""
    runs: int
    epochs: int
    snapshots: int
    bytes: int
    hours: float
    """On this machine, without evaluating and writing.

    It trains as one program on an accelerator, one run after another on a CPU.
    """

    def __str__(self) -> str:
        sizes = f"{self.runs:,} runs, {self.epochs:,} epochs, {self.snapshots:,} snapshots"
        size = (
            f"{self.bytes / 2**30:,.2f} GiB"
            if self.bytes >= 2**30
            else f"{self.bytes / 2**20:,.1f} MiB"
        )
        time = f"{self.hours:,.2f} hours" if self.hours >= 1 else f"{60 * self.hours:,.1f} minutes"
        return f"{sizes}: {size} at most, {time}"


class Program(NamedTuple):
    """The facts that all runs of one compiled program share."""

    task: str
    """The task's name."""
    steps_per_epoch: int
    record_every: int
    """Steps between snapshots where the configuration does not say."""
    scalars: int
    pace: float
    """Steps per second, over all runs."""


def total(estimates: Sequence[Estimate]) -> Estimate:
    """Add up estimates of collections that run one after another."""
    tasks, *numbers = zip(*estimates, strict=True)
    return Estimate(", ".join(dict.fromkeys(tasks)), *map(sum, numbers))


def estimate(config: CollectConfig) -> Estimate:
    """Estimate a collection; nothing is written."""
    each = []
    for batch_size, runs in Counter(member.batch_size for member in members(config)).items():
        program = _program(config, batch_size, min(runs, config.at_once))
        steps = config.epochs * program.steps_per_epoch
        snapshots = runs * (-(-steps // (config.record_every or program.record_every)) + 1)
        hours = runs * steps / program.pace / 3600
        each.append(
            Estimate(
                program.task,
                runs,
                runs * config.epochs,
                snapshots,
                4 * snapshots * program.scalars,
                hours,
            )
        )
    return total(each)


def _values(size: int, config: CollectConfig) -> int:
    """How many float32 values each snapshot writes for a leaf of this size."""
    if config.record == "gram":
        return 2 * config.band  # in float64
    return min(size, config.sample or size)


_known: dict[str, Program] = {}


def _program(config: CollectConfig, batch_size: int, lanes: int) -> Program:
    """Build and time a program once: the jobs of a large collection differ only in their seeds."""
    together = jax.default_backend() != "cpu" if config.together is None else config.together
    key = repr(
        (
            config.task,
            config.model,
            config.data,
            config.augment,
            config.optimizer.name,
            batch_size,
            together and lanes,
            config.batch_stats,
            (config.sample, config.record, config.band),
        )
    )
    if key not in _known:
        with tqdm(total=2, desc="estimate", delay=2, leave=False) as bar:
            task = build.make(config, batch_size)
            bar.set_description(task.name)
            params, extra = task.init(0)
            scalars = sum(_values(leaf.size, config) for leaf in jax.tree.leaves(params))
            scalars += sum(
                leaf.size for leaf in jax.tree.leaves(extra if config.batch_stats else ())
            )
            bar.update()
            loop = Loop(task, optimizers.make(config.optimizer.name, task))
            time = pace.together if together else pace.apart
            _known[key] = Program(
                task.name,
                task.steps_per_epoch,
                spacing(task),
                scalars,
                time(loop, range(lanes), STEPS),
            )
    return _known[key]
