"""Describe the settings that all runs of an arm share; a run is kept for these settings alone."""

from typing import Any

from collect.training.learned import celo_file
from collect.training.optimizers import PUBLISHED
from evaluate.arms import TUNED, Arm
from nowcast import bundle
from nowcast.forecasters import Forecaster

NEW_OPTIONS = ("min_drift", "at", "aim", "skip")
"""Options of a jump that runs recorded by older versions lack.

Such an option is left out of a run's description where it is not used, so that the descriptions of
older runs stay valid.
"""
OLD_OPTIONS = {"max_relative_jump": None}
"""Options of a jump that no longer exist. Every description has their unused values, as those of
older runs do.
"""


def described(
    arm: Arm, identity: str | None, forecaster: Forecaster | None, content: str | None
) -> dict[str, Any]:
    """The settings of an arm, as plain values.

    The learning rate and a tuned warm-up are not among them.

    Args:
        arm: The arm.
        identity: The identity of its forecaster, which stands for its path.
        forecaster: Its forecaster.
        content: The fingerprint of its task, if it trains another network.
    """
    settings = arm.settings | {"forecaster": identity or arm.forecaster, "of": None}
    if arm.optimizer in PUBLISHED:
        settings["learned"] = celo_file.identity(str(arm.learned))
    if arm.sweeps_warmup:
        settings["warmup"] = TUNED
    if content:
        settings["model"] = f"{arm.model} {content}"
    if arm.auto and arm.auto.forecaster:
        read = bundle.read_card(arm.auto.forecaster)["params_sha256"]
        settings["auto"] = settings["auto"] | {"forecaster": read}
    if forecaster and arm.jump.horizon is None:
        # A forecaster of the same parameters may aim elsewhere unasked.
        settings["jump"] = settings["jump"] | {"horizon": forecaster.horizon}
    used = {
        key: value
        for key, value in settings["jump"].items()
        if key not in NEW_OPTIONS or value is not None
    }
    return settings | {"jump": used | OLD_OPTIONS}
