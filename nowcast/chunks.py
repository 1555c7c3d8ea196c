"""Compute elementwise work on large arrays in pieces, in bounded memory.

A network needs many times a weight's memory for each weight.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import PartitionSpec as P

LIMIT = {"cpu": 2**13}
"""Weights in a piece, by platform: on a CPU a piece's intermediate values fit the cache."""
ELSEWHERE = 2**18
LEAST, MOST_PIECES = 2**9, 64
"""A piece is a 64th of a leaf, but 512 weights at least and :data:`LIMIT` at most.

Memory for a piece's intermediate values is allocated at every step of a run, even without a jump,
and small models feel it.
"""
SHARDS = (64, 8, 1)
"""Each piece of an axis still splits over this many devices; over fewer if pieces stayed large."""


def chunked(work: Callable[..., Array], parts: Sequence[Array], like: Array) -> Array:
    """Compute ``work(*parts)``, one piece at a time.

    Args:
        work: Elementwise: from arrays with axes of their own in front of ``*shape`` to one of
            ``*shape``; any shape will do.
        parts: The arrays.
        like: Of the result's shape, dtype and sharding; its axes are the last ones of every array.

    Axes are cut into strides, not blocks: each piece holds some of every device's part of an array
    that is split over devices, so that no device needs another one's.
    """
    shape = like.shape
    limit = min(
        LIMIT.get(jax.default_backend(), ELSEWHERE), max(LEAST, math.prod(shape) // MOST_PIECES)
    )
    cuts = pieces(shape, limit)
    total = math.prod(cuts)
    if total == 1:
        return work(*parts)
    rest = tuple(size // cut for size, cut in zip(shape, cuts, strict=True))
    names = jax.typeof(
        like
    ).sharding.spec  # empty unless the mesh has explicit axes: then the compiler decides

    def paired(
        sizes: tuple[int, ...], inner: tuple[int, ...], lead: tuple[int, ...] = ()
    ) -> dict[str, Any]:
        """The shape with each axis split in two, the first of which is sharded as the axis was."""
        spec = (*[None] * len(lead), *(n for name in names for n in (name, None)))
        pairs = (n for pair in zip(sizes, inner, strict=True) for n in pair)
        return {"shape": (*lead, *pairs), "out_sharding": P(*spec) if any(names) else None}

    def starts(number: Array) -> list[Array]:
        found: list[Array] = []
        for cut in reversed(cuts):
            found[:0] = [jnp.zeros_like(number), number % cut]
            number = number // cut
        return found

    def one(number: Array, result: Array) -> Array:
        at, some, ones = starts(number), [], (1,) * len(shape)
        for part in parts:
            lead = part.shape[: part.ndim - len(shape)]
            sizes = paired(rest, ones, lead)["shape"]
            whole = jnp.reshape(part, **paired(rest, cuts, lead))
            piece = lax.dynamic_slice(whole, [*[jnp.zeros_like(number)] * len(lead), *at], sizes)
            some.append(lax.squeeze(piece, range(len(lead) + 1, piece.ndim, 2)))
        piece = lax.expand_dims(work(*some), range(1, 2 * len(shape), 2))
        return lax.dynamic_update_slice(result, piece, at)

    result = lax.fori_loop(0, total, one, jnp.reshape(jnp.zeros_like(like), **paired(rest, cuts)))
    return jnp.reshape(result, shape, out_sharding=P(*names) if any(names) else None)


@lru_cache(maxsize=1024)
def pieces(shape: tuple[int, ...], limit: int) -> tuple[int, ...]:
    """How many strides to cut each axis into, so that a piece has at most ``limit`` entries.

    Pieces are larger where an axis cannot be cut so finely.
    """
    cuts = [1] * len(shape)
    size = math.prod(shape)
    for keep in SHARDS:
        if keep == 1 and size <= 16 * limit:
            break
        for axis, length in enumerate(shape):
            left = length // cuts[axis]
            for factor in _factors(left // math.gcd(left, keep)):
                # No tiny pieces: an axis may have a prime length.
                if size > limit and size // factor >= limit // 16:
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
