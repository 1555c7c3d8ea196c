"""Optimizers and learning-rate schedules.

The learning rate is an argument of every step, not part of the optimizer, so that runs which differ in rate or
schedule share one compiled program.
"""

from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Float

from nowcast.types import PyTree, UserError

OPTIMIZERS = {
    "adam": optax.scale_by_adam,
    "adamw": lambda: optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(1e-2)),
    "momentum": lambda: optax.trace(decay=0.9),
    "sgd": optax.identity,
}
SCHEDULES = ("constant", "cosine")
GRIDS = {
    "adam": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "adamw": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "momentum": (1e-3, 1e-2, 3e-2, 1e-1, 3e-1),
    "sgd": (1e-2, 1e-1, 3e-1, 1.0, 3.0),
}
"""The learning rates that tuning tries, wide enough that the best one is rarely the first or the last."""


def make(name: str) -> optax.GradientTransformationExtraArgs:
    """An optimizer whose ``update`` takes ``learning_rate=``."""
    if name not in OPTIMIZERS:
        raise UserError(f"optimizer.name={name!r} is unknown; available: {', '.join(OPTIMIZERS)}")
    return optax.chain(OPTIMIZERS[name](), _scale_by_given_rate())


def rates(schedule: str, learning_rate: float, steps: int) -> Float[np.ndarray, "steps"]:
    """The learning rate of every step of a run: ``constant``, or ``cosine`` from ``learning_rate`` to 0."""
    if schedule not in SCHEDULES:
        raise UserError(f"schedule={schedule!r} is unknown; available: {', '.join(SCHEDULES)}")
    if not 0 < learning_rate < 100:
        raise UserError(f"learning_rate={learning_rate}: must be above 0 and below 100, such as 0.001")
    progress = np.arange(steps) / steps
    shape = np.ones(steps) if schedule == "constant" else (1 + np.cos(np.pi * progress)) / 2
    return (learning_rate * shape).astype(np.float32)


def _scale_by_given_rate() -> optax.GradientTransformationExtraArgs:
    def update(updates: PyTree, state: Any, params: Any = None, *, learning_rate: Any, **_: Any) -> tuple[PyTree, Any]:
        return jax.tree.map(lambda u: -learning_rate * u, updates), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)
