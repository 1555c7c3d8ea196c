"""The names by which runs of a task are kept out of a fit: its architecture's and its own."""

import re
from collections.abc import Mapping
from typing import Any

from collect.models import MODELS, own_depth
from collect.tasks import language


def names(config: Mapping[str, Any]) -> set[str]:
    """The names of a run's architecture, ``resnet32`` and ``resnet``, and of its task.

    They are the name and depth under ``model`` in the run's configuration; without a depth, the
    architecture's own. The configuration of a user's own task or loop may lack them: then every
    beginning of the task's name up to a hyphen counts, and what the task's own keys say under
    ``model``. Our other tasks go by their names with and without their sizes.
    """
    task: str = config["task"]
    model, own = _model(config), _model(config.get("task_config") or {})
    if model:
        return _names(model) | {task}
    beginnings = {
        "-".join(parts[:end])
        for parts in (task.split("-"), language.family(task).split("-"))
        for end in range(1, len(parts) + 1)
    }
    return beginnings | {family(name) for name in beginnings} | (_names(own) if own else set())


def _model(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The ``model`` of a configuration, where that is an architecture."""
    model = config.get("model")
    if isinstance(model, str):
        return {"name": model}
    return model if isinstance(model, dict) and isinstance(model.get("name"), str) else None


def _names(model: Mapping[str, Any]) -> set[str]:
    name, depth = model["name"], model.get("depth")
    if depth is None and name in MODELS:
        depth = own_depth(name)
    return {name, family(name), name if depth is None else f"{name}{depth}"}


def family(name: str) -> str:
    """An architecture's name without its depth: ``resnet`` for ``resnet32``."""
    return re.sub(r"\d+$", "", name)


def is_architecture(name: str) -> bool:
    """Whether a name is that of one of our architectures, with its depth or without."""
    deep = family(name) in MODELS and own_depth(family(name)) is not None
    return name in MODELS or deep
