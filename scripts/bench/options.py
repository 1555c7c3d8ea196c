"""What each option of ``nowcast.periodic`` does to a run: paired seeds, two bases, one table.

Every option runs on the same seeds, data order and rates as the run alone and as the plain jump. A
run that is kept in FOLDER is not run again, so that the command goes on where it was stopped.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)  # not this folder

from collect.commands.memory import large_pages

if __name__ == "__main__":
    large_pages()

import numpy as np
from tqdm import tqdm

import nowcast
from collect.commands.output import print_anything
from collect.config import DataConfig, ModelConfig
from collect.intervals import Interval, mean_interval
from collect.population import make_task
from collect.tasks import Classification
from collect.training import optimizers
from collect.training.loop import Loop
from collect.training.workers import side_by_side
from evaluate.folder import write_json
from evaluate.statistics import crossing, smooth
from nowcast import Guard, WaitingGuard
from nowcast.forecasters import Forecaster
from nowcast.types import UserError

BASES = {"constant 1e-3": ("constant", 1e-3), "cosine 1e-2": ("cosine", 1e-2)}
TASKS = {
    "digits": (ModelConfig("resnet", depth=8, width=0.5), DataConfig("digits"), 64, 24),
    "cifar10": (ModelConfig("vanilla_cnn"), DataConfig("cifar10", train_size=10_000), 256, 24),
}
"""Model, data, batch size, epochs; a snapshot is an epoch, and no jump falls on the last one."""


WITHOUT_JUMPS, FIRST_JUMP = "alone", 5


def options(epoch: int) -> dict[str, dict[str, Any]]:
    """What is tried, by name; ``epoch`` in steps."""
    return {
        "jump": {},
        "damping=0.5": {"damping": 0.5},
        "operations: conv, fc": {"operations": ("conv", "fc")},
        "operations: fc": {"operations": ("fc",)},
        "moments=reset": {"moments": "reset"},
        "start_after 5 epochs": {"start_after": 5 * epoch},
        "stop_after 12 epochs": {"stop_after": 12 * epoch},
        "min_drift=0.2": {"min_drift": 0.2},
        "history_dtype=bfloat16": {"history_dtype": "bfloat16"},
        "guard, tolerance 0": {"guard": Guard()},
        "guard, tolerance 0.5": {"guard": Guard(tolerance=0.5)},
        "guard, dampings": {"guard": Guard(dampings=(0.25, 0.5, 1.0))},
        "guard, after ½ epoch": {"guard": WaitingGuard(after=epoch // 2)},
        "guard, after 1 epoch": {"guard": WaitingGuard(after=epoch)},
        "guard, after 1 epoch, give up at 1": {"guard": WaitingGuard(after=epoch, give_up=1)},
    }


class Trial:
    """One task with every option: compiled once each, and run from any seed."""

    def __init__(self, task: Classification, epochs: int, forecaster: Forecaster):
        self.task, self.epochs = task, epochs
        self.loops = {WITHOUT_JUMPS: Loop(task, optimizers.make("adam"))}
        for name, given in options(task.steps_per_epoch).items():
            tx = nowcast.periodic(
                optimizers.make("adam"),
                forecaster,
                every=task.steps_per_epoch,
                labels=task.labels,
                **({"min_drift": None} | given),
            )
            self.loops[name] = Loop(task, tx)

    def run(self, name: str, base: str, seed: int) -> dict[str, Any]:
        """Validation loss and accuracy at every epoch, and the counts of jumps."""
        rates = optimizers.rates(*BASES[base], self.epochs * self.task.steps_per_epoch)
        rows = []
        for snapshot in self.loops[name].run(seed, rates):
            state = snapshot.state.optimizer
            rows.append(
                self.task.evaluate(snapshot.state.params, snapshot.state.extra, "validation")
            )
        jumps = (
            {}
            if name == WITHOUT_JUMPS
            else {"accepted": int(state.accepted), "refused": int(state.refused)}
        )
        return {key: [row[key] for row in rows] for key in rows[0]} | jumps


def table(
    runs: dict[tuple[str, str, int], dict[str, Any]],
    names: Sequence[str],
    seeds: Sequence[int],
    epochs: int,
) -> str:
    """A Markdown table per base: epochs to the loss that the base has after three quarters of its
    length, and the last loss.
    """
    lines = []
    for base in BASES:
        without_jumps = [runs[WITHOUT_JUMPS, base, seed] for seed in seeds]
        target = float(
            np.median([smooth(run["loss"])[round(0.75 * epochs)] for run in without_jumps])
        )
        lines += [
            (
                f"\n**{base}**: target {target:.3f}, last loss alone"
                f" {np.median([smooth(run['loss'])[-1] for run in without_jumps]):.3f}\n"
            ),
            (
                "| option | epochs to the target | last loss | loss right after a jump | jumps"
                " taken, refused |"
            ),
            "|---|---|---|---|---|",
        ]
        for name in names:
            each = [runs[name, base, seed] for seed in seeds]
            epoch = [
                [crossing(range(epochs + 1), run["loss"], target).place for run in some]
                for some in (without_jumps, each)
            ]
            last = [
                [
                    max(float(np.nan_to_num(smooth(run["loss"])[-1], nan=np.inf)), 1e-6)
                    for run in some
                ]
                for some in (without_jumps, each)
            ]
            counts = [
                round(float(np.mean([run.get(key, 0) for run in each])), 1)
                for key in ("accepted", "refused")
            ]
            rise = "" if name == WITHOUT_JUMPS else f"{_rise(each, without_jumps):.2f}×"
            lines.append(
                f"| {name} | {_shown(_ratio(*epoch))} | {_shown(_ratio(*last))} | {rise} |"
                f" {counts[0]:g}, {counts[1]:g} |"
            )
    return "\n".join(lines)


def _ratio(base: Sequence[float], arm: Sequence[float]) -> Interval:
    """The geometric mean of base / arm, with a 95 % bootstrap: what the page's table shows."""
    return Interval(*map(float, np.exp(mean_interval(np.log(base) - np.log(arm)))))


def _rise(each: Sequence[dict[str, Any]], without_jumps: Sequence[dict[str, Any]]) -> float:
    """The loss right after the first jump over that of the run alone: the median over seeds."""
    return float(
        np.median(
            [
                run["loss"][FIRST_JUMP] / base["loss"][FIRST_JUMP]
                for run, base in zip(each, without_jumps, strict=True)
            ]
        )
    )


def _shown(found: Interval) -> str:
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def main() -> None:
    print_anything()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", type=Path, help="where finished runs are kept; one folder for one forecaster"
    )
    parser.add_argument("--forecaster", default="linear", help="a name or a bundle (linear)")
    parser.add_argument(
        "--published", metavar="WNN", help="instead: the folder of the WNN authors' own weights"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[""],
        metavar="WORD",
        help="options whose name has one of these (all)",
    )
    parser.add_argument("--task", choices=TASKS, default="digits", help="what to train (digits)")
    parser.add_argument("--seeds", type=int, default=3, help="paired runs (3)")
    asked = parser.parse_args()
    model, data, batch_size, epochs = TASKS[asked.task]
    try:
        forecaster = (
            nowcast.import_published_wnn(asked.published)
            if asked.published
            else nowcast.load(asked.forecaster)
        )
    except UserError as wrong:
        parser.error(str(wrong))
    trial = Trial(make_task(model, data, batch_size), epochs, forecaster)
    seeds = range(asked.seeds)
    names = [
        name
        for name in trial.loops
        if name in (WITHOUT_JUMPS, "jump") or any(word in name for word in asked.only)
    ]
    units = [(name, base, seed) for seed in seeds for base in BASES for name in names]

    with tqdm(total=len(units), unit="run", desc=asked.task) as bar:

        def one(unit: tuple[str, str, int]) -> dict[str, Any]:
            file = (
                asked.folder
                / asked.task
                / re.sub(r"\W+", "-", f"{unit[1]} {unit[0]} {unit[2]}.json")
            )
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                write_json(file, trial.run(*unit))
            bar.update()
            return json.loads(file.read_text(encoding="utf-8"))

        runs = dict(zip(units, side_by_side(one, units), strict=True))
    print(table(runs, names, seeds, epochs))


if __name__ == "__main__":
    main()
