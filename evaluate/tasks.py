"""The task of each arm: that of the comparison, or the same with a network of the arm's own."""

from collections.abc import Mapping

import numpy as np

from collect.tasks.protocol import Task
from evaluate.arms import Arm
from evaluate.fingerprint import fingerprint
from nowcast.types import UserError


class Tasks:
    """The task of a comparison, and the same task with other networks.

    Args:
        task: The task.
        networks: The same task with another network each, by the names that arms have for it
            (:attr:`evaluate.arms.Arm.model`).
    """

    def __init__(self, task: Task, networks: Mapping[str, Task]):
        self._task, self._networks = task, networks
        self._contents: dict[str, str] = {}

    def of(self, arm: Arm) -> Task:
        """The task that an arm trains.

        Raises:
            UserError: The arm has a network of its own, and there is none of this name; or its task
                has other steps, metrics or splits.
        """
        if arm.model is None:
            return self._task
        key = f"arm.{arm.name}.model={arm.model!r}"
        if arm.model not in self._networks:
            raise UserError(
                f"{key}: is for image classifiers; leave it out (in Python: give"
                " compare(networks={'NAME': task}))"
            )
        own = self._networks[arm.model]
        for what, one, other in (
            ("steps an epoch", self._task.steps_per_epoch, own.steps_per_epoch),
            ("metrics", tuple(self._task.metrics), tuple(own.metrics)),
            ("splits", tuple(self._task.splits), tuple(own.splits)),
        ):
            if one != other:
                raise UserError(
                    f"{key}: its task has other {what} ({other}) than the comparison ({one}); give"
                    " it the same data"
                )
        if not np.array_equal(self._task.order(0, 0), own.order(0, 0)):
            raise UserError(f"{key}: its task has other batches; give it the same data")
        return own

    def content(self, model: str) -> str:
        """The fingerprint of the task with this network."""
        if model not in self._contents:
            self._contents[model] = fingerprint(self._networks[model])
        return self._contents[model]
