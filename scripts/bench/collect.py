"""How fast a population trains, what recording and streaming cost, and whether memory grows: side
by side, in one run.

The peer is an ordinary PyTorch loop (eager, Adam, float32, its default threads, one run after
another) over the same architectures, in whichever memory format it is faster; with ``--compiled``
also one whose network went through ``torch.compile``. Images are made up: uint8, 32×32, in memory
on both sides; so are the tokens of language models.
"""

import argparse
import importlib.util
import os
import sys
import time
from pathlib import Path
from statistics import median

sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)  # not this folder

from collect.commands.memory import large_pages

if __name__ == "__main__":
    large_pages()

import jax
import jax.numpy as jnp
import numpy as np

from collect.commands.output import print_anything
from collect.config import DataConfig, ModelConfig
from collect.data import Dataset
from collect.population import make_task
from collect.tasks import Classification
from collect.training import optimizers
from collect.training.loop import Loop
from scripts.bench.control import control
from scripts.bench.language import language
from scripts.bench.population import RATE, Population, spread
from scripts.bench.recording import EPOCH, recording
from scripts.bench.torch_peer import Peer

MODELS = {  # channels of the images, steps a round, how many times as fast as PyTorch we want to be
    "lenet": (1, 200, 2.0),
    "vanilla_cnn": (3, 100, 2.0),
    "resnet20": (3, 8, 1.0),
    "vgg11": (3, 3, 1.0),
    "mobilenet_v2": (3, 3, 1.0),
    "shufflenet_v2": (3, 6, 1.0),
    "densenet": (3, 1, 1.0),
}
OURS = {"resnet20": ("resnet", 20), "vgg11": ("vgg", 11)}
"""Architectures whose depth is part of their name here."""
PARTS = {
    "speed": lambda args: speed(args),
    "language": language,
    "control": control,
    "recording": lambda args: recording(args, make_loop, "weights", goal=5),
    "gram": lambda args: recording(args, make_loop, "gram", goal=10),
    "memory": lambda args: memory(args),
    "streaming": lambda args: streaming(args),
}
STREAMED = 0.9
"""How fast streamed images train, of those in memory, at least."""
SIZE, CLASSES = 32, 10


def made_up(channels: int, examples: int) -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (examples, SIZE, SIZE, channels), np.uint8)
    labels = rng.integers(0, CLASSES, examples).astype(np.int32)
    return Dataset("made-up", CLASSES, {"train": images}, {"train": labels})


def make_loop(model: str, batch: int) -> Loop:
    name, depth = OURS.get(model, (model, None))
    sizes = {} if depth is None else {"depth": depth}
    task = Classification(name, made_up(MODELS[model][0], EPOCH * batch), batch_size=batch, **sizes)
    return Loop(task, optimizers.make("adam"))


def device_share(population: Population, steps: int) -> float:
    """An estimate: the time of steps whose inputs lie ready on the device and which are queued at
    once / the loop's.
    """
    loop, seeds = population.loop, population.seeds
    wall = population.seconds(steps)
    rates = np.full((len(seeds), steps), RATE, np.float32)
    inputs = [loop._inputs(seed, rates[seed]) for seed in seeds]
    if population.way == "together":
        state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *population.starts)
        work = [
            (
                loop.together.program,
                state,
                [
                    tuple(map(np.stack, zip(*(i(s) for i in inputs), strict=True)))
                    for s in range(steps)
                ],
            )
        ]
    else:
        work = [
            (loop.one_run.program, start, [i(s) for s in range(steps)])
            for start, i in zip(population.starts, inputs, strict=True)
        ]
    queued = 0.0
    for _ in range(2):  # the first may compile
        queued = 0.0
        for step, start, each in work:
            state, ready = jax.block_until_ready(
                (jax.tree.map(jnp.array, start), jax.device_put(each))
            )
            begun = time.perf_counter()
            for values in ready:
                state, _ = step(state, loop.task.arrays, *values)
            jax.block_until_ready(state)
            queued += time.perf_counter() - begun
    return min(1.0, queued / wall)


def speed(args: argparse.Namespace) -> None:
    accelerator = jax.default_backend() != "cpu"
    print(
        f"\nImages/s of training {args.runs} runs, batch {args.batch}; ratios are medians [least,"
        f" greatest] of {args.rounds} rounds"
    )
    columns = (
        f"{'model':>14} {'way':>9} {'ours':>9} {'PyTorch':>9} {'format':>13} {'ratio':>18}"
        f" {'goal':>5}"
    )
    columns += f" {'compiled':>9} {'ratio':>18}" if args.compiled else ""
    print(columns + (f" {'on device':>10}" if accelerator else ""), flush=True)
    for model in args.models:
        steps, goal = args.steps or MODELS[model][1], MODELS[model][2]
        loop = make_loop(model, args.batch)
        ours = Population(loop, args.runs, args.way)
        peer = None if args.without_pytorch else Peer(model, loop, args.runs, CLASSES)
        fast = Peer(model, loop, args.runs, CLASSES, compiled=True) if args.compiled else None
        ours.seconds(1)
        sides = [ours, *(each for each in (peer, fast) if each)]
        times = [[side.seconds(steps) for side in sides] for _ in range(args.rounds)]
        images = steps * args.runs * args.batch

        mine, _ = compared(times, 0, images)
        theirs, ratio = compared(times, 1, images) if peer else (float("nan"), "-")
        form = str(peer.format).removeprefix("torch.").removesuffix("_format") if peer else "-"
        compiled = "{:>9.0f} {:>18}".format(*compared(times, -1, images)) if fast else ""
        on_device = f" {device_share(ours, steps):>10.0%}" if accelerator else ""
        print(
            f"{model:>14} {ours.way:>9} {mine:>9.0f} {theirs:>9.0f} {form:>13} {ratio:>18}"
            f" {goal:>4}× {compiled}{on_device}",
            flush=True,
        )


def compared(times: list[list[float]], place: int, images: int) -> tuple[float, str]:
    """One side's images/s, and the speed of the first side over its."""
    own = images / median(each[place] for each in times)
    return own, spread([each[place] / each[0] for each in times])


def memory(args: argparse.Namespace) -> None:
    loop = Loop(
        Classification("lenet", made_up(1, 10 * args.batch), batch_size=args.batch, width=0.5),
        optimizers.make("adam"),
    )
    rates, at = np.full(40 * loop.task.steps_per_epoch, RATE, np.float32), {}
    for epoch, _ in enumerate(loop.run(0, rates)):
        at[epoch] = resident()
    print("\nResident memory of a narrow lenet, epochs of 10 steps")
    print(
        f"after epoch 2: {at[2]:.1f} MiB, 20: {at[20]:.1f}, 40: {at[40]:.1f}; growth from 2 to 40:"
        f" {at[40] - at[2]:.1f} MiB"
    )


def streaming(args: argparse.Namespace) -> None:
    """Prepared sets, MNIST for networks of one channel and CIFAR-10 for the others; both ways in
    turns.
    """
    print(
        f"\nImages/s of training {args.runs} runs, batch {args.batch}, on images that are streamed"
        " and on those in memory"
    )
    print(
        f"{'model':>14} {'data':>8} {'way':>9} {'streamed':>9} {'in memory':>9} {'ratio':>18}"
        f" {'goal':>5}",
        flush=True,
    )
    for model in args.streamed:
        name, depth = OURS.get(model, (model, None))
        data = "mnist" if MODELS[model][0] == 1 else "cifar10"
        streamed, held = (
            Population(
                Loop(
                    make_task(ModelConfig(name, depth=depth), own, args.batch),
                    optimizers.make("adam"),
                ),
                args.runs,
                args.way,
            )
            for own in (DataConfig(data, in_memory=0.0), DataConfig(data))
        )
        steps = args.steps or MODELS[model][1]
        for population in (streamed, held):
            population.seconds(1)
        times = [(streamed.seconds(steps), held.seconds(steps)) for _ in range(args.rounds)]
        images = steps * args.runs * args.batch
        mine, theirs = (images / median(t) for t in zip(*times, strict=True))
        ratio = spread([b / a for a, b in times])
        print(
            f"{model:>14} {data:>8} {held.way:>9} {mine:>9.0f} {theirs:>9.0f} {ratio:>18}"
            f" {STREAMED:>4}×",
            flush=True,
        )


def resident() -> float:
    """MiB."""
    return (
        int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        * os.sysconf("SC_PAGE_SIZE")
        / 2**20
    )


def main() -> None:
    print_anything()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure (all)"
    )
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, default=list(MODELS), help="architectures (all)"
    )
    parser.add_argument(
        "--batch",
        type=int,
        default=128,
        help="images a step; language models read 64 windows (%(default)s)",
    )
    parser.add_argument(
        "--steps", type=int, help="steps a run and round (200 for lenet down to 1 for densenet)"
    )
    parser.add_argument(
        "--runs", type=int, default=2, help="members of the population (%(default)s)"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="ours and PyTorch's in turns (%(default)s)"
    )
    parser.add_argument(
        "--way",
        choices=("measure", "together", "apart"),
        default="measure",
        help=(
            "runs as one program or one per thread; both are tried, as in collecting, when left out"
        ),
    )
    parser.add_argument(
        "--compiled", action="store_true", help="a second peer, through torch.compile"
    )
    parser.add_argument(
        "--recorded",
        nargs="+",
        choices=MODELS,
        default=["lenet"],
        help="for recording and gram (lenet)",
    )
    parser.add_argument(
        "--streamed",
        nargs="+",
        choices=MODELS,
        default=["lenet", "resnet20"],
        help="for streaming (lenet, resnet20)",
    )
    parser.add_argument(
        "--epochs",
        type=int,
        default=10,
        help=f"of {EPOCH} steps, for recording and gram (%(default)s)",
    )
    parser.add_argument("--without-pytorch", action="store_true", help="time only ours")
    args = parser.parse_args()
    if min(args.batch, args.runs, args.rounds, args.epochs, args.steps or 1) < 1:
        parser.error("--batch, --steps, --runs, --rounds and --epochs must be at least 1")
    if (
        {"speed", "language"} & {*args.parts}
        and not args.without_pytorch
        and importlib.util.find_spec("torch") is None
    ):
        print(
            "PyTorch, the peer, is missing: pip install -e '.[bench]' (or give --without-pytorch)",
            file=sys.stderr,
        )
        sys.exit(2)
    kinds = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    load = os.getloadavg()[0]
    print(
        f"{jax.device_count()} × {jax.default_backend()} ({kinds}), {os.cpu_count()} CPU cores,"
        f" load {load:.1f} at the start"
    )
    for part in args.parts:
        PARTS[part](args)


if __name__ == "__main__":
    main()
