"""A jump of NiNo and of WNN+ beside the authors' PyTorch program, on the same snapshots.

    git clone https://github.com/SamsungSAILMontreal/nino
    pip install torch torch_geometric
    python scripts/bench/nino.py --nino nino

Ours is ``nowcast.forecast`` of the whole network, compiled. Theirs is the step of their optimizer
at which it forecasts. Both read the same file of weights, and their forecasts are compared. Their
program imports torchvision and transformers only to know networks of these by their class; here
empty stand-ins take their place.
"""

import argparse
import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)  # not this folder

import jax
import jax.numpy as jnp
import numpy as np

import nowcast
from collect.commands.output import print_anything
from nowcast.types import PyTree
from scripts.bench.nowcast import timed
from scripts.bench.population import spread

NETWORKS: dict[str, tuple[tuple[int, ...], ...]] = {
    "conv": ((3, 3, 3, 512), *((3, 3, 512, 512),) * 4, (512, 1000)),
    "mlp": ((784, 2400), (2400, 2400), (2400, 1000), (1000, 10)),
}
"""The kernels of two networks of some ten million parameters. In the first an edge of the neuron
graph has nine weights, in the second one.
"""
FILES = {"NiNo": ("nino_no_posw.pt", 2.0), "WNN+": ("nino_mlp.pt", 1.0)}
"""The authors' file, and the goal: our time over theirs."""
HORIZON = 20
WINDOW = 5


def parameters(network: str) -> PyTree:
    """Kernels and biases by layer, in the order in which they are applied."""
    rng, layers = np.random.default_rng(0), {}
    for number, shape in enumerate(NETWORKS[network]):
        kernel = rng.standard_normal(shape, np.float32) * np.prod(shape[:-1]) ** -0.5
        layers[f"layer{number}"] = {"kernel": kernel, "bias": np.zeros(shape[-1], np.float32)}
    return layers


def snapshots(params: PyTree) -> PyTree:
    """A window of a run that goes on in one direction, with noise."""
    rng = np.random.default_rng(1)

    def window(leaf: np.ndarray) -> np.ndarray:
        way = rng.standard_normal(leaf.shape, np.float32) * 0.01
        noise = rng.standard_normal((WINDOW, *leaf.shape), np.float32) * 0.005
        return np.stack([leaf + number * way for number in range(WINDOW)]) + noise

    return jax.tree.map(window, params)


def in_torch(leaf: np.ndarray) -> np.ndarray:
    """Outputs first, as PyTorch has them."""
    return np.ascontiguousarray(np.moveaxis(leaf, (-1, -2), (0, 1)) if leaf.ndim > 1 else leaf)


def flat(params: PyTree) -> np.ndarray:
    """All parameters one after another, as PyTorch has them."""
    leaves = [layer[part] for layer in params.values() for part in ("kernel", "bias")]
    return np.concatenate([in_torch(np.asarray(leaf)).ravel() for leaf in leaves])


class Nothing(type):
    """A class all of whose attributes are such classes again: the stand-in for a library."""

    def __getattr__(cls, name: str) -> "Nothing":
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing(name, (), {})


class Theirs:
    """The authors' optimizer, at the step at which it forecasts.

    Args:
        folder: A clone of their repository.
        file: The weights of their network.
        history: The window of each kernel and bias.
    """

    def __init__(self, folder: Path, file: Path, history: PyTree):
        import torch

        sys.path.insert(0, str(folder))
        modules: dict[str, Any] = sys.modules  # type: ignore[assignment]
        for library in ("torchvision", "transformers"):
            modules[library] = Nothing(library, (), {})
        with contextlib.redirect_stdout(io.StringIO()):
            from optim import NiNo  # theirs
        model = torch.nn.Module()
        for name, layer in history.items():
            own = torch.nn.Module()
            for theirs, ours in (("weight", "kernel"), ("bias", "bias")):
                values = torch.from_numpy(in_torch(layer[ours][-1]))
                own.register_parameter(theirs, torch.nn.Parameter(values))
            model.add_module(name, own)
        with contextlib.redirect_stdout(io.StringIO()):
            inner = torch.optim.SGD(model.parameters(), lr=0.0)
            self.optimizer = NiNo(inner, model, str(file), WINDOW, verbose=0)
        self.torch, self.model = torch, model
        self.states = [
            torch.from_numpy(flat(jax.tree.map(lambda window, n=number: window[n], history)))
            for number in range(WINDOW)
        ]

    def prepare(self) -> None:
        """Put the run's last snapshot back, and those before it."""
        place = 0
        for parameter in self.model.parameters():
            values = self.states[-1][place : place + parameter.numel()]
            parameter.data = values.view_as(parameter).clone()
            place += parameter.numel()
        self.optimizer.states = [state.clone() for state in self.states[:-1]]

    def jump(self) -> np.ndarray:
        """All parameters after the forecast, one after another."""
        with contextlib.redirect_stdout(io.StringIO()):
            self.optimizer.step(k=HORIZON)
        return self.torch.cat([p.data.reshape(-1) for p in self.model.parameters()]).numpy()


def compare(name: str, folder: Path, network: str, rounds: int) -> None:
    """Print both times, their ratio, and how far the forecasts differ."""
    file, goal = folder / "checkpoints" / FILES[name][0], FILES[name][1]
    history = snapshots(parameters(network))
    count = sum(leaf[0].size for leaf in jax.tree.leaves(history))
    forecaster, ours = nowcast.import_published_nino(file), jax.tree.map(jnp.asarray, history)
    jump: Callable[[PyTree], PyTree] = jax.jit(
        lambda window: nowcast.forecast(forecaster, window, horizon=HORIZON)
    )
    theirs = Theirs(folder, file, history)
    theirs.prepare()
    last, expected = theirs.states[-1].numpy(), theirs.jump()
    apart = np.linalg.norm(flat(jump(ours)) - expected)
    moved = np.linalg.norm(expected - last)
    pairs = []
    for _ in range(rounds):
        theirs.prepare()
        pairs.append((timed(lambda: jump(ours)), timed(theirs.jump)))
    ratio = spread([a / b for a, b in pairs], ".2f")
    print(
        f"{name}, {network}, {count / 1e6:.1f} M parameters: ours {median(a for a, _ in pairs):.2f}"
        f" s, the authors' {median(b for _, b in pairs):.2f} s, ours / theirs {ratio} (goal:"
        f" {goal:g}); the forecasts differ by {apart / moved:.1e} of their way",
        flush=True,
    )


def main() -> None:
    print_anything()
    parser: Any = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nino", type=Path, required=True, help="a clone of the authors' program")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of jumps (3)")
    parser.add_argument("--forecasters", nargs="+", choices=FILES, default=list(FILES))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["conv"])
    asked = parser.parse_args()
    for network in asked.networks:
        for name in asked.forecasters:
            compare(name, asked.nino.resolve(), network, asked.rounds)


if __name__ == "__main__":
    main()
