"""Start ``nowcast-meta-train``."""

from collect.commands.begin import begin


def start_meta_train() -> None:
    """Fit a forecaster to corpora of weight trajectories: corpora → bundle."""
    begin("meta_train.commands.meta_train")
