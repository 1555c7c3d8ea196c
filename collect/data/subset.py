"""Keep some classes of a labelled set, and number them from 0 in ascending order."""

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int, Integer
from tqdm import tqdm

from collect.data.images import Images
from nowcast.types import UserError

LEFT_OUT = -1
"""The new label of a class that is left out."""
LONGEST = 40
"""Characters of a name's part that lists classes; a longer list is told by its digest."""
AT_ONCE = 1000
"""Examples whose labels are read together."""


def relabelling(name: str, classes: Sequence[int], held: int) -> Int[np.ndarray, "held"]:
    """The new label of each class of a set: its place in ``classes``, or −1 where it is left out.

    Args:
        name: The name of the set, for the message.
        classes: The classes that are kept, in ascending order.
        held: How many classes the set has.

    Raises:
        UserError: The set lacks one of ``classes``.

    Examples:
        >>> relabelling("made", [1, 3], 4).tolist()
        [-1, 0, -1, 1]
    """
    for one in classes:
        if not 0 <= one < held:
            raise UserError(
                f"data.classes={[*classes]}: {name} has no class {one}; give some of 0 to"
                f" {held - 1}"
            )
    new = np.full(held, LEFT_OUT, np.int32)
    new[np.asarray(classes)] = np.arange(len(classes))
    return new


def named(name: str, classes: Sequence[int]) -> str:
    """A set's name with the classes that are kept of it.

    Examples:
        >>> named("cifar10", [5, 6, 7, 8, 9]), named("cifar10", [0, 1, 4])
        ('cifar10-5to9', 'cifar10-0to1_4')
    """
    ends = [0, *(i for i, (a, b) in enumerate(pairwise(classes), 1) if b != a + 1), len(classes)]
    parts = [classes[start:stop] for start, stop in pairwise(ends)]
    said = "_".join(f"{part[0]}to{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts)
    if len(said) > LONGEST:
        digest = hashlib.sha256(said.encode()).hexdigest()[:8]
        said = f"{len(classes)}classes_{digest}"
    return f"{name}-{said}"


def kept(labels: Integer[np.ndarray, "B"], new: Int[np.ndarray, "held"]) -> Bool[np.ndarray, "B"]:
    """Which examples have a class that is kept."""
    return new[labels] != LEFT_OUT


def kept_places(
    images: Images, places: dict[str, np.ndarray], new: Int[np.ndarray, "held"]
) -> dict[str, np.ndarray]:
    """The numbers of the examples whose class is kept, of each split of a prepared set.

    All labels are read for it, and no image is decoded.
    """
    found = {}
    with tqdm(
        total=sum(map(len, places.values())), unit="label", desc="classes", delay=2, leave=False
    ) as bar:
        for split, numbers in places.items():
            parts = []
            for start in range(0, len(numbers), AT_ONCE):
                part = numbers[start : start + AT_ONCE]
                parts.append(part[kept(images.labels(part), new)])
                bar.update(len(part))
            found[split] = np.concatenate(parts)
    return found
