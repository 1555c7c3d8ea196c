"""How fast DDPG trains on a pendulum, environment and all: one run, without a peer."""

import argparse
import time

import jax

from collect.tasks import DDPG
from collect.training import optimizers
from collect.training.loop import Loop
from scripts.bench.population import Population, spread

STEPS = 4_000
"""Steps a round."""


def control(args: argparse.Namespace) -> None:
    """Episodes by the clock and by the time that cores were busy, which others do not change."""
    task = DDPG()
    steps = args.steps or STEPS
    ours = Population(Loop(task, optimizers.make("adam", task)), 1, "apart")
    ours.seconds(task.steps_per_epoch)  # compiles, and learns from then on
    clock, busy = [], []
    for _ in range(args.rounds):
        begun = time.process_time()
        clock.append(steps / task.steps_per_epoch / ours.seconds(steps))
        busy.append(steps / task.steps_per_epoch / (time.process_time() - begun))
    print(
        f"\nEpisodes of DDPG on a pendulum, {task.steps_per_epoch} steps each, in one run on"
        f" {jax.default_backend()}; medians of {args.rounds}"
    )
    print(f"{'a second':>13} {spread(clock, '.1f')}")
    print(f"{'a core second':>13} {spread(busy, '.1f')}", flush=True)
