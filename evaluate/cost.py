"""Compute what meta-training cost, and after how many runs it has paid for itself."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from collect.tasks.protocol import LOSS
from collect.training import learned
from evaluate.arms import Arm
from evaluate.decision import Verdict
from evaluate.judged import bound, steps
from evaluate.metrics import verdict


def of_optimizer(arm: Arm) -> dict[str, Any]:
    """What :func:`of` reads of a card, for an arm with a learned optimizer, which has no corpus."""
    card = learned.load(arm.learned or str(arm.optimizer)).card
    corpus = {"seconds": 0.0, "runs": 0}
    return {"seconds": 3600 * card["hours"], "corpus": corpus, "command": card["command"]}


def of(results: Mapping[str, Any], arm: str, card: Mapping[str, Any]) -> dict[str, Any]:
    """The cost of an arm's forecaster or optimizer, and the seconds that the arm saves.

    Args:
        results: From :func:`evaluate.summary.summarise`.
        arm: The arm's name.
        card: The card of the forecaster's bundle, or what :func:`of_optimizer` returns.

    Returns:
        A dict with these keys:

        - ``fit_seconds``: seconds of the fit; None: not known.
        - ``corpus_seconds``: training seconds of the corpus's runs, in all; None: not known.
        - ``corpus_runs``: how many runs the corpus has.
        - ``saved_seconds``: seconds that a run saves on the way to the headline's target, in the
          mean over seeds.
        - ``shown``: whether the seeds show that seconds are saved, timed on an idle machine.
        - ``pays_after``: after how many runs the saved seconds exceed the cost; None: the saving is
          not shown, or the cost is not known.
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
    shown = bool(row["seconds_comparable"] and faster and saved > 0)
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
