"""The protocol of a task: what every task offers, whatever kind of training it is."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from nowcast.types import PyTree, UserError


class Metric(NamedTuple):
    """A number that a task measures, and how two runs are compared by it."""

    name: str
    better: Literal["lower", "higher"] = "lower"
    compare: Literal["ratio", "difference"] = "ratio"
    """``ratio``, which needs values above 0, or ``difference`` (an accuracy, a reward below 0)."""


LOSS = Metric("loss")
"""The first metric of most tasks."""
TAKEN = {
    "snapshot",
    "step",
    "epoch",
    "seconds",
    "train_loss",
    "jumps",
    "accepted",
    "refused",
    "history_bytes",
    "parameters",
    "alone",  # in files of older versions
    "undisturbed",
    "compile_seconds",
    "settings_sha256",
    "sha256",
    "gram_sha256",
    "statistics_sha256",
    "machine",
}
"""The names that a run uses for other things than its metrics."""


def names_a_metric(name: str) -> bool:
    """Whether a metric can have this name.

    It has only letters, digits and _, and is no other entry of a run.
    """
    return (
        bool(re.fullmatch(r"[A-Za-z]\w*", name))
        and name not in TAKEN
        and not name.startswith("test_")
    )


@runtime_checkable
class Task(Protocol):
    """Something that can be trained: how to start, how to step, how to evaluate.

    ``params`` is the pytree that is trained, recorded and nowcast; ``extra`` is what else the model
    carries (BatchNorm statistics), never nowcast. All methods are pure; those that take arrays are
    jittable. A step's inputs follow from seed and step alone, so that arms are paired and a run
    that was killed goes on.

    Some members are optional:

    - ``gradients(params, extra, batch, key)`` gives ``(loss, gradients, new extra)`` where a step
      has more than one loss; without it the gradients are those of ``loss``.
    - ``rates``, a pytree of numbers like ``params``, multiplies each leaf's update.
    - ``waits``, False by default, says that a step whose gradients are all 0 is no step of the
      optimizer: weights, moments and counts stay. It is for a task that first gathers experience.
    - ``record_every`` is the default number of steps between snapshots (:func:`spacing`).
    - ``stream(seed, steps)`` reads data that are not in memory: it gives an iterator over the
      inputs that ``batch`` gets instead of ``indices`` at each step of a ``range``, as NumPy arrays
      of the same shapes at every step. It reads the examples that ``order`` names, so a run that
      resumes within an epoch sees the same examples. ``arrays`` is then ``()``.
    - ``picture(params, extra)`` gives an image that a person looks at: numbers from 0 to 1,
      ``(height, width, 3)``, or ``(height, width, 1)`` for grey. The report of a comparison shows
      it for the last weights of each arm's first seed.
    - ``loops``, False by default, says whether many steps may run as a loop inside one compiled
      program, which saves a call from Python for each. On a CPU the gradients of convolutions are
      many times slower inside such a loop.
    """

    name: str
    """Unique to what is trained: ``resnet20-digits``, ``gpt_l4_w128-tiny_shakespeare``.

    Its beginning, up to a hyphen, names the architecture and its sizes that are not the usual. Of
    a classification it does not name the width, which is in the configuration
    (:func:`collect.corpus.run.trained`).
    """
    steps_per_epoch: int
    labels: PyTree
    """The operation of every leaf of ``params``."""
    arrays: PyTree
    """The training data, on the device; ``()`` where they are streamed."""
    metrics: Sequence[Metric]
    """The metrics of :meth:`evaluate`, the headline first: targets and verdicts are about it."""
    splits: Sequence[str]
    """The names of what can be evaluated.

    Runs are judged by the first as they go on; the last, where there are two, is read once, at the
    end.
    """

    def init(self, seed: int) -> tuple[PyTree, PyTree]:
        """``(params, extra)`` at the start of the run with this seed."""

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """The examples that each step of an epoch sees, ``(steps_per_epoch, …)``.

        They follow from seed and epoch alone.
        """

    def batch(self, arrays: PyTree, indices: Any, key: jax.Array | None = None) -> Any:
        """The examples of one row of :meth:`order`.

        ``key``, of this seed and step, decides all that is random.
        """

    def loss(
        self, params: PyTree, extra: PyTree, batch: Any, key: jax.Array
    ) -> tuple[jax.Array, PyTree]:
        """``(mean loss, new extra)`` of one batch of examples, in training mode.

        ``key``, of this seed and step, is for dropout and noise.
        """

    def evaluate(self, params: PyTree, extra: PyTree, split: str) -> dict[str, float]:
        """Every metric, on a whole split, in evaluation mode."""


def rows(task: Task, seed: int) -> Callable[[int], Any]:
    """A function from a step of the whole run to its row of :meth:`Task.order`.

    Raises:
        UserError: When it is called: an epoch has fewer or more rows than steps.
    """

    @lru_cache(maxsize=2)  # a stream reads ahead into the next epoch
    def order(epoch: int) -> np.ndarray:
        each = task.order(seed, epoch)
        if len(each) != task.steps_per_epoch:
            raise UserError(
                f"{task.name}: order({seed}, {epoch}) gives {len(each)} rows, and an epoch has "
                f"steps_per_epoch={task.steps_per_epoch}; give as many in every epoch"
            )
        return each

    def row(step: int) -> Any:
        epoch, within = divmod(step, task.steps_per_epoch)
        return order(epoch)[within]

    return row


def spacing(task: Task, asked: int | None = None) -> int:
    """Steps between two snapshots.

    It is what was asked for, or else the task's own ``record_every``, or else an epoch.
    """
    return asked or getattr(task, "record_every", None) or task.steps_per_epoch
