"""The vocabulary that every module shares.

Shapes, in every signature (jaxtyping):

===========  ============================================================
``W``        snapshots in a window (5 in WNN)
``H``        snapshots between the window's last one and the forecast
``S``        snapshots in a trajectory
``N``        scalar weights
``B``        examples in a batch
``*shape``   the shape of one leaf of a parameter pytree
===========  ============================================================
"""

import math
import operator
from collections.abc import Mapping
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import jax
import numpy as np

PyTree = Any
Operation = Literal["conv", "depthwise_conv", "fc", "bias", "norm", "embedding", "other"]
OPERATIONS: tuple[str, ...] = get_args(Operation)


class UserError(ValueError):
    """Something the user gave is wrong; the message is one line that names the value and the cure."""


MOST = 2_000_000_000
"""Counters are int32."""


def whole(key: str, value: Any, of: str) -> int:
    """``value`` as an ``int``, or a :class:`UserError`: it must be a whole number ``of`` something, from 1 to 2 billion."""
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if isinstance(value, bool) or number < 1:
        raise UserError(f"{key}={value!r} must be a whole number of {of}, 1 or more")
    if number > MOST:
        raise UserError(f"{key}={value!r} must be a whole number of {of}, {MOST:,} at most")
    return number


def real(key: str, value: Any, rule: str) -> float:
    """``value`` as a ``float``, or a :class:`UserError` with the rule: it must be a finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool | str) or not math.isfinite(number):
        raise UserError(f"{key}={value!r} {rule}")
    return number


def first_line(error: Exception) -> str:
    """What an error says first, without the library's inner details."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].split(" [")[0]


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


Curve = Mapping[str, Any]
"""One run as the comparison sees it: ``step``, ``epoch``, ``seconds``, ``train_loss``, ``loss``, ``accuracy``, … with a value per evaluation,
``jumps``, ``accepted`` and ``refused``, ``test_loss`` and ``test_accuracy``, and what it took (``results.schema.json``)."""
