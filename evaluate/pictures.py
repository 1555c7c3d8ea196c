"""The report's pictures, as matplotlib figures."""

import io
from collections.abc import Mapping, Sequence
from itertools import cycle, product
from typing import Any

import numpy as np
from jaxtyping import Float

from collect.figures import PLAIN, Axes, Axis, Figure, Line2D, LogLocator, matplotlib
from collect.tasks.protocol import Metric
from evaluate import metrics
from evaluate.decision import Ratio, Verdict
from evaluate.protocol import HONEST, target_metric
from evaluate.tables import panels, sweeps

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
MANY = 8
"""Arms in a panel above which it has the whole width, and its legend beside it."""
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


def drawn(results: Mapping[str, Any]) -> dict[str, Figure]:
    """The pictures of a task's results, by name: ``curves``, and before it ``sweep`` where there is
    one; of the robust protocol ``robust``, of the budget's ``budget``.
    """
    if "robust" in results:
        return {"robust": robust(results)}
    if "budget" in results:
        return {"budget": budget(results)}
    found = {"sweep": sweep(results), "curves": curves(results)}
    return {name: figure for name, figure in found.items() if figure is not None}


def curves(results: Mapping[str, Any]) -> Figure:
    """How runs went, a panel per base: median and quartiles over seeds, the headline's target,
    crossings, jumps.

    What targets are values of: the first metric, or by the paper's protocol another. Of what is
    compared by ratio and better when lower, like a loss, the axis is logarithmic, and what lies
    above twice the initial value, or is not finite, leaves the panel.
    """
    shown = panels(results)
    crowded = any(len(rows) > MANY for rows in shown.values())
    columns = 1 if crowded else min(len(shown), 2)
    rows = -(-len(shown) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(
            figsize=(11 if len(shown) > 1 or crowded else 7, 4.3 * rows), layout="constrained"
        )
        axes = np.ravel(figure.subplots(rows, columns, squeeze=False))
        for place, (name, own) in zip(axes, shown.items(), strict=False):
            _panel(place, results, name, own)
        for empty in axes[len(shown) :]:
            empty.set_axis_off()
    return figure


def _panel(
    axes: Axes, results: Mapping[str, Any], base: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    protocol = results["protocol"]
    metric = target_metric(metrics.of(results), protocol["name"])
    target = results["targets"][base][protocol["headline"]]
    like_a_loss = metric.better == "lower" and metric.compare == "ratio"
    for row, (dashes, colour) in zip(rows, cycle(product(DASHES, COLOURS)), strict=False):
        runs = results["curves"][row["name"]]
        epochs, steps = np.array(runs[0]["epoch"]), np.array(runs[0]["step"])
        low, middle, high = np.quantile(_values(runs, metric), [0.25, 0.5, 0.75], axis=0)
        axes.plot(epochs, middle, dashes, color=colour, label=row["name"], lw=1.9, zorder=3)
        axes.fill_between(epochs, low, high, color=colour, alpha=0.15, lw=0)
        jumps = np.isin(steps, runs[0]["jumps"]["step"])
        axes.plot(epochs[jumps], middle[jumps], "v", color=colour, ms=4.5, mec="none", zorder=4)
        against = row["against"][base][protocol["headline"]]
        if against["reached"] > len(runs) / 2:
            axes.plot(
                [against["epochs"]["median"]],
                [target],
                "o",
                color=colour,
                ms=7,
                mec="white",
                zorder=5,
                clip_on=False,
            )
    axes.axhline(target, color=INK, lw=1, ls="--", alpha=0.6)
    axes.annotate(
        "target",
        (0.995, target),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        fontsize=9,
    )
    split = metrics.splits(results)[0 if protocol["name"] == HONEST else -1]
    axes.set(
        xlabel="epoch", ylabel=f"{split} {metric.name}", title=f"over {base}", xlim=(0, epochs[-1])
    )
    if like_a_loss:
        start = np.median(_values(results["curves"][base], metric)[:, 0])
        axes.set(yscale="log")
        highest = max(np.max(_values(results["curves"][row["name"]], metric)) for row in rows)
        axes.set_ylim(
            top=min(2 * start, 1.1 * highest)
        )  # what a jump throws beyond that is told by the table of dips
        _round_numbers(axes.yaxis, (1, 2, 5))
    if len(rows) > MANY:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    else:
        axes.legend(loc="upper right" if metric.better == "lower" else "lower right")


def _round_numbers(axis: Axis, firsts: Sequence[float]) -> None:
    """Numbers on a logarithmic axis at these multiples of powers of ten alone."""
    axis.set_major_locator(LogLocator(subs=firsts))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def _values(
    runs: Sequence[Mapping[str, Any]], metric: Metric
) -> Float[np.ndarray, "runs evaluations"]:
    """What runs measured; what is not finite is as bad as the worst of the others, and like a loss
    far above all of them.
    """
    values = np.array([run[metric.name] for run in runs], float)
    finite = np.isfinite(values)
    if metric.better == "lower" and metric.compare == "ratio":
        return np.where(finite, values, 100 * np.max(values, where=finite, initial=1.0))
    worst = metrics.oriented(
        metric, np.max(metrics.oriented(metric, values), where=finite, initial=-np.inf)
    )
    return np.where(finite, values, np.where(np.isfinite(worst), worst, 0.0))


def forest(entries: Sequence[tuple[str, Ratio, str, Verdict]], label: str) -> Figure:
    """Ratios with their 95 % intervals, one above another: blue above 1, red below, grey where no
    difference is shown.

    Args:
        entries: ``(name, (value, low, high), what stands at its right, what that interval shows)``,
            from the top; what is not finite, or None, has no mark.
        label: Of the axis.
    """
    entries = entries[::-1]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.5, 1.0 + 0.38 * len(entries)), layout="constrained")
        axes = figure.subplots()
        for place, (_, found, note, said) in enumerate(entries):
            value, low, high = (np.nan if one is None else one for one in found)
            colour = {Verdict.BETTER: BETTER, Verdict.WORSE: WORSE}.get(said, NEITHER)
            if np.isfinite([low, high]).all():
                axes.plot([low, high], [place, place], color=colour, lw=3, solid_capstyle="round")
            if np.isfinite(value):
                axes.plot([value], [place], "o", color=colour, ms=8)
            axes.annotate(
                note,
                (1.01, place),
                xycoords=("axes fraction", "data"),
                ha="left",
                va="center",
                fontsize=9.5,
            )
        axes.axvline(1, color=INK, lw=1)
        axes.set_yticks(range(len(entries)), [name for name, *_ in entries])
        axes.set(xlabel=label, ylim=(-0.6, len(entries) - 0.4), xscale="log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="x", which="minor", labelsize=8)
        axes.margins(x=0.08)
    return figure


def sweep(results: Mapping[str, Any]) -> Figure | None:
    """What each arm gains over bases of many learning rates, in steps above and at the end below,
    with 95 % intervals; None where none differ in that alone.
    """
    if not (shown := sweeps(results)):
        return None
    metric, *_ = metrics.of(results)
    names = dict.fromkeys(name for arms in shown.values() for name in arms)
    looks = dict(zip(names, cycle(product(DASHES, COLOURS[1:])), strict=False))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.5 + 5 * len(shown), 7.5), layout="constrained")
        axes = figure.subplots(2, len(shown), squeeze=False, sharey="row")
        for column, (words, arms) in zip(axes.T, shown.items(), strict=True):
            marked = sorted({rate for points in arms.values() for rate, *_ in points})
            for kind, place in enumerate(column):
                _gains(
                    place,
                    {
                        name: [(rate, both[kind]) for rate, *both in points]
                        for name, points in arms.items()
                    },
                    looks,
                )
                by_ratio = kind == 0 or metric.compare == "ratio"
                place.axhline(1 if by_ratio else 0, color=INK, lw=1)
                place.set(xscale="log", xlabel="learning rate", title=f"over {words}")
                place.set_xticks(marked, [f"{rate:g}" for rate in marked])
                place.set_xticks([], minor=True)
                if by_ratio:
                    place.set(yscale="log")
                    _round_numbers(place.yaxis, (1, 1.5, 2, 3, 5, 7))
        axes[0, 0].set_ylabel("steps to the target, base / arm")
        axes[1, 0].set_ylabel(f"final {metric.name}, {metrics.pair(metric)}")
        handles = [
            Line2D([], [], ls=dashes, marker="o", color=colour, label=name)
            for name, (dashes, colour) in looks.items()
        ]
        figure.legend(handles=handles, loc="outside right upper")
    return figure


def _gains(
    axes: Axes,
    arms: Mapping[str, Sequence[tuple[float, Ratio]]],
    looks: Mapping[str, tuple[str, str]],
) -> None:
    for number, (name, points) in enumerate(arms.items()):
        dashes, colour = looks[name]
        beside = 1.04 ** (number - (len(arms) - 1) / 2)  # so that intervals do not cover each other
        rates = beside * np.array([rate for rate, _ in points])
        value, low, high = np.array([found for _, found in points], float).T
        axes.plot(rates, value, f"o{dashes}", color=colour, ms=5, lw=1.2)
        axes.vlines(rates, low, high, color=colour, lw=1.8, alpha=0.55)


def robust(results: Mapping[str, Any]) -> Figure:
    """Where each method ends, by the rate that it began with: medians over seeds; dashed, where the
    swept base ends.

    What is not finite has no mark. Of what is compared by ratio and better when lower, like a loss,
    the axis is logarithmic.
    """
    metric, block = metrics.of(results)[0], results["robust"]
    rows = {row["name"]: row for row in results["arms"]}
    rates = [start * block["learning_rate"] for start in block["starts"]]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.5, 4.8), layout="constrained")
        axes = figure.subplots()
        for method, (dashes, colour) in zip(
            block["methods"], cycle(product(DASHES, COLOURS[1:])), strict=False
        ):
            finals = [rows[start["arm"]][f"final_{metric.name}"] for start in method["starts"]]
            values = [np.nan if one is None else one for one in finals]
            axes.plot(rates, values, f"o{dashes}", color=colour, ms=5, lw=1.6, label=method["name"])
        base = rows[block["base"]][f"final_{metric.name}"]
        axes.axhline(
            np.nan if base is None else base,
            color=INK,
            lw=1,
            ls="--",
            alpha=0.6,
            label=block["base"],
        )
        _final_by(axes, results, rates, "learning rate one began with")
        figure.legend(loc="outside right upper")
    return figure


def budget(results: Mapping[str, Any]) -> Figure:
    """Where the swept base ends at each length, and every arm with a line to where the base is as
    good.

    The base's values are the median and quartiles over seeds; what is not finite has no mark. Of
    what is compared by ratio and better when lower, like a loss, the axis is logarithmic.
    """
    block, epochs = results["budget"], results["about"]["epochs"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.5, 4.8), layout="constrained")
        axes = figure.subplots()
        ends = np.array([one["each"] for one in block["lengths"]], float)
        ends = np.where(np.isfinite(ends), ends, np.nan)
        places = [one["length"] * epochs for one in block["lengths"]]
        low, middle, high = np.quantile(ends, [0.25, 0.5, 0.75], axis=1)
        axes.plot(places, middle, "o-", color=COLOURS[0], ms=5, lw=1.9, label=block["base"])
        axes.fill_between(places, low, high, color=COLOURS[0], alpha=0.2, lw=0)
        for arm, colour in zip(block["arms"], cycle(COLOURS[1:]), strict=False):
            value = np.nan if arm["final"] is None else arm["final"]
            equal = arm["speed_up"][0]
            if equal is not None:
                axes.plot([epochs, equal * epochs], [value] * 2, color=colour, lw=1.4, alpha=0.8)
            [mark] = axes.plot([epochs], [value], "D", color=colour, ms=7, zorder=4)
            mark.set(label=arm["name"], markeredgecolor="white")
        _final_by(axes, results, places, "length, epochs")
        figure.legend(loc="outside right upper")
    return figure


def _final_by(axes: Axes, results: Mapping[str, Any], places: Sequence[float], label: str) -> None:
    """Axes of a final value of the first metric by something on a logarithmic axis, marked at these
    places.
    """
    metric, split = metrics.of(results)[0], metrics.splits(results)[0]
    axes.set(xscale="log", xlabel=label, ylabel=f"final {split} {metric.name}")
    axes.set_xticks(places, [f"{place:.3g}" for place in places])
    axes.set_xticks([], minor=True)
    if metric.better == "lower" and metric.compare == "ratio":
        axes.set(yscale="log")
        _round_numbers(axes.yaxis, (1, 1.5, 2, 3, 5, 7))


def svg(figure: Figure, name: str) -> str:
    """A figure as inline SVG in the page's text colour; its ids begin with ``name``."""
    with matplotlib.rc_context(STYLE):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    for reference in ('id="', 'href="#', "url(#"):
        text = text.replace(reference, f"{reference}{name}-")
    return text[text.index("<svg") :].replace(INK, "currentColor")
