"""Augment training images on the device: pure functions of a key and a batch, one draw per image.

Images are float32 in [0, 1], NHWC; the results have the same shape and range.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Key

Images = Float[Array, "B height width C"]

PAD = 4
ROTATION, SHIFT, ZOOM = jnp.pi / 18, 0.15, 0.3


def none(key: Key[Array, ""], images: Images) -> Images:
    """The images unchanged."""
    return images


def crop_flip(key: Key[Array, ""], images: Images) -> Images:
    """Pad with 4 black pixels on every side, crop to the old size at random, mirror half of them.

    From He et al. (2016, §4.2).
    """
    count = len(images)
    padded = jnp.pad(images, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0)))
    place, side = jax.random.split(key)
    corners = jax.random.randint(place, (count, 2), 0, 2 * PAD + 1)
    mirrored = jax.random.bernoulli(side, shape=(count,))

    def crop(image: Array, corner: Array, mirror: Array) -> Array:
        image = jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), images.shape[1:])
        return jnp.where(mirror, image[:, ::-1], image)

    return jax.vmap(crop)(padded, corners, mirrored)


def rotation_shift_zoom(key: Key[Array, ""], images: Images) -> Images:
    """Rotate by up to ±10°, shift by up to ±15 % of each side, scale each axis by 0.7 to 1.3.

    From Jang et al. (2023, Table 4). The distributions, the order of the three and the fill at the
    border (the nearest pixel) are those of the published code, Keras's
    ``ImageDataGenerator(rotation_range=10, width_shift_range=0.15, height_shift_range=0.15,
    zoom_range=0.3, fill_mode="nearest")``.
    """
    count, height, width, _ = images.shape
    turn, move, scale = jax.random.split(key, 3)
    angles = jax.random.uniform(turn, (count,), minval=-ROTATION, maxval=ROTATION)
    shifts = jax.random.uniform(move, (count, 2), minval=-SHIFT, maxval=SHIFT) * jnp.array(
        [[height, width]]
    )
    zooms = jax.random.uniform(scale, (count, 2), minval=1 - ZOOM, maxval=1 + ZOOM)
    return jax.vmap(resample)(images, angles, shifts, zooms)


def resample(
    image: Float[Array, "height width C"],
    angle: Float[Array, ""],
    shift: Float[Array, "2"],
    zoom: Float[Array, "2"],
) -> Float[Array, "height width C"]:
    """Apply one affine map with bilinear interpolation to an image.

    Pixel p, seen from the centre, shows what was at R(zoom·p + shift). R turns by ``angle``
    (radians); ``shift`` is in pixels, ``zoom`` above 1 shrinks; both are (rows, columns).
    """
    height, width, _ = image.shape
    middle = (height - 1) / 2, (width - 1) / 2
    rows, columns = jnp.meshgrid(
        jnp.arange(height) - middle[0], jnp.arange(width) - middle[1], indexing="ij"
    )
    rows, columns = zoom[0] * rows + shift[0], zoom[1] * columns + shift[1]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    places = [cos * rows - sin * columns + middle[0], sin * rows + cos * columns + middle[1]]

    def channel(plane: Array) -> Array:
        return map_coordinates(plane, places, order=1, mode="nearest")

    return jax.vmap(channel, in_axes=-1, out_axes=-1)(image)


AUGMENTS: dict[str, Callable[[Key[Array, ""], Images], Images]] = {
    "none": none,
    "crop_flip": crop_flip,
    "rotation_shift_zoom": rotation_shift_zoom,
}
