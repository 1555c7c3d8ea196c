"""What recording costs: opening, snapshots and finishing. The evaluation that goes with a snapshot
is not counted.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from collect.corpus.leaf import describe_leaves
from collect.corpus.recorder import Recorder, holds
from collect.corpus.recording import BAND
from collect.training.loop import Loop, Snapshot
from scripts.bench.population import Population, spread

EPOCH = 100  # steps


def recording(
    args: argparse.Namespace, make_loop: Callable[[str, int], Loop], record: str, goal: float
) -> None:
    """Training with recording (``weights`` or ``gram``) beside training without, in turns."""
    print(
        f"\nWhat recording {record} costs: {args.epochs} epochs of {EPOCH} steps, a snapshot each,"
        " evaluation not counted"
    )
    for model in args.recorded:
        ours = Population(make_loop(model, args.batch), args.runs, args.way)
        ours.seconds(1)
        costs = []
        for _ in range(args.rounds):
            plain = ours.seconds(args.epochs * EPOCH, EPOCH)
            costs.append(100 * (recorded(ours, args.epochs, record) / plain - 1))
        print(f"{model:>14}: {spread(costs, '.1f')} % (goal: {goal:.0f} %)", flush=True)


def recorded(population: Population, epochs: int, record: str) -> float:
    """Seconds of the same training, recorded."""
    task = population.loop.task
    config = {"task": task.name, "seed": 0, "record_every": EPOCH, **holds(None, record, BAND)}
    leaves = describe_leaves(task.init(0)[0], task.labels)
    band = BAND if record == "gram" else None
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        begun = time.perf_counter()
        recorders = [
            stack.enter_context(
                Recorder(
                    Path(folder) / "corpus",
                    str(i),
                    config=config,
                    leaves=leaves,
                    snapshots=epochs + 1,
                    band=band,
                )
            )
            for i in population.seeds
        ]
        for recorder, start in zip(recorders, population.starts, strict=True):
            recorder.append(0, start.params, {"step": 0}, start, checkpoint=False)
        around = time.perf_counter() - begun

        def append(snapshots: list[Snapshot], lanes: list[int]) -> None:
            for snapshot, lane in zip(snapshots, lanes, strict=True):
                row = {"step": snapshot.step, "train_loss": snapshot.train_loss}
                number = -(-snapshot.step // EPOCH)
                recorders[lane].append(
                    number, snapshot.state.params, row, snapshot.state, checkpoint=False
                )

        training = population.seconds(epochs * EPOCH, EPOCH, append)
        begun = time.perf_counter()
        for recorder in recorders:
            recorder.finish("complete")
        return around + training + time.perf_counter() - begun
