"""Denoising diffusion implicit models: rates of signal and noise, and how samples are drawn.

The method is by Song et al., "Denoising Diffusion Implicit Models", ICLR 2021 (arXiv:2010.02502).
The rates follow a cosine in a continuous time, as in keras.io/examples/generative/ddim. Here too is
the measure of samples, the kernel inception distance (Bińkowski et al., ICLR 2018,
arXiv:1801.01401).
"""

import math
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

LEAST, MOST = 0.02, 0.95
"""The signal's rate at time 1, almost pure noise, and at time 0."""

Denoise = Callable[[Array, Array, Array], tuple[Array, Array]]
"""From noisy images and the rates of noise and signal, ``(noise, images)``."""


def rates(times: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """``(noise, signal)`` at times from 0 to 1; their squares add up to 1.

    Examples:
        >>> noise, signal = rates(jnp.array([0.0, 1.0]))
        >>> print(" ".join(f"{rate:.2f}" for rate in signal.tolist()))
        0.95 0.02
    """
    start, end = math.acos(MOST), math.acos(LEAST)
    angles = start + times * (end - start)
    return jnp.sin(angles), jnp.cos(angles)


def sample(denoise: Denoise, noise: Float[Array, "B height width C"], steps: int) -> Array:
    """Images from noise: equation 12 of the paper with σ = 0, in steps of equal time.

    Args:
        denoise: Tells noise and images apart.
        noise: What the first step takes as a noisy image.
        steps: How many steps there are.

    Returns:
        The images that the last step tells, ``(B, height, width, C)``.

    Examples:
        >>> def black(noisy, noise, signal):
        ...     return noisy / noise, jnp.zeros_like(noisy)
        >>> print(sample(black, jnp.ones((1, 2, 2, 1)), 5).shape)
        (1, 2, 2, 1)
    """
    noisy, images = noise, noise
    shape = (len(noise), 1, 1, 1)
    for step in range(steps):
        noises, images = denoise(noisy, *rates(jnp.full(shape, 1 - step / steps)))
        noise_rate, signal_rate = rates(jnp.full(shape, 1 - (step + 1) / steps))
        noisy = signal_rate * images + noise_rate * noises
    return images


def kernel_distance(real: Float[Array, "N D"], made: Float[Array, "M D"]) -> Float[Array, ""]:
    """The squared maximum mean discrepancy of features: the kernel inception distance.

    The kernel is ``(x·y / D + 1)³``, the estimate the unbiased one (Bińkowski et al., 2018, §2):
    means over pairs of different rows. It may be a little below 0 where both are alike.

    Args:
        real: Features of images, two or more.
        made: Features of samples, two or more.

    Examples:
        >>> import jax
        >>> real, made = (jax.random.normal(jax.random.key(i), (50, 8)) + i for i in (0, 1))
        >>> print(kernel_distance(real, made) > 1)
        True
    """
    within = (_within(real), _within(made))
    return sum(within) - 2 * jnp.mean(_kernel(real, made))


def _within(features: Float[Array, "N D"]) -> Float[Array, ""]:
    number = len(features)
    kernel = _kernel(features, features)
    return (jnp.sum(kernel) - jnp.sum(jnp.diagonal(kernel))) / (number * (number - 1))


def _kernel(one: Float[Array, "N D"], other: Float[Array, "M D"]) -> Float[Array, "N M"]:
    return (one @ other.T / one.shape[-1] + 1) ** 3
