"""What nowcasting costs: a jump, its memory, and the steps between jumps; side by side, in one run.

The peer of a jump is the published way: for each layer, a NumPy array of its five snapshots in
float64, normalised, and put through ``model.predict`` of Keras in batches of 100,000 (here with its
JAX back end, the fastest). The peer of a step is the inner optimizer alone: in a training step, and
without any training around it, where nothing hides what the wrapper costs.
"""

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)  # not this folder: its nowcast.py

from collect.commands.memory import large_pages

if __name__ == "__main__":
    large_pages()

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import numpy as np
import optax

import nowcast
from collect.commands.output import print_anything
from collect.config import DataConfig, ModelConfig
from collect.population import make_task
from collect.training import optimizers
from collect.training.loop import Loop
from nowcast.forecasters import WNN, wnn
from nowcast.types import PyTree
from scripts.bench.keras_wnn import keras_network
from scripts.bench.population import spread

WIDTHS = (784, 2048, 2048, 1024, 10)
"""Of the layers of a network of so many million parameters: 7.9; and one convolution of 2.4."""
PREDICT_BATCH = 100_000


def parameters() -> PyTree:
    """About ten million parameters, of a convolution and of fully connected layers, normally
    distributed.
    """
    rng = np.random.default_rng(0)
    shapes = {f"fc{i}": (a, b) for i, (a, b) in enumerate(itertools.pairwise(WIDTHS))} | {
        "conv": (3, 3, 512, 512)
    }
    return {
        name: {
            "kernel": rng.standard_normal(shape, np.float32) * 0.02,
            "bias": np.zeros(shape[-1], np.float32),
        }
        for name, shape in shapes.items()
    }


def forecaster() -> WNN:
    """A WNN that is not trained, which costs as much."""
    keys = zip(("conv", "fc", "bias"), jax.random.split(jax.random.key(0), 3), strict=True)
    return WNN(params={name: wnn.init_network(key) for name, key in keys})


def published(history: PyTree) -> Callable[[], PyTree]:
    """A jump in the published way, from its own kind of history: float64, the snapshots along the
    last axis.
    """
    networks = {rank: keras_network(5, 1) for rank in (1, 2, 4)}
    leaves, treedef = jax.tree.flatten(
        jax.tree.map(lambda leaf: np.moveaxis(leaf, 0, -1).astype(np.float64), history)
    )

    def one(leaf: np.ndarray) -> np.ndarray:
        windows = leaf.reshape(-1, leaf.shape[-1])
        begin = np.tile(windows[:, :1], (1, windows.shape[1]))
        moved = windows - begin
        spread = moved.max(axis=1, keepdims=True) - moved.min(axis=1, keepdims=True) + 1e-8
        unit = np.tile(spread, (1, windows.shape[1])) + 1e-5
        inputs = moved / unit / 2
        increment = networks[leaf.ndim - 1].predict(inputs, batch_size=PREDICT_BATCH, verbose=0)[
            :, 0
        ]
        return ((inputs[:, -1] + increment) * unit[:, 0] * 2 + begin[:, 0]).reshape(leaf.shape[:-1])

    return lambda: jax.tree.unflatten(
        treedef, [jnp.asarray(one(leaf), jnp.float32) for leaf in leaves]
    )


def total(compiled: Any) -> int:
    """Bytes that a program needs: what goes in, comes out and lies in between."""
    used = compiled.memory_analysis()
    return (
        used.temp_size_in_bytes
        + used.argument_size_in_bytes
        + used.output_size_in_bytes
        - used.alias_size_in_bytes
    )


def timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - begun


def jump(name: str, forecaster: Any, rounds: int) -> None:
    params = parameters()
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    rng = np.random.default_rng(1)
    snapshots = jax.tree.map(
        lambda p: np.stack(
            [p + 0.01 * i * rng.standard_normal(p.shape, np.float32) for i in range(5)]
        ),
        params,
    )
    tx = nowcast.periodic(optax.sgd(0.0), forecaster, every=1, min_drift=None)
    put = jax.tree.map(jnp.asarray, params)
    step = jax.jit(
        lambda p, s: (lambda u, s: (optax.apply_updates(p, u), s))(*tx.update(p, s, p)),
        donate_argnums=(0, 1),
    )
    state = tx.init(put)
    without_jumps = (
        jax.jit(lambda p: jax.tree.map(lambda x: x - 0.0 * x, p), donate_argnums=0)
        .lower(put)
        .compile()
    )
    used = total(step.lower(put, state).compile()) - total(without_jumps)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(state.history))
    size = 4 * count
    for i in range(5):  # compiled, and at the first jump
        put, state = step(jax.tree.map(lambda s, i=i: jnp.asarray(s[i]), snapshots), state)
    compiled, ours, theirs, peer = step._cache_size(), [], [], published(snapshots)
    peer()
    for _ in range(rounds):
        for i in range(4):
            put, state = step(jax.tree.map(lambda s, i=i: jnp.asarray(s[i]), snapshots), state)
        last = jax.block_until_ready(jax.tree.map(lambda s: jnp.asarray(s[4]), snapshots))

        def work(state: Any = state, last: Any = last) -> Any:
            nonlocal put
            put, after = step(last, state)
            return put, after

        begun = time.perf_counter()
        put, state = jax.block_until_ready(work())
        ours.append(time.perf_counter() - begun)
        theirs.append(timed(peer))
    ratio = spread([b / a for a, b in zip(ours, theirs, strict=True)], ".1f")
    print(
        f"\nA jump of {name}, {count / 1e6:.1f} M parameters, a step of SGD with it:"
        f" {median(ours):.3f} s;"
        f" published way {median(theirs):.2f} s: {ratio}× (goal: 10×)"
    )
    print(
        f"Memory beside the parameters: history {held / size:.2f}×, while it jumps"
        f" {used / size:.2f}× in all (goal: 6×)"
    )
    print(
        f"Compiled programs after {rounds + 1} jumps: {step._cache_size()} (at the first jump:"
        f" {compiled})"
    )


def steps(rounds: int, number: int) -> None:
    print(
        "\nA step that does not jump, over the same step with the inner optimizer alone (goal:"
        " 1.01)"
    )
    adam, wrapped = optax.adam(1e-3), nowcast.periodic(optax.adam(1e-3), forecaster(), every=10**6)
    for name, model, data, batch in (
        (
            "vanilla_cnn, 28×28 digits, batch 128",
            ModelConfig("vanilla_cnn"),
            DataConfig("digits"),
            128,
        ),
        ("resnet20, digits, batch 128", ModelConfig("resnet", depth=20), DataConfig("digits"), 128),
    ):
        task = make_task(model, data, batch)
        inner = optimizers.make("adam")
        wrappers = {
            "periodic": nowcast.periodic(inner, forecaster(), every=10**6, labels=task.labels),
            "auto_rate": nowcast.auto_rate(inner, every=10**6),
            "auto_rate with its looks": nowcast.auto_rate(inner, every=20),
        }
        loops = [Loop(task, tx) for tx in (inner, *wrappers.values())]
        rates = np.full(10**6, 1e-3, np.float32)
        runs = [iter(loop.run(0, rates, record_every=number)) for loop in loops]
        for run in runs:
            next(run), next(run)
        times = [[timed(lambda run=run: next(run).state) for run in runs] for _ in range(rounds)]
        for place, wrapper in enumerate(wrappers, start=1):
            report(f"{name}, {wrapper}", [[t[0], t[place]] for t in times])
    params = jax.tree.map(jnp.asarray, parameters())
    images = jnp.asarray(np.random.default_rng(0).standard_normal((512, WIDTHS[0]), np.float32))

    def loss(params: PyTree) -> jax.Array:
        x = images
        for i in range(len(WIDTHS) - 1):
            x = jnp.tanh(x @ params[f"fc{i}"]["kernel"] + params[f"fc{i}"]["bias"])
        return jnp.mean(x**2) + 0 * jnp.sum(params["conv"]["kernel"][0, 0, 0, :3])

    state = jax.eval_shape(nowcast.auto_rate(optax.identity()).init, params)
    held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    print(
        "auto_rate's state beside 10 M parameters:"
        f" {held / sum(p.nbytes for p in jax.tree.leaves(params)):.2%} of them (goal: 1 %)"
    )
    plain = nowcast.Jumps(forecaster=forecaster(), every=10**6)
    for name, gradient in (
        (
            (
                f"MLP of {sum(p.size for p in jax.tree.leaves(params)) / 1e6:.0f} M parameters,"
                " batch 512"
            ),
            jax.grad(loss),
        ),
        (
            "no training: the optimizer of those parameters by itself",
            lambda p: jax.tree.map(lambda x: 0.01 * x, p),
        ),
    ):
        sides = [side(tx, gradient, params) for tx in (adam, wrapped)]
        report(f"{name}, periodic", [[timed(work) for work in sides] for _ in range(rounds)])
        sides = [side(tx, gradient, params) for tx in (adam, nowcast.auto_rate(adam, every=10**6))]
        report(f"{name}, auto_rate", [[timed(work) for work in sides] for _ in range(rounds)])
        sides = [side(adam, gradient, params), side(adam, gradient, params, plain)]
        report(f"{name}, Jumps", [[timed(work) for work in sides] for _ in range(rounds)])


def side(
    tx: Any,
    gradient: Callable[[PyTree], PyTree],
    params: PyTree,
    jumps: nowcast.Jumps | None = None,
) -> Callable[[], Any]:
    params = jax.tree.map(jnp.copy, params)
    state = (tx.init(params), jumps and jumps.init(params))

    def step(params: PyTree, state: Any) -> Any:
        updates, inner = tx.update(gradient(params), state[0], params)
        params, after = optax.apply_updates(params, updates), state[1]
        if jumps:
            params, after = jumps.step(params, after)
        return params, (inner, after)

    jitted = jax.jit(step, donate_argnums=(0, 1))

    def work() -> Any:
        nonlocal params, state
        params, state = jitted(params, state)
        return params, state

    jax.block_until_ready(work())
    return work


def report(name: str, times: Sequence[Sequence[float]]) -> None:
    print(
        f"{name:>72}: {median(t[0] for t in times) * 1e3:7.1f} ms alone, ratio"
        f" {spread([b / a for a, b in times], '.3f')}",
        flush=True,
    )


def main() -> None:
    print_anything()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=15,
        help="rounds of each comparison; ratios are medians [least, greatest] (15)",
    )
    parser.add_argument("--jumps", type=int, default=3, help="jumps of each forecaster (3)")
    parser.add_argument("--steps", type=int, default=20, help="training steps a round (20)")
    asked = parser.parse_args()
    for name, each in (("wnn", forecaster()), ("gram", nowcast.load("gram"))):
        jump(name, each, asked.jumps)
    steps(asked.rounds, asked.steps)


if __name__ == "__main__":
    main()
