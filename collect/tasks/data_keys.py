"""Read the part ``data=`` of a configuration, as several tasks do."""

from typing import Any

import collect.data
from collect.data import Dataset
from collect.data.streaming import Streamed
from nowcast.types import UserError

NOT_TAKEN = "this task does not take it"


def refuse(data: Any, why: str, *keys: str) -> None:
    """Refuse keys of ``data=`` that a task has no use for, where they have not their default.

    Args:
        data: The part of the configuration, a dataclass.
        why: The reason, for the message.
        keys: The keys.

    Examples:
        >>> from collect.config import DataConfig
        >>> refuse(DataConfig(size=32), "is for images", "size")
        Traceback (most recent call last):
        nowcast.types.UserError: data.size=32: is for images; leave it out
    """
    for key in keys:
        given = getattr(data, key)
        if given != getattr(type(data), key):
            said = str(given).lower() if isinstance(given, bool) else given
            raise UserError(f"data.{key}={said}: {why}; leave it out")


def images_of(data: Any, min_size: int = 1) -> Dataset | Streamed:
    """The images that ``data=`` names, enlarged to ``min_size`` pixels where they are smaller."""
    return collect.data.load(
        data.name,
        directory=data.dir,
        train_size=data.train_size,
        min_size=min_size,
        validation=data.validation,
        size=data.size,
        in_memory=data.in_memory,
        classes=data.classes,
    )


def in_memory(data: Any, cure: str) -> Dataset:
    """The images that ``data=`` names, for a task that cannot stream them.

    ``cure`` says in the message what to give where they take more than the memory budget.
    """
    images = images_of(data)
    if not isinstance(images, Dataset):
        raise UserError(
            f"data.in_memory={data.in_memory}: the images take more, and this task keeps them in"
            f" memory; give {cure}"
        )
    return images
