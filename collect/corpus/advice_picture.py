"""Draw how a run moved: its drift, and what the drift said of its rate, over its steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from collect.corpus.advising import Increments, Reading
from collect.figures import PLAIN, Figure, matplotlib
from nowcast.movement import WINDOW, measure, windows

BAND: Any = {"alpha": 0.2, "lw": 0}
MIDDLE = (25, 75)
"""The band around the drift lies between these percentiles of the leaves."""


def draw(increments: Increments, course: Sequence[Reading]) -> Figure:
    """Drift above, with the middle half of the leaves; below, the factor with its interval."""
    steps = increments.steps[WINDOW - 1 :]
    leaves = [measure(windows(increments.each[:, i])).drift for i in range(len(increments.leaves))]
    lower, upper = np.percentile(leaves, MIDDLE, axis=0)
    with matplotlib.rc_context(PLAIN):
        figure = Figure(figsize=(6.4, 5.2), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True)
        above.fill_between(steps, lower, upper, **BAND, label="the middle half of the leaves")
        above.plot(steps, [reading.drift for reading in course], lw=1.5, label="all weights")
        above.axhline(0, color="0.6", lw=0.8)
        above.set(ylabel="drift", title=increments.name)
        above.legend()
        low, likely, high = np.array([reading.factor for reading in course]).T
        below.fill_between(steps, low, high, **BAND, label="8 of 10 calibrated runs")
        below.plot(steps, likely, lw=1.5, label="the middle one")
        below.axhline(1, color="0.6", lw=0.8)
        below.set(ylabel="best rate / rate", xlabel="step", yscale="log")
        below.legend()
    return figure
