"""The report's pictures, as matplotlib figures."""

import io
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nowcast.evaluation.arms import ALONE, CONSTANT, TUNED

INK = "#010203"
"""Stands for the page's own text colour; :func:`svg` replaces it."""
COLOURS = ("#7f7f7f", "#e07b1f", "#1f77d0", "#2ca05a", "#a05ac8", "#c83c50")
PLAIN: Any = {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
"""For every picture of the project."""
STYLE: Any = PLAIN | {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 11, "text.color": INK, "axes.edgecolor": INK,
    "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "svg.hashsalt": "weight-nowcaster",
}  # fmt: skip
TITLES = {CONSTANT: "Constant learning rate", TUNED: "Tuned base: best rate, cosine decay"}


def curves(results: Mapping[str, Any], *, jump_every: float | None) -> Figure:
    """Validation loss over epochs, a panel per base: median and quartiles over seeds, target, crossings, jumps.

    The panels end at twice the initial loss; spikes above leave them.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 4.4), layout="constrained")
        for axes, base in zip(figure.subplots(1, 2), (CONSTANT, TUNED), strict=True):
            _panel(axes, results, base, jump_every)
        figure.axes[0].set_ylabel("validation loss")
        figure.axes[0].legend(loc="upper right")
    return figure


def _panel(axes: Axes, results: Mapping[str, Any], base: str, jump_every: float | None) -> None:
    target = results["choice"]["targets"][base]
    rows = [row for row in results["arms"] if row["base"] == base]
    for row, colour in zip(rows, COLOURS, strict=False):
        runs = results["curves"][row["name"]]
        epochs = np.array(runs[0]["epoch"])
        losses = np.array([run["loss"] for run in runs], float)
        low, middle, high = np.nanquantile(losses, [0.25, 0.5, 0.75], axis=0)
        label = "no nowcasting" if row["forecaster"] == ALONE else row["forecaster"]
        axes.plot(epochs, middle, color=colour, label=label, lw=2, zorder=3)
        axes.fill_between(epochs, low, high, color=colour, alpha=0.15, lw=0)
        reached = row["own_target"]["median_epochs"]
        if row["own_target"]["reached"] > len(runs) / 2:
            axes.plot([reached], [target], "o", color=colour, ms=7, mec="white", zorder=5, clip_on=False)
    axes.axhline(target, color=INK, lw=1, ls="--", alpha=0.6)
    axes.annotate("target", (0.995, target), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=9)
    if jump_every:
        for epoch in np.arange(jump_every, epochs[-1] + 1e-9, jump_every):
            axes.axvline(epoch, color=INK, lw=0.6, ls=":", alpha=0.35)
    start = np.median([run["loss"][0] for run in results["curves"][rows[0]["name"]]])
    axes.set(yscale="log", xlabel="epoch", title=TITLES[base], xlim=(0, epochs[-1]))
    axes.set_ylim(top=2 * start)  # what a jump throws beyond that is told by the table's worst rise
    axes.yaxis.set_major_formatter("{x:g}")


def forest(results: Mapping[str, Any]) -> Figure:
    """Speed-up of every forecaster over its own base, with 95 % intervals."""
    rows = [row for row in results["arms"] if row["forecaster"] != ALONE][::-1]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 0.9 + 0.45 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for place, row in enumerate(rows):
            value, low, high = row["own_target"]["speed_up"]
            colour = COLOURS[2] if low > 1 else COLOURS[5] if high < 1 else COLOURS[0]
            axes.plot([low, high], [place, place], color=colour, lw=3, solid_capstyle="round")
            axes.plot([value], [place], "o", color=colour, ms=9)
        axes.axvline(1, color=INK, lw=1)
        axes.set_yticks(range(len(rows)), [f"{row['forecaster']} over {row['base']}" for row in rows])
        axes.set(
            xlabel="epochs of the base / epochs with the forecaster (above 1: faster)", ylim=(-0.6, len(rows) - 0.4)
        )
        axes.margins(x=0.08)
    return figure


def png(figure: Figure) -> bytes:
    """A figure as a PNG file's content."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def svg(figure: Figure, name: str) -> str:
    """A figure as inline SVG whose ink takes the page's text colour; its ids begin with ``name``."""
    with matplotlib.rc_context(STYLE):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    for reference in ('id="', 'href="#', "url(#"):
        text = text.replace(reference, f"{reference}{name}-")
    return text[text.index("<svg") :].replace(INK, "currentColor")
