"""Set the style of the report's pictures (colours, lines, axes), and turn a picture into SVG."""

import io
from collections.abc import Sequence
from typing import Any

from collect.figures import PLAIN, Axis, Figure, LogLocator, matplotlib

INK = "#010203"
"""The colour of text and axes; :func:`svg` replaces it by the page's text colour."""
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
"""Line styles: the next one is used each time the colours are used up."""
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
    """Label a logarithmic axis at these multiples of powers of ten, and nowhere else."""
    axis.set_major_locator(LogLocator(subs=firsts))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def svg(figure: Figure, name: str) -> str:
    """A figure as inline SVG in the page's text colour.

    All ids in the SVG begin with ``name``, so that a page can hold several pictures.
    """
    with matplotlib.rc_context(STYLE):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    for reference in ('id="', 'href="#', "url(#"):
        text = text.replace(reference, f"{reference}{name}-")
    return text[text.index("<svg") :].replace(INK, "currentColor")
