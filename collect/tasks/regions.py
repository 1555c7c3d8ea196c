"""What segmentation is made of beside its network: augmentation, confusion, overlap, colours."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from collect.data.masks import VOID

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
"""The scales of training images in ``research/deeplab`` of github.com/tensorflow/models."""


def confusion(own: Array, told: Array, classes: int) -> Float[Array, "K K"]:
    """How many pixels of each class (row) were told to be of each (column); void ones are left out.

    Args:
        own: True classes, of any shape.
        told: Classes that a network tells, of the same shape.
        classes: How many classes there are.

    Examples:
        >>> import jax.numpy as jnp
        >>> print(confusion(jnp.array([0, 1, 1, 255]), jnp.array([0, 0, 1, 1]), 2))
        [[1. 0.]
         [1. 1.]]
    """
    rows, columns = (jax.nn.one_hot(each.ravel(), classes) for each in (own, told))
    return rows.T @ columns


def jaccard(counts: Float[np.ndarray, "K K"]) -> float:
    """The mean over classes of intersection over union, from a confusion matrix.

    A class that neither occurs nor is predicted does not count; 0 where no class counts.

    Examples:
        >>> import numpy as np
        >>> print(jaccard(np.array([[1.0, 0, 0], [1, 1, 0], [0, 0, 0]])))
        0.5
    """
    same = np.diag(counts)
    either = counts.sum(axis=0) + counts.sum(axis=1) - same
    present = either > 0
    return float(np.mean(same[present] / either[present])) if present.any() else 0.0


def rescaled(
    key: jax.Array, images: Float[Array, "B height width C"], own: Array
) -> tuple[Float[Array, "B height width C"], Array]:
    """Images and masks scaled by 0.5 to 2, cut out or padded to their own size, half mirrored.

    A larger image is cut at a place drawn at random. A smaller one lies at such a place, with 0
    around it, and void in the mask.

    Args:
        key: Decides all that is random.
        images: Normalised images.
        own: Their masks, ``(B, height, width)``.
    """
    scaling, placing, turning = jax.random.split(key, 3)
    count = len(images)
    scales = jnp.asarray(SCALES)[jax.random.randint(scaling, (count,), 0, len(SCALES))]
    chances = jax.random.uniform(placing, (count, 2))
    mirrored = jax.random.bernoulli(turning, shape=(count,))
    made, masks = jax.vmap(placed)(images, own, scales, chances)
    turn = mirrored[:, None, None]
    return (
        jnp.where(turn[..., None], made[:, :, ::-1], made),
        jnp.where(turn, masks[:, :, ::-1], masks),
    )


def placed(
    image: Float[Array, "height width C"],
    mask: Array,
    scale: Float[Array, ""],
    chance: Float[Array, "2"],
) -> tuple[Float[Array, "height width C"], Array]:
    """One image and its mask after scaling.

    Args:
        image: A normalised image.
        mask: Its classes, ``(height, width)``.
        scale: 2 doubles height and width.
        chance: Where the crop lies, of rows and columns: 0 at the top or left of what can be
            chosen, 1 at the bottom or right.
    """
    shape = jnp.asarray(mask.shape, image.dtype)
    shift = chance * (1 - scale) * shape
    made = jax.image.scale_and_translate(
        image, image.shape, (0, 1), jnp.stack([scale, scale]), shift, "linear", antialias=False
    )
    sources = [
        jnp.floor((jnp.arange(size) + 0.5 - own) / scale).astype(jnp.int32)
        for size, own in zip(mask.shape, shift, strict=True)
    ]
    (down, right), (height, width) = sources, mask.shape
    kept = ((down >= 0) & (down < height))[:, None] & ((right >= 0) & (right < width))[None]
    near = mask[jnp.clip(down, 0, height - 1)][:, jnp.clip(right, 0, width - 1)]
    return jnp.where(kept[..., None], made, 0), jnp.where(kept, near, VOID).astype(mask.dtype)


def palette() -> Float[np.ndarray, "256 3"]:
    """The colours of VOC's palette, numbers from 0 to 1; void is white here.

    Bit ``i`` of a class's number, by threes red, green and blue, is bit ``7 - i // 3`` of a colour.

    Examples:
        >>> print((255 * palette()[1:4]).astype(int).tolist())
        [[128, 0, 0], [0, 128, 0], [128, 128, 0]]
    """
    colours = np.zeros((256, 3), int)
    numbers = np.arange(256)
    for bit in range(8):
        colours[:, bit % 3] |= (numbers >> bit & 1) << (7 - bit // 3)
    colours[VOID] = 255
    return colours / 255


def coloured(
    classes: Integer[np.ndarray, "N height width"],
) -> Float[np.ndarray, "N height width 3"]:
    """Masks in the colours of :func:`palette`."""
    return palette()[classes]
