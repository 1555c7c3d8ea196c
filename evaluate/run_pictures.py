"""Draw the course of the runs, as a matplotlib figure."""

from collections.abc import Mapping, Sequence
from itertools import cycle, product
from typing import Any

import numpy as np
from jaxtyping import Float

from collect.figures import Axes, Figure, matplotlib
from collect.tasks.protocol import Metric
from evaluate import metrics
from evaluate.drawing import COLOURS, DASHES, INK, STYLE, round_numbers
from evaluate.protocol import HONEST, target_metric
from evaluate.tables import panels

MANY = 8
"""With more arms than this, a panel takes the whole width, and its legend stands beside it."""


def curves(results: Mapping[str, Any]) -> Figure:
    """Draw the course of the runs, a panel per base.

    A panel shows the metric of the target: its median and quartiles over seeds, the headline's
    target, where most runs of an arm reach it, and the jumps. The axis of a metric like a loss
    (better when lower, and compared by ratio) is logarithmic and ends at twice the initial value;
    values above that, or not finite, leave the panel.
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
    metric = target_metric(results)
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
        )  # the table of jumps has the size of dips beyond it
        round_numbers(axes.yaxis, (1, 2, 5))
    if len(rows) > MANY:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    else:
        axes.legend(loc="upper right" if metric.better == "lower" else "lower right")


def _values(
    runs: Sequence[Mapping[str, Any]], metric: Metric
) -> Float[np.ndarray, "runs evaluations"]:
    """The values of a metric, with a number in the place of each that is not finite.

    The number is the worst finite value, or a hundred times that for a metric like a loss.
    """
    values = np.array([run[metric.name] for run in runs], float)
    finite = np.isfinite(values)
    if metric.better == "lower" and metric.compare == "ratio":
        return np.where(finite, values, 100 * np.max(values, where=finite, initial=1.0))
    worst = metrics.oriented(
        metric, np.max(metrics.oriented(metric, values), where=finite, initial=-np.inf)
    )
    return np.where(finite, values, np.where(np.isfinite(worst), worst, 0.0))
