"""Turn a run's configuration back into the arguments that name its task, for ``next:`` lines."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from collect.commands.cli import CONFIGS
from collect.commands.typed import argument, quoted

USUAL = "model=resnet20 data=digits"
"""The arguments for a forecaster that was fitted to the default task; few corpora hold them."""

OURS = ("gpt", "bert", "ddpg", "ddim", "deeplab", "openpose")
"""Our tasks beside the default one, each by the file of its usual keys."""


def named(config: Mapping[str, Any]) -> str | None:
    """The arguments by which ``evaluate`` trains a task like that of a run.

    Args:
        config: The run's, as a corpus has it.

    Returns:
        Of the default task :data:`USUAL`; None of a run that a loop of one's own or
        checkpoints gave, for no command trains it.

    Examples:
        >>> print(named({"task_config": {"_target_": "mine.Sine", "width": 16}}))
        task._target_=mine.Sine task.width=16
    """
    if "task_config" not in config:
        return USUAL if "model" in config else None
    own = dict(config["task_config"])
    words = []
    for name in OURS:
        preset = _preset("task", name)
        if own.get("_target_") == preset["_target_"]:
            words.append(f"task={name}")
            own = {key: value for key, value in own.items() if preset.get(key, ...) != value}
    words += [_argument(f"task.{key}", value) for key, value in own.items()]
    data = config.get("data")
    if data:
        key = "data" if _preset("data", data["name"]) else "data.name"
        words.append(argument(key, data["name"]))
        if data.get("train_size") is not None:
            words.append(f"data.train_size={data['train_size']}")
    return " ".join(words)


def _argument(key: str, value: Any) -> str:
    """``key=value`` of any kind of value: a text, a number, null, a list, a dictionary."""
    if isinstance(value, str):
        return argument(key, value)
    said = re.sub(r'"(\w+)":', r"\1:", json.dumps(value, separators=(",", ":")))
    return quoted(f"{key}={said}")


def _preset(group: str, name: str) -> dict[str, Any]:
    """The keys of one of our configuration files; empty where there is no such file."""
    file = Path(CONFIGS) / group / f"{name}.yaml"
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {}) if file.exists() else {}
