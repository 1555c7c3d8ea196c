"""Tasks that can be trained; each is a :class:`Task`."""

from typing import TYPE_CHECKING, Any

from collect.tasks.protocol import LOSS, Metric, Task

if TYPE_CHECKING:
    from collect.tasks.classification import Classification
    from collect.tasks.control import DDPG
    from collect.tasks.diffusion import Diffusion
    from collect.tasks.language import Language
    from collect.tasks.masked_language import MaskedLanguage
    from collect.tasks.pose import Pose
    from collect.tasks.segmentation import Segmentation
    from collect.tasks.transfer import Transfer

__all__ = [
    "DDPG",
    "LOSS",
    "Classification",
    "Diffusion",
    "Language",
    "MaskedLanguage",
    "Metric",
    "Pose",
    "Segmentation",
    "Task",
    "Transfer",
]

HOME = {
    "Classification": "classification",
    "DDPG": "control",
    "Diffusion": "diffusion",
    "Language": "language",
    "MaskedLanguage": "masked_language",
    "Pose": "pose",
    "Segmentation": "segmentation",
    "Transfer": "transfer",
}
"""The module that each of our tasks is defined in."""


def __getattr__(name: str) -> Any:
    """Import the task that is asked for: a command's ``--help`` needs none of them."""
    import importlib

    if name in HOME:
        return getattr(importlib.import_module(f"collect.tasks.{HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
