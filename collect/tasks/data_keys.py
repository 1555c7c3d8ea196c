"""Read the part ``data=`` of a configuration, as several tasks do."""

from typing import Any

import collect.data
from collect.data import Dataset
from nowcast.types import UserError

NOT_TAKEN = "this task does not take it"


def refuse(data: Any, why: str, **usual: Any) -> None:
    """Refuse keys of ``data=`` that a task has no use for.

    Args:
        data: The part of the configuration.
        why: The reason, for the message.
        usual: The keys, each with the value that it has where nobody gives it.

    Examples:
        >>> from collect.config import DataConfig
        >>> refuse(DataConfig(size=32), "is for images", size=None)
        Traceback (most recent call last):
        nowcast.types.UserError: data.size=32: is for images; leave it out
    """
    for key, value in usual.items():
        given = getattr(data, key)
        if given != value:
            said = str(given).lower() if isinstance(given, bool) else given
            raise UserError(f"data.{key}={said}: {why}; leave it out")


def in_memory(data: Any, cure: str) -> Dataset:
    """The images that ``data=`` names, for a task that cannot stream them.

    ``cure`` says in the message what to give where they take more than the memory budget.
    """
    images = collect.data.load(
        data.name,
        directory=data.dir,
        train_size=data.train_size,
        validation=data.validation,
        size=data.size,
        in_memory=data.in_memory,
        classes=data.classes,
    )
    if not isinstance(images, Dataset):
        raise UserError(
            f"data.in_memory={data.in_memory}: the images take more, and this task keeps them in"
            f" memory; give {cure}"
        )
    return images
