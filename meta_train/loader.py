"""Make the windows that steps draw from, ahead in a thread, in each process its own share.

A *pool* is what is in memory: ``DEPTH`` parts, the oldest of which is replaced regularly. Parts are
arrays ``(networks, slots, windows, columns)``, one handful a slot, split by slots over all devices
of all processes. A step takes equally many windows of every slot, so that no device needs another
one's, and a pool is the same whatever the number of devices.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from meta_train.source import Source
from nowcast.types import UserError

SLOTS = 64
"""Handfuls per network in a part."""
DEPTH = 8
Pool = tuple[jax.Array, ...]


def devices() -> list[jax.Device]:
    """The devices that a fit is split over: all devices of all processes."""
    return jax.devices()


def sharding() -> jax.sharding.NamedSharding:
    """The sharding of parts: by slots over all devices.

    Raises:
        UserError: They cannot be split.
    """
    if SLOTS % len(devices()):
        raise UserError(
            f"{len(devices())} devices: a fit splits its windows over 1, 2, 4, 8, 16, 32 or 64; "
            "show JAX so many of them (CUDA_VISIBLE_DEVICES, JAX_NUM_CPU_DEVICES)"
        )
    mesh = jax.sharding.Mesh(np.array(devices()), ("data",))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "data"))


def everywhere() -> jax.sharding.NamedSharding:
    """The sharding of parameters: all of them on every device."""
    return jax.sharding.NamedSharding(sharding().mesh, jax.sharding.PartitionSpec())


def pools(
    source: Source, networks: Sequence[str], *, size: int, seed: int, first: int = 0
) -> Iterator[Pool]:
    """Yield pool after pool, from number ``first`` on; seed and number determine each pool.

    Args:
        source: Draws the windows.
        networks: The networks, in the order of the pool's first axis.
        size: How many windows a handful has.
        seed: The seed of all draws.
        first: The number of the first pool.
    """
    split = sharding()
    shape = (len(networks), SLOTS, size, source.columns)

    def make(number: int) -> jax.Array:
        def share(index: Any) -> np.ndarray:
            mine = range(*index[1].indices(SLOTS))
            return np.stack(
                [
                    [source.handful(name, size, (seed, number, slot)) for name in networks]
                    for slot in mine
                ],
                axis=1,
            )

        return jax.make_array_from_callback(shape, split, share)

    with ThreadPoolExecutor(1) as thread:
        parts = {number: make(number) for number in range(first, first + DEPTH)}
        while True:
            ahead = thread.submit(make, first + DEPTH)
            yield tuple(parts.values())
            del parts[first]
            first += 1
            parts[first + DEPTH - 1] = ahead.result()
