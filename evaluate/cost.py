"""What a learned forecaster cost to make, and after how many runs that is earned back."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from collect.tasks.protocol import LOSS
from evaluate.decision import Verdict
from evaluate.judged import bound, steps
from evaluate.metrics import verdict


def of(results: Mapping[str, Any], arm: str, card: Mapping[str, Any]) -> dict[str, Any]:
    """The cost of the forecaster of an arm, beside what the arm saves.

    Args:
        results: From :func:`evaluate.summary.summarise`.
        arm: Its name.
        card: Of the bundle.

    Returns:
        ``fit_seconds`` and ``corpus_seconds`` (of training, summed over the corpus's runs; None:
        not known), ``corpus_runs``, ``saved_seconds`` to the headline target (the mean over seeds),
        ``shown``, whether the seeds show that any are saved, on a machine of their own, and
        ``pays_after`` so many runs (None: that is not shown, or the cost not known).
    """
    row = next(row for row in results["arms"] if row["name"] == arm)
    headline = results["protocol"]["headline"]
    found = row["against"][row["over"]][headline]
    own, base = (
        next(r for r in results["arms"] if r["name"] == name)["against"][row["over"]][headline][
            "seconds"
        ]["each"]
        for name in (arm, row["over"])
    )
    saved = float(np.mean(np.subtract(base, own)))
    fit, corpus = card.get("seconds"), card.get("corpus", {}).get("seconds")
    seconds = verdict(LOSS, found["seconds"]["speed_up"], bound(found))
    faster = steps(found) is seconds is Verdict.BETTER
    shown = bool(row["alone"] and faster and saved > 0)
    return {
        "fit_seconds": fit,
        "corpus_seconds": corpus,
        "corpus_runs": card.get("corpus", {}).get("runs"),
        "saved_seconds": saved,
        "shown": shown,
        "pays_after": (
            math.ceil((fit + corpus) / saved) if shown and None not in (fit, corpus) else None
        ),
    }
