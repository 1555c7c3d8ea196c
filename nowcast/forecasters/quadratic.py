"""Quadratic fit: a parabola through the window, read off ``horizon`` snapshots later.

The fit is by least squares.

A baseline of Introspection (Sinha et al., ICLR 2017, §4).
"""

from dataclasses import dataclass
from typing import ClassVar

from nowcast.forecasters.linear import Linear


@dataclass(frozen=True, kw_only=True)
class Quadratic(Linear):
    """``x̂(t + h) = a + b·(t + h) + c·(t + h)²``, fitted by least squares as in :class:`Linear`."""

    name: ClassVar[str] = "quadratic"
    degree: ClassVar[int] = 2
