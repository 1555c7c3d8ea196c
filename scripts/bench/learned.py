"""A step with a learned optimizer beside the same step with Adam, on the CNN of WNN's Table 4.

python scripts/bench/learned.py --rounds 7
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

# Not this folder: it has files named as packages.
sys.path[0] = str(Path(__file__).resolve().parents[2])

import jax
import numpy as np

from collect.commands.output import print_anything
from collect.config import AugmentConfig, DataConfig, ModelConfig
from collect.tasks import Classification
from collect.training import learned, optimizers
from collect.training.loop import Loop
from scripts.bench.population import spread


def main() -> None:
    print_anything()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="pairs of measurements")
    parser.add_argument("--steps", type=int, default=10, help="steps of one measurement")
    parser.add_argument("--batch", type=int, default=1024, help="images of a step")
    parser.add_argument("--celo", help="the file of Celo's weights, to measure it too")
    args = parser.parse_args()
    data = DataConfig(name="cifar10", train_size=max(2048, args.batch))
    task = Classification.configured(
        ModelConfig(name="vanilla_cnn"), data, AugmentConfig(), args.batch
    )
    loops = {name: Loop(task, optimizers.make(name, task)) for name in ("adam", *learned.KINDS)}
    if args.celo:
        loops["celo"] = Loop(task, optimizers.make("celo", task, args.celo, args.steps))
    for loop in loops.values():
        seconds(loop, 2)  # compiles
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(args.rounds):
        for name, loop in loops.items():
            times[name].append(seconds(loop, args.steps))
    adam = times.pop("adam")
    print(f"a step of {args.batch} images, seconds; medians of {args.rounds} rounds")
    print(f"{'adam':>13} {statistics.median(adam):.4f}")
    for name, each in times.items():
        ratios = [one / other for one, other in zip(each, adam, strict=True)]
        print(f"{name:>13} {statistics.median(each):.4f}, over adam's {spread(ratios, '.2f')}")


def seconds(loop: Loop, steps: int) -> float:
    """The seconds of one step, of so many from a fresh start."""
    run = loop.run(0, np.full(steps, 1e-3, np.float32), record_every=steps)
    jax.block_until_ready(next(run).state)
    begun = time.perf_counter()
    jax.block_until_ready([one.state for one in run])
    return (time.perf_counter() - begun) / steps


if __name__ == "__main__":
    main()
