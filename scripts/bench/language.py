"""How fast language models train beside an ordinary PyTorch loop (eager, Adam, float32, its default
threads, one run after another).
"""

import argparse
from statistics import median
from typing import Any

import jax
import numpy as np

from collect.data.tokens import Tokens
from collect.tasks import Language
from collect.training import optimizers
from collect.training.loop import Loop
from scripts.bench.population import RATE, Population, eager_seconds, spread

BATCH = 64
VOCABULARY, TOKENS = 65, 200_000  # characters, as many as tiny_shakespeare's
SIZES: dict[str, tuple[dict[str, int], int]] = {  # of the model, and steps a round
    "gpt": ({"layers": 2, "heads": 4, "width": 64, "context": 64}, 20),
    "gpt_larger": ({"layers": 4, "heads": 4, "width": 128, "context": 128}, 3),
}
GOAL = 1.0


def language(args: argparse.Namespace) -> None:
    """Both on made-up tokens in memory, in turns."""
    print(
        f"\nTokens/s of training {args.runs} runs, batch {BATCH}; ratios are medians [least,"
        f" greatest] of {args.rounds}"
    )
    print(
        f"{'model':>14} {'way':>9} {'ours':>9} {'PyTorch':>9} {'ratio':>18} {'goal':>5}", flush=True
    )
    numbers = np.random.default_rng(0).integers(0, VOCABULARY, TOKENS).astype(np.int32)
    text = Tokens("made-up", VOCABULARY, {"train": numbers, "validation": numbers}, str)
    for name, (sizes, usual) in SIZES.items():
        steps = args.steps or usual
        ours = Population(
            Loop(Language(text, batch_size=BATCH, **sizes), optimizers.make("adam")),
            args.runs,
            args.way,
        )
        peer = None if args.without_pytorch else Peer(numbers, sizes, ours)
        ours.seconds(1)
        times = [
            (ours.seconds(steps), peer.seconds(steps) if peer else float("nan"))
            for _ in range(args.rounds)
        ]
        tokens = steps * args.runs * BATCH * sizes["context"]
        mine, theirs = (tokens / median(t) for t in zip(*times, strict=True))
        ratio = spread([b / a for a, b in times])
        print(
            f"{name:>14} {ours.way:>9} {mine:>9.0f} {theirs:>9.0f} {ratio:>18} {GOAL:>4}×",
            flush=True,
        )


class Peer:
    """The same runs in PyTorch."""

    def __init__(self, numbers: np.ndarray, sizes: dict[str, int], ours: Population):
        import torch

        from scripts.bench.torch_gpt import GPT

        self.torch, self.make, self.runs = torch, lambda: GPT(VOCABULARY, **sizes), len(ours.seeds)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.numbers = torch.from_numpy(numbers).long().to(self.device)
        self.window = torch.arange(sizes["context"] + 1, device=self.device)
        count = sum(leaf.size for leaf in jax.tree.leaves(ours.starts[0].params))
        assert count == sum(p.numel() for p in self.make().parameters()), (
            "another number of parameters"
        )
        self._train(1)

    def seconds(self, steps: int) -> float:
        """Of training all runs by so many steps."""
        return sum(self._train(steps) for _ in range(self.runs))

    def _train(self, steps: int) -> float:
        torch, net = self.torch, self.make().to(self.device).train()
        context = len(self.window) - 1
        order = context * torch.randperm((len(self.numbers) - 1) // context, device=self.device)

        def loss(step: int) -> Any:
            at = step * BATCH % (len(order) - BATCH)
            windows = self.numbers[order[at : at + BATCH, None] + self.window]
            logits: Any = net(windows[:, :-1])
            return torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())

        return eager_seconds(torch.optim.Adam(net.parameters(), lr=RATE), loss, steps)
