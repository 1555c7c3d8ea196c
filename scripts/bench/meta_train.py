"""How fast forecasters are fitted, what streaming costs, and whether memory grows with the corpus:
side by side, in one run.

The peer of a fit is ``model.fit`` of Keras 3, one network at a time, with every back end that is
installed, each in a process of its own that sleeps while others are timed. It gets the same windows
in memory, normalised beforehand, and a constant learning rate; once as ``fit`` comes, and once with
64 steps an execution. Corpora and windows are made up: random walks.
"""

import argparse
import importlib.util
import io
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from functools import partial
from itertools import repeat
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from unittest.mock import patch

sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)  # not this folder

from collect.commands.memory import large_pages

if __name__ == "__main__":
    large_pages()

import jax
import numpy as np

from collect import corpus
from collect.commands.output import print_anything
from collect.corpus.leaf import describe_leaves, scalars
from collect.corpus.recorder import Recorder
from meta_train import fitting, loader, objective, trainer
from meta_train.config import MetaTrainConfig
from meta_train.data import WATCHED
from meta_train.windows import Windows
from scripts.bench.keras_wnn import keras_fit, rate
from scripts.bench.population import spread

Row = tuple[str, str, str, str, str]  # what, ours, peer, ratio, goal
NETWORKS = ("bias", "conv", "fc")
OURS = f"ours, {len(NETWORKS)} networks at once"
PEERS = (("jax", 1), ("jax", 64), ("torch", 1), ("tensorflow", 1), ("tensorflow", 64))
"""Back ends of Keras, and steps an execution: one where nothing is said; PyTorch's takes no more.
"""
PEERS_TOO = {  # the device is shared, and TensorFlow silent
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
WIDTHS, SNAPSHOTS = (48, 64, 80), 30  # of the made-up runs: one width a task
MORE = 4  # times as many runs in the large corpus
# Of the fits whose memory is looked at: more pools than are held at a time.
SMALL_BATCH, SMALL_STEPS = (
    64,
    12_000,
)


def row(what: str, ours: Sequence[float], peer: Sequence[float], goal: str) -> Row:
    ratio = spread([a / b for a, b in zip(ours, peer, strict=True)])
    return what, f"{median(ours):,.0f}", f"{median(peer):,.0f}", ratio, goal


def our_fit(batch: int) -> tuple[Callable[[float], float], tuple[np.ndarray, ...]]:
    """Windows/s of all networks together, given seconds: a fit's compiled steps on a pool that
    stays in memory.

    Also: the examples that one of its networks is fitted to.
    """
    config = MetaTrainConfig("-", "-", batch_size=batch)
    kind, rule, settings = config.kind, config.rule, config.settings
    shape = (loader.DEPTH, len(NETWORKS), loader.SLOTS, settings.handful, len(rule.offsets))
    walks = np.random.default_rng(0).standard_normal(shape, np.float32).cumsum(axis=-1)
    split, everywhere = loader.sharding(), loader.everywhere()
    fresh = trainer.start(kind, NETWORKS, rule.window, rule.horizon, settings)
    advance = jax.jit(trainer._advance(kind, rule.window, settings), out_shardings=everywhere)
    state = jax.device_put((fresh.params, fresh.optimizer), everywhere)
    pool = tuple(jax.device_put(part, split) for part in walks)

    def work() -> int:
        nonlocal state
        *state, _, bad = advance(*state, pool, 0, settings.pool_steps)
        assert int(bad) < 0, "the loss is not finite"
        return settings.pool_steps * batch * len(NETWORKS)

    rate(work, 1)  # compiles
    examples = objective.examples(kind, walks[:, 0].reshape(-1, shape[-1]), rule.window)
    return partial(rate, work), tuple(map(np.asarray, examples))


def speed(args: argparse.Namespace) -> list[Row]:
    ours, examples = our_fit(args.batch)
    sides = {OURS: ours}
    for backend, steps in PEERS:
        if importlib.util.find_spec(backend):
            sides[f"keras/{backend}{f', {steps} steps an execution' * (steps > 1)}"] = keras_fit(
                backend, steps, examples, args.batch
            )
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(args.rounds):
        for name, side in sides.items():
            time.sleep(0.5)  # until the others' threads sleep
            rates[name].append(side(args.seconds))
    print(f"\nWindows/s of fitting WNN, batch {args.batch} per network: medians [least, greatest]")
    for name, each in rates.items():
        print(f"{name:>40} {spread(each, ',.0f'):>34}", flush=True)
    (_, mine), *others = sorted(
        rates.items(), key=lambda item: (item[1] is not rates[OURS], -median(item[1]))
    )
    plain = next(item for item in others if "," not in item[0])
    return [
        row(f"windows/s of a fit; {name}", mine, theirs, "≥ 5")
        for name, theirs in dict([plain, others[0]]).items()
    ]


def streaming(args: argparse.Namespace) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        record(Path(folder), args.runs)
        config = MetaTrainConfig(folder, "-", batch_size=args.batch)
        kind, rule, settings = config.kind, config.rule, config.settings._replace(patience=10**6)
        source = Windows(corpus.open(folder).runs, config.networks, rule, config.sampling)
        held_out = {network: source.handful(network, WATCHED, (1,)) for network in NETWORKS}
        drawn = {"size": settings.handful, "seed": settings.seed}
        pool, real = next(loader.pools(source, NETWORKS, **drawn)), loader.pools
        steps = settings.pool_steps

        def rate(pools: Callable[..., Iterator[loader.Pool]]) -> float:
            start = trainer.start(kind, NETWORKS, rule.window, rule.horizon, settings)
            with patch.object(loader, "pools", pools):
                fit = trainer.fit(kind, NETWORKS, source, held_out, settings, start)
                next(progress for progress in fit if progress.step >= steps)  # compiles
                begun = time.perf_counter()
                end = next(
                    progress for progress in fit if progress.step >= (1 + args.pools) * steps
                )
                passed = time.perf_counter() - begun
                fit.close()  # waits for the part that is being made
            return (end.step - steps) * args.batch * len(NETWORKS) / passed

        rates = [(rate(real), rate(lambda *_, **__: repeat(pool))) for _ in range(args.rounds)]
    return [row("windows/s, streamed; in memory", *zip(*rates, strict=True), "≥ 0.90")]


def memory(args: argparse.Namespace) -> list[Row]:
    context, counts = multiprocessing.get_context("spawn"), (args.runs, MORE * args.runs)
    peaks: list[list[float]] = []
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / str(count) for count in counts]
        print(f"\nPeak memory of a meta-training of {SMALL_STEPS} steps, batch {SMALL_BATCH}")
        sizes = [record(place, count) for place, count in zip(places, counts, strict=True)]
        for number in range(args.rounds):
            peaks.append([])
            for place in places:
                receive, send = context.Pipe(duplex=False)
                context.Process(
                    target=peak_memory, args=(send, str(place), f"{place}-bundle-{number}")
                ).start()
                send.close()
                peaks[-1].append(receive.recv())
    for count, (stored, decoded), each in zip(counts, sizes, zip(*peaks, strict=True), strict=True):
        size = f"{stored / 2**20:,.0f} MiB on disk, {decoded / 2**20:,.0f} MiB decoded"
        print(f"{count:>4} runs, {size}: {spread(each, ',.0f')} MiB")
    less, more = zip(*peaks, strict=True)
    return [row(f"peak MiB, corpus {MORE} times as large; it", more, less, "≤ 1.05")]


def peak_memory(pipe: Connection, folder: str, bundle: str) -> None:
    with redirect_stderr(io.StringIO()):  # its bar
        settings = {"steps": SMALL_STEPS, "batch_size": SMALL_BATCH, "patience": SMALL_STEPS}
        fitting.meta_train(MetaTrainConfig(folder, bundle, **settings))
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    pipe.send(int(status.split("VmHWM:")[1].split()[0]) / 2**10)


def record(folder: Path, runs: int) -> tuple[int, int]:
    """Make up a corpus; its bytes on disk and decoded."""
    rng, decoded = np.random.default_rng(0), 0
    for run in range(runs):
        width = WIDTHS[run % len(WIDTHS)]
        shapes = {
            "conv1": (3, 3, width, width),
            "conv2": (3, 3, width, 2 * width),
            "fc": (32 * width, 128),
        }
        layers = {name: {"kernel": shape, "bias": shape[-1:]} for name, shape in shapes.items()}
        params = {
            name: {
                kind: 0.1 * rng.standard_normal(shape, np.float32) for kind, shape in layer.items()
            }
            for name, layer in layers.items()
        }
        labels = {name: {"kernel": name.rstrip("12"), "bias": "bias"} for name in layers}
        config, leaves = (
            {"task": f"made{width}-up", "seed": run, "record_every": 1},
            describe_leaves(params, labels),
        )
        with Recorder(
            folder, str(run), config=config, leaves=leaves, snapshots=SNAPSHOTS
        ) as recorder:
            for step in range(SNAPSHOTS):
                metrics = {"step": step, "train_loss": 0.0}
                recorder.append(step, params, metrics, {"step": np.zeros(1)}, checkpoint=False)
                params = jax.tree.map(
                    lambda w: w + 0.01 * rng.standard_normal(w.shape, np.float32), params
                )
            recorder.finish("complete")
        decoded += 4 * SNAPSHOTS * scalars(leaves)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()), decoded


def main() -> None:
    print_anything()
    parts = {"speed": speed, "loader": streaming, "memory": memory}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--parts", nargs="+", choices=parts, default=list(parts), help="what to measure (all)"
    )
    parser.add_argument(
        "--batch", type=int, default=1024, help="windows a step and network (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of all sides in turns (%(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=5, help="a side and round, for speed (%(default)s)"
    )
    parser.add_argument(
        "--pools", type=int, default=3, help="timed a side and round, for loader (%(default)s)"
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=12,
        help=f"of the corpus; {MORE}× as many for memory (%(default)s)",
    )
    args = parser.parse_args()
    if min(args.batch, args.rounds, args.pools, args.seconds) <= 0 or args.runs < 2 * len(WIDTHS):
        parser.error(f"--runs must be at least {2 * len(WIDTHS)}, all others above 0")
    if "speed" in args.parts and not all(map(importlib.util.find_spec, ("keras", "torch"))):
        print("Keras or PyTorch, the peer, is missing: pip install -e '.[bench]'", file=sys.stderr)
        sys.exit(2)
    os.environ |= PEERS_TOO
    kinds = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    load = os.getloadavg()[0]
    print(
        f"{jax.device_count()} × {jax.default_backend()} ({kinds}), {os.cpu_count()} CPU cores,"
        f" load {load:.1f}"
    )
    rows = [
        ("", "ours", "peer", "ratio", "goal"),
        *(line for part in args.parts for line in parts[part](args)),
    ]
    print()
    for what, ours, peer, ratio, goal in rows:
        print(f"{what:>58} {ours:>10} {peer:>10} {ratio:>18} {goal:>6}")


if __name__ == "__main__":
    main()
