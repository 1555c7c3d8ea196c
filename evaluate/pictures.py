"""Draw the report's pictures, as matplotlib figures (runs: :mod:`evaluate.run_pictures`)."""

from collections.abc import Mapping, Sequence
from itertools import cycle, product
from typing import Any

import numpy as np

from collect.figures import Axes, Figure, Line2D, matplotlib
from evaluate import metrics
from evaluate.decision import Ratio, Verdict
from evaluate.drawing import BETTER, COLOURS, DASHES, INK, NEITHER, STYLE, WORSE, round_numbers
from evaluate.run_pictures import curves
from evaluate.sweeps import sweeps


def drawn(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw all pictures of a task's results, by name.

    Returns:
        ``robust`` for the robust protocol, and ``budget`` for the budget protocol. For the others
        ``curves``, and ``sweep`` if some bases differ only in their learning rate.
    """
    if "robust" in results:
        return {"robust": robust(results)}
    if "budget" in results:
        return {"budget": budget(results)}
    found = {"sweep": sweep(results), "curves": curves(results)}
    return {name: figure for name, figure in found.items() if figure is not None}


def forest(entries: Sequence[tuple[str, Ratio, str, Verdict]], label: str) -> Figure:
    """Draw ratios with their 95 % intervals, one above another.

    The colour follows the verdict: blue for better, red for worse, grey for no difference shown.

    Args:
        entries: ``(name, (value, low, high), note at the right, verdict)``, from the top down. A
            value or an interval that is None or not finite is not drawn.
        label: The label of the axis.
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
    """Draw what each arm gains over bases of several learning rates, with 95 % intervals.

    The upper row shows the speed-up in steps, the lower one the final value. None: fewer than
    three bases differ only in their learning rate.
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
                    round_numbers(place.yaxis, (1, 1.5, 2, 3, 5, 7))
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
    """Draw the final value of each method over the rate that it began with: medians over seeds.

    A dashed line shows the swept base. Values that are not finite are not drawn. The axis of a
    metric like a loss (better when lower, and compared by ratio) is logarithmic.
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
    """Draw the final value of the swept base over its length, and a mark for each arm.

    A line leads from each arm's mark to the length at which the base ends as well. The base's
    values are the median and quartiles over seeds. Values that are not finite are not drawn. The
    axis of a metric like a loss (better when lower, and compared by ratio) is logarithmic.
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
    """Set up axes: the final value of the first metric over a logarithmic axis.

    Args:
        axes: The axes.
        results: From :func:`evaluate.summarise`.
        places: Where the horizontal axis has numbers.
        label: The label of the horizontal axis.
    """
    metric, split = metrics.of(results)[0], metrics.splits(results)[0]
    axes.set(xscale="log", xlabel=label, ylabel=f"final {split} {metric.name}")
    axes.set_xticks(places, [f"{place:.3g}" for place in places])
    axes.set_xticks([], minor=True)
    if metric.better == "lower" and metric.compare == "ratio":
        axes.set(yscale="log")
        round_numbers(axes.yaxis, (1, 1.5, 2, 3, 5, 7))
