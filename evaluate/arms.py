"""Arms: the ways to train that are compared, each a few settings under a name."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from evaluate.arm_options import (
    EMA,
    Auto,
    Average,
    Jump,
    Outer,
    guard_options,
    no_guard,
)

NAME = re.compile(r"[\w-]+")
GIVEN, TUNED, ORACLE = "given", "tuned", "oracle"
NULLS = ("noise", "permuted")
NO_SETTINGS = ("name", "over", "optional", "learning_rate", "rate_of", "sweeps_warmup")
YOUNGER = ("auto",)
"""Settings that older runs know nothing of: unused, they leave no trace, and those runs still
count.
"""


@dataclass
class Arm:
    """One way to train.

    ``over`` names the arm that this one is compared with; it takes from there what it does not say
    itself: optimizer, schedule, learning rate and what changes it, outer step and average. An arm
    without ``over`` is a base. Where ``over`` is a list, the arm is a product: one arm over each,
    see :func:`evaluate.products.expanded`.
    """

    over: Any = None
    optimizer: str | None = None
    schedule: str | None = None
    warmup: Any = None
    """A share of the run; ``tuned``, the best of the grid together with the tuned rate. Unsaid:
    ``tuned`` where the rate is, else none.
    """
    learning_rate: Any = None
    """A number; ``given``, the command's; ``tuned``, the best of the grid on the calibration seeds.
    """
    auto: Auto | None = None
    outer: Outer | None = None
    average: Average | None = None
    forecaster: str | None = None
    """A name, a bundle's folder, the folder of the WNN authors' own weights, or ``oracle``: the
    weights that the run itself would have so many snapshots on. Empty: not given.
    """
    of: str | None = None
    """Where the forecaster is ``noise`` or ``permuted``: the one whose jumps it is as long as,
    named in the same ways. Null: the linear fit.
    """
    optional: bool = False
    """Whether the arm is left out where its forecaster is not given."""
    jump: Jump = field(default_factory=Jump)
    guard: Any = field(default_factory=no_guard)
    """None, a :class:`GuardOptions`, its kind alone as a word, or its options as a mapping."""
    name: str = ""
    """The key under which the configuration has it."""
    rate_of: str = ""
    """The arm whose calibration chooses the rate; empty where it is a number."""
    sweeps_warmup: bool = False
    """Whether that calibration chooses the warm-up too."""

    def __post_init__(self) -> None:
        self.guard = guard_options(self.guard)

    @property
    def forecast_by(self) -> str | None:
        """The forecaster in words that tell it from all others; None where there is none."""
        return f"{self.forecaster} of {self.of}" if self.forecaster and self.of else self.forecaster

    def at(self, rate: float, warmup: float | None = None) -> "Arm":
        """The arm with this learning rate, and with this warm-up where one is given."""
        return replace(self, learning_rate=rate, warmup=self.warmup if warmup is None else warmup)

    @property
    def settings(self) -> dict[str, Any]:
        """What its runs depend on beside the learning rate, as plain values."""
        settings = {key: value for key, value in asdict(self).items() if key not in NO_SETTINGS}
        settings["guard"] = self.guard and self.guard.options
        settings["auto"] = self.auto and self.auto.options
        return {
            key: value for key, value in settings.items() if key not in YOUNGER or value is not None
        }

    @property
    def words(self) -> str:
        """What it is, for a reader: ``adam, cosine; jumps to linear's forecast, damping 0.5``."""
        warm = f"warm-up {_word(self.warmup)}" if self.warmup else None
        parts = [", ".join(filter(None, [self.optimizer, self.schedule, warm]))]
        if self.auto:
            learned = self.auto.forecaster
            target = "" if learned else f" target {self.auto.target:g},"
            target += "" if self.auto.start == 1 else f" from {self.auto.start:g} of the rate,"
            of = f"every {self.auto.every} steps,{target} until {self.auto.until:g} of the run"
            parts.append(
                f"its rate follows {f'what {learned} reads' if learned else 'the drift'} ({of})"
            )
        if self.outer:
            kind = "SNOO" if self.outer.momentum else "Lookahead"
            parts.append(
                f"{kind} every {self.outer.every} steps, rate {self.outer.learning_rate:g}"
                + (f", momentum {self.outer.momentum:g}" if self.outer.momentum else "")
            )
        if self.forecaster == ORACLE:
            parts.append("jumps to the weights it will have (oracle)")
        elif self.forecaster:
            parts.append(f"jumps to the forecast of {self.forecast_by}")
        if self.forecaster:
            parts += [f"{key} {_word(value)}" for key, value in changed(self.jump).items()]
        if self.guard:
            said = ", ".join(
                "the longest that passes" if key == "longest" else f"{key} {_word(value)}"
                for key, value in changed(self.guard).items()
            )
            parts.append(f"guard{': ' + said if said else ''}")
        if self.average:
            of = (
                f"{self.average.decay:g}"
                if self.average.kind == EMA
                else f"of {self.average.last} snapshots"
            )
            parts.append(f"judged by its {self.average.kind.upper()} {of}")
        return "; ".join(parts)


def bases(arms: Sequence[Arm]) -> list[Arm]:
    """Those that others are compared with, and those that are over nothing: each sets targets of
    its own.
    """
    named = {arm.over for arm in arms}
    return [arm for arm in arms if arm.over is None or arm.name in named]


def changed(options: Any) -> dict[str, Any]:
    """The options that are not as they would be if nothing were said."""
    unsaid = asdict(type(options)())
    return {key: value for key, value in asdict(options).items() if value != unsaid[key]}


def _word(value: Any) -> str:
    if isinstance(value, list):
        return "/".join(map(_word, value))
    return f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)
