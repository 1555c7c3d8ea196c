"""What OpenPose learns to tell: heat maps of joints and part affinity fields of limbs.

They are those of the public Keras port (``training/label_maps.py`` of
github.com/michalfaber/keras_Realtime_Multi-Person_Pose_Estimation). Where the port departs from the
paper (arXiv:1611.08050, §2.2 and §2.3), so do we: a heat map is the sum over people, 1 at most, in
place of the largest; a Gaussian ends where it falls to 0.01; and a limb's field ends at the box
around the limb, a cell wider on each side, in place of the limb's own ends.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from collect.data.crops import ABSENT

STRIDE = 8
"""Pixels from one cell of a map to the next."""
SIGMA = 7.0
"""Pixels: the standard deviation of a joint's Gaussian."""
FALLEN = 4.6052
"""The exponent at which a Gaussian ends."""
THICK = 1.0
"""Cells: half of a limb's thickness."""
LIMBS = (
    *((1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 2), (2, 3), (3, 4), (2, 16)),
    *((1, 5), (5, 6), (6, 7), (5, 17), (1, 0), (0, 14), (0, 15), (14, 16), (15, 17)),
)
"""The joints that each limb leads from and to, in the port's order of 18 joints."""


def heat_maps(
    joints: Float[Array, "B P 18 2"], height: int, width: int
) -> Float[Array, "B height width 19"]:
    """A map for each joint, and a last one for where there is no joint.

    Args:
        joints: Columns and rows of people's joints in pixels;
            :data:`collect.data.crops.ABSENT` where a joint is not labelled.
        height: Cells of a map.
        width: Cells of a map.
    """
    first = STRIDE / 2 - 0.5  # the middle of a cell, in pixels
    rows, columns = (
        (first + STRIDE * jnp.arange(size, dtype=jnp.float32))[None, None, None]
        for size in (height, width)
    )
    known = (joints != ABSENT).all(axis=-1)
    places = jnp.where(known[..., None], joints, 0)
    across = (columns - places[..., :1]) ** 2
    down = (rows - places[..., 1:]) ** 2
    exponent = (down[..., :, None] + across[..., None, :]) / (2 * SIGMA**2)
    seen = known[..., None, None] & (exponent <= FALLEN)
    each = jnp.minimum(jnp.sum(jnp.where(seen, jnp.exp(-exponent), 0), axis=1), 1)
    maps = jnp.moveaxis(each, 1, -1)
    return jnp.concatenate([maps, 1 - jnp.max(maps, axis=-1, keepdims=True)], axis=-1)


def affinity_fields(
    joints: Float[Array, "B P 18 2"], height: int, width: int
) -> Float[Array, "B height width 38"]:
    """Two maps for each limb: columns and rows of its direction, the mean over people.

    A limb of which a joint is not labelled, or of no length, has no field.
    """
    start, end = (joints[:, :, jnp.array([limb[i] for limb in LIMBS])] for i in (0, 1))
    labelled = ((start != ABSENT) & (end != ABSENT)).all(axis=-1)
    start, end = (jnp.where(labelled[..., None], each / STRIDE, 0) for each in (start, end))
    length = jnp.linalg.norm(end - start, axis=-1)
    known = labelled & (length >= 1e-8)
    direction = (end - start) / jnp.where(known, length, 1)[..., None]
    rows = jnp.arange(height, dtype=jnp.float32)[None, None, None, :, None]
    columns = jnp.arange(width, dtype=jnp.float32)[None, None, None, None]
    low = jnp.maximum(jnp.round(jnp.minimum(start, end) - THICK), 0)
    high = jnp.round(jnp.maximum(start, end) + THICK)
    (x, y), (left, top), (right, bottom), (first, second) = (
        (each[..., 0, None, None], each[..., 1, None, None])
        for each in (direction, low, high, start)
    )
    inside = (columns >= left) & (columns < right) & (rows >= top) & (rows < bottom)
    near = jnp.abs((columns - first) * y - (rows - second) * x) <= THICK
    seen = known[..., None, None] & inside & near
    count = jnp.maximum(jnp.sum(seen, axis=1), 1)
    parts = [jnp.sum(jnp.where(seen, part, 0), axis=1) / count for part in (x, y)]
    fields = jnp.stack(parts, axis=2)  # (B, 19, 2, height, width)
    return jnp.moveaxis(fields.reshape(len(joints), -1, height, width), 1, -1)
