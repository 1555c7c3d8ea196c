"""Networks of images in an ordinary PyTorch loop: the peer of our populations."""

from functools import partial
from typing import Any

import jax
import numpy as np

from collect.training.loop import Loop
from scripts.bench.population import RATE, eager_seconds


class Peer:
    """The same runs in PyTorch, in whichever memory format is faster.

    ``compiled``: the network goes through ``torch.compile``, which needs a C++ compiler on a CPU.
    """

    def __init__(self, model: str, loop: Loop, runs: int, classes: int, *, compiled: bool = False):
        import torch

        from scripts.bench.torch_models import MODELS as PEERS

        self.batch, self.runs, self.torch = loop.task.batch_size, runs, torch
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        images, labels = map(np.array, loop.task.arrays)
        self.images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(self.device)
        self.labels = torch.from_numpy(labels).long().to(self.device)
        self.make = partial(PEERS[model], images.shape[-1], classes)
        count = sum(leaf.size for leaf in jax.tree.leaves(loop.task.init(0)[0]))
        assert count == sum(p.numel() for p in self.make().parameters()), (
            f"{model}: another number of parameters"
        )
        self.nets, times = {}, {}
        for form in (torch.contiguous_format, torch.channels_last):
            net = self.make().to(self.device, memory_format=form).train()
            self.format, self.nets[form] = form, torch.compile(net) if compiled else net
            self._train(1)  # allocates, chooses kernels, or compiles
            times[form] = self._train(2)
        self.format = min(times, key=times.__getitem__)

    def seconds(self, steps: int) -> float:
        """Of training all runs by so many steps."""
        return sum(self._train(steps) for _ in range(self.runs))

    def _train(self, steps: int) -> float:
        torch, net = self.torch, self.nets[self.format]
        order = torch.randperm(len(self.images), device=self.device)

        def loss(step: int) -> Any:
            at = step * self.batch % len(order)
            indices = order[at : at + self.batch]
            images = self.images[indices].float().div_(255).contiguous(memory_format=self.format)
            return torch.nn.functional.cross_entropy(net(images), self.labels[indices])

        return eager_seconds(torch.optim.Adam(net.parameters(), lr=RATE), loss, steps)
