"""The parts of matplotlib that pictures are made of, on any machine.

``MPLBACKEND`` names what shows pictures on a screen. Ours go to files alone, but matplotlib reads the variable when it is imported, and
refuses a name that it does not know: that of a notebook's back end, in a process that a notebook started with another Python.
"""

import os
from importlib import import_module

try:
    import_module("matplotlib")
except ValueError:
    os.environ.pop("MPLBACKEND", None)

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

__all__ = ["Axes", "Axis", "Figure", "Line2D", "LogLocator", "matplotlib"]
