"""Draw ``loss.png`` for a bundle of ``forecaster=rate``."""

from typing import Any

import numpy as np

from collect.figures import PLAIN, Figure, matplotlib


def picture(card: dict[str, Any]) -> Figure:
    """Draw the loss of the fit, and the error on each task by a fit to the others.

    The errors stand beside those of the control, which reads the drift alone.
    """
    scored = card["validation"] | {
        f"{task}, kept out": one for task, one in card["held_out"].items()
    }
    with matplotlib.rc_context(PLAIN):
        figure = Figure(figsize=(3.6 + 1.4 * len(scored), 3.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[3, 1 + len(scored)])
        left.plot(card["curves"]["step"], card["curves"]["loss"])
        left.set(title="fit", xlabel="step", ylabel="negative log likelihood")
        for i, (key, label) in enumerate(
            (("error", "the network"), ("control", "the drift alone"), ("constant", "a constant"))
        ):
            heights = [one["whole run"][key] for one in scored.values()]
            right.bar(np.arange(len(scored)) + 0.28 * i, heights, 0.28, label=label)
        right.set_xticks(
            np.arange(len(scored)) + 0.28, [name.replace("-", "\n") for name in scored]
        )
        right.set(title="tasks not fitted to", ylabel="error, factors of 2")
        right.margins(y=0.3)
        right.legend(fontsize=8)
    return figure
