"""Square crops of images with people: scaled, turned, cut out and mirrored.

The sizes are those of the public Keras port of OpenPose (``training/dataset.py`` of
github.com/michalfaber/keras_Realtime_Multi-Person_Pose_Estimation): the largest person becomes 0.6
of the crop's side high, times 0.5 to 1.1; turned by up to 40°; off the centre by up to 40 of 368
pixels; mirrored half of the time. People who do not count are black. Departures: one resampling
(bicubic) in place of two; a cell of the mask is the mean of its pixels; joints above or left of the
crop count too, as those below or right of it do there.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from collect.data.coco import Example, pixels

TALL, SCALES, TURN, OFF, SIDE = 0.6, (0.5, 1.1), 40.0, 40.0, 368
GREY = (128, 128, 128)
STRIDE = 8
"""Pixels of the crop to a cell of the mask."""
ABSENT = -1e6
"""The column and the row of a joint that is not labelled."""
RIGHT, LEFT = (2, 3, 4, 8, 9, 10, 14, 16), (5, 6, 7, 11, 12, 13, 15, 17)
"""The joints that change places in a mirror."""


class View(NamedTuple):
    """How an image is seen."""

    scale: float
    """Times 0.6 of the side: how high the largest person is."""
    degrees: float
    right: float
    """Pixels from the person's middle to the crop's."""
    down: float
    mirrored: bool


STRAIGHT = View(sum(SCALES) / 2, 0.0, 0.0, 0.0, False)
"""The view of held-out images."""


def drawn(generator: np.random.Generator, side: int) -> View:
    """A view drawn at random for a crop of so many pixels a side."""
    most = OFF * side / SIDE
    right, down = generator.uniform(-most, most, 2)
    scale, turn = generator.uniform(*SCALES), generator.uniform(-TURN, TURN)
    return View(scale, turn, right, down, bool(generator.uniform() < 0.5))


def crop(
    example: Example, side: int, view: View, people: int, key: str
) -> tuple[
    UInt8[np.ndarray, "side side 3"],
    Float[np.ndarray, "cells cells"],
    Float[np.ndarray, "people 18 2"],
]:
    """``(image, shown, joints)`` of a view.

    Args:
        example: The image and its people.
        side: Pixels of the crop's side, a multiple of 8.
        view: How it is seen.
        people: Rows of the joints; rows without a person, and joints that are not
            labelled, are :data:`ABSENT`.
        key: What named the data, for messages.
    """
    from PIL import Image

    image, shown = pixels(example, key)
    matrix, shift = affine(example, side, view)
    inverse = np.linalg.inv(matrix)
    # Pillow asks where the middle of a result's pixel comes from; middles are at halves.
    origin = 0.5 - inverse @ (shift + 0.5)
    given = (*inverse[0], origin[0], *inverse[1], origin[1])
    seen = Image.fromarray(image * shown[..., None].astype(np.uint8))
    made = seen.transform(
        (side, side),
        Image.Transform.AFFINE,
        given,
        Image.Resampling.BICUBIC,
        fillcolor=GREY,
    )
    mask = Image.fromarray(shown.astype(np.uint8)).transform(
        (side, side), Image.Transform.AFFINE, given, Image.Resampling.NEAREST, fillcolor=1
    )
    cells = side // STRIDE
    parts = np.asarray(mask, np.float32).reshape(cells, STRIDE, cells, STRIDE)
    joints = np.full((people, 18, 2), ABSENT, np.float32)
    own = example.joints @ matrix.T + shift
    if view.mirrored:
        own[:, [*RIGHT, *LEFT]] = own[:, [*LEFT, *RIGHT]]
    joints[: len(own)] = np.where(np.isnan(own), ABSENT, own)
    return np.asarray(made), parts.mean(axis=(1, 3)), joints


def affine(
    example: Example, side: int, view: View
) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, "2"]]:
    """``(matrix, shift)``: a pixel's column and row ``p`` becomes ``matrix @ p + shift``."""
    scale = TALL * view.scale * side / example.height
    angle = math.radians(view.degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = scale * np.array([[cos, sin], [-sin, cos]])
    shift = side / 2 - np.array([view.right, view.down]) - matrix @ np.array(example.center)
    if view.mirrored:
        matrix = np.diag([-1.0, 1.0]) @ matrix
        shift = np.array([side - 1 - shift[0], shift[1]])
    return matrix, shift
