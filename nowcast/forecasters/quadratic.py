"""Quadratic fit: a parabola through the window by least squares, read off ``horizon`` snapshots
later.

A baseline of Introspection (Sinha et al., ICLR 2017, §4).
"""

from dataclasses import dataclass
from typing import ClassVar

from nowcast.forecasters.linear import Linear


@dataclass(frozen=True, kw_only=True)
class Quadratic(Linear):
    """``x̂(t + h) = a + b·(t + h) + c·(t + h)²``, the three by least squares, as :class:`Linear`
    does it.
    """

    name: ClassVar[str] = "quadratic"
    degree: ClassVar[int] = 2
