"""Elementwise work on large arrays, a piece at a time: what a network needs for each weight is many times the weight."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import jax
import jax.numpy as jnp
from jax import Array, lax

LIMIT = {"cpu": 2**13}
"""Weights of a piece, by platform: on a CPU its intermediate values fit the cache."""
ELSEWHERE = 2**18
SHARDS = (64, 8, 1)
"""An axis is cut so that what is left of it still splits over as many devices; over fewer where pieces would stay large."""


def chunked(work: Callable[..., Array], parts: Sequence[Array], shape: tuple[int, ...], like: Array) -> Array:
    """``work(*parts)``, a piece of ``shape`` at a time.

    Args:
        work: Elementwise: from arrays with axes of their own in front of ``*shape`` to one of ``*shape``; any shape will do.
        parts: The arrays.
        shape: Their last axes.
        like: Of the result's shape, dtype and sharding.

    Axes are cut into strides, not blocks: each piece holds some of every device's part of an array that is split over devices, so that no
    device needs another one's.
    """
    limit = LIMIT.get(jax.default_backend(), ELSEWHERE)
    cuts = pieces(shape, limit)
    total = math.prod(cuts)
    if total == 1:
        return work(*parts)
    rest = tuple(size // cut for size, cut in zip(shape, cuts, strict=True))
    split = tuple(number for pair in zip(rest, cuts, strict=True) for number in pair)

    def starts(number: Array) -> list[Array]:
        found: list[Array] = []
        for cut in reversed(cuts):
            found[:0] = [jnp.zeros_like(number), number % cut]
            number = number // cut
        return found

    def one(number: Array, result: Array) -> Array:
        at, some = starts(number), []
        for part in parts:
            lead = part.shape[: part.ndim - len(shape)]
            sizes = (*lead, *(n for size in rest for n in (size, 1)))
            whole = part.reshape(*lead, *split)
            piece = lax.dynamic_slice(whole, [*[jnp.zeros_like(number)] * len(lead), *at], sizes)
            some.append(piece.reshape(*lead, *rest))
        piece = work(*some).reshape([n for size in rest for n in (size, 1)])
        return lax.dynamic_update_slice(result, piece, at)

    return lax.fori_loop(0, total, one, jnp.zeros_like(like).reshape(split)).reshape(shape)


@lru_cache(maxsize=1024)
def pieces(shape: tuple[int, ...], limit: int) -> tuple[int, ...]:
    """Into how many strides to cut each axis, so that a piece has at most ``limit`` entries, where that can be had."""
    cuts = [1] * len(shape)
    size = math.prod(shape)
    for keep in SHARDS:
        if keep == 1 and size <= 16 * limit:
            break
        for axis, length in enumerate(shape):
            left = length // cuts[axis]
            for factor in _factors(left // math.gcd(left, keep)):
                if size > limit and size // factor >= limit // 16:  # not into crumbs: an axis may be prime
                    cuts[axis] *= factor
                    size //= factor
    return tuple(cuts)


def _factors(number: int) -> list[int]:
    found, factor = [], 2
    while factor * factor <= number:
        while number % factor == 0:
            found.append(factor)
            number //= factor
        factor += 1
    return [*found, number] if number > 1 else found
