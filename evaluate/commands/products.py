"""The arms of ``configs/arm`` that are a product, for Hydra: each part by its own name."""

from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore

from collect.commands.cli import CONFIGS


def store() -> dict[str, dict[str, Any]]:
    """Let Hydra find the parts of every product in ``configs/arm``.

    The file ``linear.yaml`` with ``over: [constant, cosine]`` gives ``arm=[cosine_linear]``, beside
    ``arm=[linear]``, which is all of its parts. A file of a part's name is taken before the part.

    Returns:
        The parts by name, as a file of their own would have them.
    """
    parts: dict[str, dict[str, Any]] = {}
    for file in sorted(Path(CONFIGS, "arm").glob("*.yaml")):
        try:
            arms = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            continue  # Hydra says what is wrong with it, where it is asked for
        for name, arm in arms.items() if isinstance(arms, dict) else ():
            if isinstance(arm, dict) and isinstance(arm.get("over"), list):
                parts |= {f"{base}_{name}": arm | {"over": base} for base in arm["over"]}
    for name, arm in parts.items():
        ConfigStore.instance().store(group="arm", name=name, node={name: arm})
    return parts
