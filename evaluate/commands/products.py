"""Register with Hydra the parts of those arms in ``configs/arm`` that are over several bases."""

from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore

from collect.commands.cli import CONFIGS


def store() -> dict[str, dict[str, Any]]:
    """Register the parts of every product in ``configs/arm``, so that a command can name them.

    A product is an arm whose ``over`` is a list. The file ``linear.yaml`` with ``over: [constant,
    cosine]`` has the parts ``constant_linear`` and ``cosine_linear``: ``arm=[linear]`` compares
    both of them, ``arm=[cosine_linear]`` only one. A file with the name of a part takes precedence
    over the part.

    Returns:
        The content of each part by name, as a file would have it.
    """
    parts: dict[str, dict[str, Any]] = {}
    for file in sorted(Path(CONFIGS, "arm").glob("*.yaml")):
        try:
            arms = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            continue  # Hydra reports the error when a command names this file
        for name, arm in arms.items() if isinstance(arms, dict) else ():
            if isinstance(arm, dict) and isinstance(arm.get("over"), list):
                parts |= {f"{base}_{name}": arm | {"over": base} for base in arm["over"]}
    for name, arm in parts.items():
        ConfigStore.instance().store(group="arm", name=name, node={name: arm})
    return parts
