"""Change how far jumps aim over a run: far while weights have far to go, near at the end."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from nowcast.types import UserError, real, whole


def decaying_horizon(
    jumps: int, first: int = 40, last: int = 1, power: float = 2.0
) -> Callable[[Any], Any]:
    """A horizon for each of ``jumps`` jumps, from ``first`` down to ``last``.

    Later jumps use ``last``.

    The horizons' ``power``-th roots are evenly spaced. NiNo (Knyazev et al., ICLR 2025) goes from
    40 down to 1 with power 2:

    Examples:
        >>> import nowcast, optax
        >>> horizon = nowcast.decaying_horizon(10)
        >>> [int(horizon(jump)) for jump in range(10)]
        [40, 33, 26, 21, 16, 11, 8, 5, 3, 1]
        >>> linear = nowcast.load("linear")
        >>> tx = nowcast.periodic(optax.adam(3e-3), linear, every=200, horizon=horizon)

    Raises:
        UserError: A number is out of range.
    """
    begin, end = (
        whole(name, value, "snapshots") for name, value in (("first", first), ("last", last))
    )
    if not real("power", power, "must be above 0") > 0:
        raise UserError(f"power={power!r} must be above 0")
    roots = np.linspace(begin ** (1 / power), end ** (1 / power), whole("jumps", jumps, "jumps"))
    each = np.rint(roots**power).astype(np.int32)
    return lambda jump: jnp.asarray(each)[jnp.minimum(jump, len(each) - 1)]
