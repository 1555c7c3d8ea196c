"""Draw a bundle's ``loss.png``."""

from typing import Any

import numpy as np

from collect.figures import PLAIN, Figure, matplotlib


def picture(card: dict[str, Any]) -> Figure:
    """The fit's curves, a panel per network, and the errors, a panel per operation.

    The errors stand beside those of forecasters that need no learning.
    """
    curves, operations = card["curves"], list(card["validation"])
    networks = [name.removeprefix("loss/") for name in curves if name.startswith("loss/")]
    with matplotlib.rc_context(PLAIN):
        figure = Figure(
            figsize=(3.6 * max(len(networks), len(operations), 2) + 0.8, 6), layout="constrained"
        )
        rows: Any = figure.subfigures(2, 1)
        above, below = rows
        for axes, name in zip(
            above.subplots(1, len(networks), squeeze=False)[0], networks, strict=True
        ):
            axes.plot(
                curves["step"], curves[f"loss/{name}"], label="training, with the regulariser"
            )
            axes.plot(curves["step"], curves[f"validation/{name}"], label="runs kept out")
            axes.set(title=f"network: {name}", xlabel="step")
        for axes, name in zip(
            below.subplots(1, len(operations), squeeze=False)[0], operations, strict=True
        ):
            _errors(axes, card, name)
        above.axes[0].set_ylabel("error, as it is fitted")
        below.axes[0].set_ylabel("error, in the window's scale")
        above.axes[-1].legend(fontsize=8)
        below.axes[-1].legend(fontsize=8)
        below.axes[-1].margins(y=0.35)  # room for the legend
    return figure


def _errors(axes: Any, card: dict[str, Any], operation: str) -> None:
    """Bars of errors at the default horizon, on runs and on architectures that were kept out."""
    scored = card["validation"][operation]
    horizon = str(card["horizon"]) if str(card["horizon"]) in scored else list(scored)[-1]
    sets = {
        label: card[key][operation][horizon]
        for key, label in (("validation", "runs kept out"), ("held_out", "architectures kept out"))
        if horizon in card[key].get(operation, {})
    }
    heights = [
        row["normalised"] for rows in sets.values() for name, row in rows.items() if name != "skill"
    ]
    axes.set_yscale("log" if max(heights) > 20 * min(heights) > 0 else "linear")
    for i, (label, rows) in enumerate(sets.items()):
        names = [name for name in rows if name != "skill"]
        axes.bar(
            np.arange(len(names)) + 0.4 * i,
            [rows[name]["normalised"] for name in names],
            0.4,
            label=label,
        )
        middle = np.arange(len(names)) + 0.2 * (len(sets) - 1)
        axes.set_xticks(middle, [name.replace("_", "\n") for name in names], fontsize=8)
    axes.set(title=f"{operation}, {horizon} ahead")
