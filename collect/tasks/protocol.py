"""What every task gives, whatever kind of training it is."""

from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from nowcast.types import PyTree


@runtime_checkable
class Task(Protocol):
    """Something that can be trained: how to start, how to step, how to evaluate.

    ``params`` is the pytree that is trained, recorded and nowcast; ``extra`` is what else the model
    carries (BatchNorm statistics), never nowcast. All methods are pure; those that take arrays are jittable.
    """

    name: str
    steps_per_epoch: int
    labels: PyTree
    """The operation of every leaf of ``params``."""
    arrays: PyTree
    """The training data, on the device."""

    def init(self, seed: int) -> tuple[PyTree, PyTree]:
        """``(params, extra)`` at the start of the run with this seed."""

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Which examples each step of an epoch sees, ``(steps_per_epoch, batch_size)``, from seed and epoch alone."""

    def batch(self, arrays: PyTree, indices: Any, key: jax.Array | None = None) -> Any:
        """The examples behind one row of :meth:`order`; ``key``, of this seed and step, decides all that is random."""

    def loss(self, params: PyTree, extra: PyTree, batch: Any) -> tuple[jax.Array, PyTree]:
        """``(mean loss, new extra)`` of one batch of examples, in training mode."""

    def evaluate(self, params: PyTree, extra: PyTree, split: str) -> dict[str, float]:
        """Metrics on a whole split (``"validation"`` or ``"test"``), in evaluation mode."""
