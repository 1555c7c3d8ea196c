"""The vocabulary that all modules share.

Shapes, in every signature (jaxtyping):

===========  ============================================================
``W``        snapshots in a window (5 in WNN)
``H``        snapshots between the window's last one and the forecast
``S``        snapshots in a trajectory
``N``        scalar weights
``B``        examples in a batch
``*shape``   the shape of one leaf of a parameter pytree
===========  ============================================================
"""

import math
import operator
from typing import Any, Literal, get_args

PyTree = Any
Operation = Literal["conv", "depthwise_conv", "fc", "bias", "norm", "embedding", "other"]
OPERATIONS: tuple[str, ...] = get_args(Operation)


class UserError(ValueError):
    """Something the user gave is wrong; the message is one line with the value and the cure."""


MOST = 2_000_000_000
"""The largest count: counters are int32."""


def whole(key: str, value: Any, of: str) -> int:
    """``value`` as an ``int`` from 1 to 2 billion, or a :class:`UserError`.

    ``of`` names what it counts.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if isinstance(value, bool) or number < 1:
        raise UserError(f"{key}={value!r} must be a whole number of {of}, 1 or more")
    if number > MOST:
        raise UserError(f"{key}={value!r} must be a whole number of {of}, {MOST:,} at most")
    return number


def real(key: str, value: Any, rule: str) -> float:
    """``value`` as a finite ``float``, or a :class:`UserError` with the rule."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool | str) or not math.isfinite(number):
        raise UserError(f"{key}={value!r} {rule}")
    return number


def first_line(error: BaseException) -> str:
    """What an error says first, without the library's inner details."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].split(" [")[0]
