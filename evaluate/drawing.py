"""How the report's pictures look: colours, lines, numbers on axes; and a picture as SVG."""

import io
from collections.abc import Sequence
from typing import Any

from collect.figures import PLAIN, Axis, Figure, LogLocator, matplotlib

INK = "#010203"
"""Stands for the page's own text colour; :func:`svg` replaces it."""
COLOURS = (
    "#7f7f7f",
    "#e07b1f",
    "#1f77d0",
    "#2ca05a",
    "#a05ac8",
    "#c83c50",
    "#17a2b0",
    "#b08a1a",
    "#d667ad",
    "#6b8e23",
)
DASHES = ("-", "--", ":")
"""Lines, one after another, when the colours begin again."""
BETTER, NEITHER, WORSE = COLOURS[2], COLOURS[0], COLOURS[5]
STYLE: Any = PLAIN | {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.fontsize": 9,
    "svg.hashsalt": "weight-nowcaster",
}


def round_numbers(axis: Axis, firsts: Sequence[float]) -> None:
    """Numbers on a logarithmic axis at these multiples of powers of ten alone."""
    axis.set_major_locator(LogLocator(subs=firsts))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def svg(figure: Figure, name: str) -> str:
    """A figure as inline SVG in the page's text colour; its ids begin with ``name``."""
    with matplotlib.rc_context(STYLE):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    for reference in ('id="', 'href="#', "url(#"):
        text = text.replace(reference, f"{reference}{name}-")
    return text[text.index("<svg") :].replace(INK, "currentColor")
