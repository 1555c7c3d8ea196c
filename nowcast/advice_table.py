"""A table that turns a run's drift into how far its learning rate is from its best.

``scripts/calibrate_advice.py`` made it. For shares of a run and for drifts it holds the 10 %, 50 %
and 90 % points of ``log2(best rate / rate)`` over runs of several tasks, where every rate from 1/64
to 8 times the best is equally likely.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

FILE = Path(__file__).with_name("advice.json")
SCALE = 0.05
"""The table is spaced evenly in ``asinh(drift / SCALE)``: most finely near a drift of 0."""


class Factor(NamedTuple):
    """The best rate divided by the rate."""

    low: float
    """In one run of ten the factor is lower."""
    likely: float
    high: float
    """In one run of ten the factor is higher."""


class Table(NamedTuple):
    """Points of ``log2(best rate / rate)``: low, likely, high."""

    shares: Float[np.ndarray, "P"]
    drifts: Float[np.ndarray, "K"]
    points: Float[np.ndarray, "P K 3"]
    overall: Float[np.ndarray, "K 3"]
    """Where the share of the run is not known."""

    def factor(self, drift: float, share: float | None) -> Factor:
        """The factor for a drift after this share of a run.

        Drifts outside the table count as its ends.
        """
        points = self.overall if share is None else self._at(share)
        place = scaled(np.clip(drift, self.drifts[0], self.drifts[-1]))
        logs = [np.interp(place, scaled(self.drifts), column) for column in points.T]
        return Factor(*(float(2**log) for log in logs))

    def _at(self, share: float) -> Float[np.ndarray, "K 3"]:
        place = np.clip(share, self.shares[0], self.shares[-1])
        after = int(np.clip(np.searchsorted(self.shares, place), 1, len(self.shares) - 1))
        before = self.shares[after - 1]
        part = (place - before) / (self.shares[after] - before)
        return (1 - part) * self.points[after - 1] + part * self.points[after]


def scaled(drift: Any) -> Any:
    """Drifts on the scale on which the table is evenly spaced."""
    return np.arcsinh(np.asarray(drift) / SCALE)


def read(content: dict[str, Any]) -> Table:
    """Read the table from a JSON object."""
    return Table(*(np.array(content[name], np.float64) for name in Table._fields))


@cache
def shipped() -> Table:
    """The table that comes with the library."""
    return read(json.loads(FILE.read_text(encoding="utf-8")))
