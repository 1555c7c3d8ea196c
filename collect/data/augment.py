"""Augment training images on the device: pure functions of a key and a batch, one draw per image.

Images are float32, NHWC, in [0, 1] or less their mean image; the results have the same shape and
range.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Int, Key

Images = Float[Array, "B height width C"]

PAD = 4
ROTATION, SHIFT, ZOOM = jnp.pi / 18, 0.15, 0.3
FAR, HOLES, HOLE, GREY = 0.2, 2, 0.4, 127 / 255
CONTRAST, SATURATION = (0.8, 1.2), (0.5, 1.5)


def none(key: Key[Array, ""], images: Images) -> Images:
    """The images unchanged."""
    return images


def crop_flip(key: Key[Array, ""], images: Images) -> Images:
    """Pad with 4 pixels of 0 on every side, crop to the old size at random, mirror half of them.

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


def flip_shift_cutout(key: Key[Array, ""], images: Images) -> Images:
    """Mirror half, shift by up to ±20 % of each side, cut out two squares, change the colours.

    From the WNN authors' program of transfer (``PVTV2/WNN_PVTv2.py`` of github.com/jjh6297/WNN):
    shifts are whole pixels, and what they uncover shows the image mirrored at its edge; each square
    is grey (127), has sides of 40 % of the image's and is cut by its edge; then contrast by 0.8 to
    1.2 and saturation by 0.5 to 1.5. Departures: values stay in [0, 1], which the program's may
    leave, and a vertical shift is a share of the height, and not of the width.
    """
    count, height, width, _ = images.shape
    side, move, holes, contrasts, saturations = jax.random.split(key, 5)
    mirrored = jax.random.bernoulli(side, shape=(count,))
    shifts = jax.random.uniform(move, (count, 2), minval=-FAR, maxval=FAR)
    shifts = jnp.round(shifts * jnp.array([[height, width]])).astype(jnp.int32)
    centres = jax.random.randint(
        holes, (count, HOLES, 2), 0, jnp.array([[[height, width]]], jnp.int32)
    )
    factors = jax.random.uniform(contrasts, (count,), minval=CONTRAST[0], maxval=CONTRAST[1])
    colours = jax.random.uniform(saturations, (count,), minval=SATURATION[0], maxval=SATURATION[1])

    def change(
        image: Array, mirror: Array, shift: Array, centre: Array, factor: Array, colour: Array
    ) -> Array:
        image = moved(jnp.where(mirror, image[:, ::-1], image), shift)
        for hole in range(HOLES):
            image = cut_out(image, centre[hole])
        return saturated(contrasted(image, factor), colour)

    return jax.vmap(change)(images, mirrored, shifts, centres, factors, colours)


def moved(
    image: Float[Array, "height width C"], shift: Int[Array, "2"]
) -> Float[Array, "height width C"]:
    """Shift an image by (rows, columns); beyond its edge it is mirrored, the edge pixel first.

    A shift must be shorter than the image.
    """

    def places(size: int, by: Array) -> Array:
        place = jnp.arange(size) - by
        place = jnp.where(place < 0, -1 - place, place)
        return jnp.where(place >= size, 2 * size - 1 - place, place)

    rows, columns = places(image.shape[0], shift[0]), places(image.shape[1], shift[1])
    return image[rows][:, columns]


def cut_out(
    image: Float[Array, "height width C"], centre: Int[Array, "2"]
) -> Float[Array, "height width C"]:
    """Make a rectangle grey, whose sides are 40 % of the image's, around (row, column).

    From DeVries & Taylor (2017). The rectangle goes from ``centre - half`` up to ``centre + half``,
    which is not within it; ``half`` is half of the side, rounded down.
    """
    inside = jnp.ones(image.shape[:2], bool)
    for axis, size in enumerate(image.shape[:2]):
        half, place = int(HOLE * size) // 2, jnp.arange(size)
        within = (place >= centre[axis] - half) & (place < centre[axis] + half)
        inside &= jnp.expand_dims(within, 1 - axis)
    return jnp.where(inside[..., None], GREY, image)


def contrasted(
    image: Float[Array, "height width C"], factor: Float[Array, ""]
) -> Float[Array, "height width C"]:
    """Multiply the distance of each pixel from its channel's mean, within [0, 1]."""
    mean = jnp.mean(image, axis=(0, 1), keepdims=True)
    return jnp.clip((image - mean) * factor + mean, 0, 1)


def saturated(
    image: Float[Array, "height width C"], factor: Float[Array, ""]
) -> Float[Array, "height width C"]:
    """Multiply the saturation of each pixel in HSV, up to 1; hue and value stay.

    The value is the largest channel, and the saturation is its distance from the smallest one, over
    the value. So each channel's distance from the largest is multiplied.
    """
    value = jnp.max(image, axis=-1, keepdims=True)
    spread = value - jnp.min(image, axis=-1, keepdims=True)
    longest = value / jnp.where(spread > 0, spread, 1)  # where the saturation becomes 1
    factor = jnp.where(spread > 0, jnp.minimum(factor, longest), 1)
    return jnp.maximum(value - (value - image) * factor, 0)  # rounding may go below 0


AUGMENTS: dict[str, Callable[[Key[Array, ""], Images], Images]] = {
    "none": none,
    "crop_flip": crop_flip,
    "rotation_shift_zoom": rotation_shift_zoom,
    "flip_shift_cutout": flip_shift_cutout,
}
OF_PLAIN_IMAGES = ("flip_shift_cutout",)
"""Names of those that change colours, and so need images in [0, 1]; the others take any images."""
