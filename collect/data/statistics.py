"""Means and deviations of many images, which need not be in memory together."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, UInt8

Statistics = tuple[Float[np.ndarray, "1 1 1 C"], Float[np.ndarray, "1 1 1 C"]]


def statistics(parts: Iterable[np.ndarray]) -> Statistics:
    """``(mean, deviation)`` of each channel, of uint8 images as numbers in [0, 1].

    Each value is counted, so the result is the same however the images are divided into parts.
    """
    counts: np.ndarray | None = None
    for images in parts:
        own = [
            np.bincount(images[..., channel].ravel(), minlength=256)
            for channel in range(images.shape[-1])
        ]
        counts = np.array(own) if counts is None else counts + own
    assert counts is not None
    values, total = np.arange(256), counts.sum(axis=1)
    mean = counts @ values / total
    spread = np.sqrt(np.sum(counts * (values - mean[:, None]) ** 2, axis=1) / total)
    return shaped(mean / 255, spread / 255)


def mean_image(
    parts: Iterable[UInt8[np.ndarray, "N height width C"]],
) -> Float[np.ndarray, "1 height width C"]:
    """The mean of uint8 images, pixel by pixel, as numbers in [0, 1].

    The sums are exact, so the result is the same however the images are divided into parts.
    """
    total, count = np.zeros((), np.int64), 0
    for images in parts:
        total, count = total + images.sum(axis=0, dtype=np.int64), count + len(images)
    return (total[None] / (255 * count)).astype(np.float32)


def shaped(mean: np.ndarray, spread: np.ndarray) -> Statistics:
    """Mean and deviation as float32 arrays that broadcast with a batch.

    The deviation of a channel without variation is taken as 1.
    """
    mean, spread = (np.float32(value).reshape(1, 1, 1, -1) for value in (mean, spread))
    return mean, np.where(spread > 0, spread, np.float32(1))
