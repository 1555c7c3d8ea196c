"""Resize images: cut large ones to a square, enlarge small ones to what a network needs."""

import jax
import jax.numpy as jnp
import numpy as np

BATCH = 1000


def cut(image: np.ndarray, size: int, channels: int) -> np.ndarray:
    """The central square of an image, resized to ``size`` pixels a side.

    The filter is Pillow's bilinear one, which averages as it shrinks. A grey image becomes one of
    three equal channels where the others have three.
    """
    from PIL import Image

    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    plane = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    square = Image.fromarray(plane).resize(
        (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )
    made = np.asarray(square)
    if made.ndim == 2:
        made = np.repeat(made[..., None], channels if channels in (1, 3) else 1, axis=-1)
    return made


def enlarged(images: np.ndarray, size: int) -> np.ndarray:
    """Resize all images to this height and width (bilinear; uint8 stays uint8, rounded)."""
    shape = (size, size, images.shape[-1])
    if images.dtype != np.uint8:
        return np.asarray(jax.image.resize(jnp.asarray(images), (len(images), *shape), "bilinear"))
    resized = np.empty((len(images), *shape), np.uint8)
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        resized[part] = _enlarged(images[part], size)
    return resized


def _resize(images: jax.Array, size: int) -> jax.Array:
    shape = (len(images), size, size, images.shape[-1])
    return jnp.round(jax.image.resize(images.astype(jnp.float32), shape, "bilinear"))


_enlarged = jax.jit(_resize, static_argnums=1)
