"""The parts of matplotlib that pictures are made of, on any machine.

``MPLBACKEND`` names what shows pictures on a screen. Ours go to files alone, but matplotlib reads
the variable when it is imported, and refuses a name that it does not know: that of a notebook's
back end, in a process that a notebook started with another Python.
"""

import contextlib
import io
import os
import sys
from typing import Any


def import_matplotlib() -> None:
    """Import matplotlib, and then take the back end of ``MPLBACKEND`` where matplotlib has it."""
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend


import_matplotlib()

import matplotlib  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.axis import Axis  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.ticker import LogLocator  # noqa: E402

__all__ = [
    "PLAIN",
    "Axes",
    "Axis",
    "Figure",
    "Line2D",
    "LogLocator",
    "import_matplotlib",
    "matplotlib",
    "png",
]

PLAIN: Any = {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
"""The style of every picture of the project."""


def png(figure: Figure) -> bytes:
    """A figure as a PNG file's content."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
