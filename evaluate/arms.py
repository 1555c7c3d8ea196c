"""Define arms: the ways to train that are compared, each a few settings under a name."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from evaluate.arm_continuous import AirbenchLookahead, EmaNesterov, Gpa, TailBlend, within
from evaluate.arm_options import (
    EMA,
    Auto,
    Average,
    GuardOptions,
    Jump,
    Outer,
    guard_options,
    no_guard,
)

NAME = re.compile(r"[\w-]+")
GIVEN, TUNED, ORACLE = "given", "tuned", "oracle"
NULLS = ("noise", "permuted")
NO_SETTINGS = ("name", "over", "optional", "learning_rate", "rate_of", "sweeps_warmup")
"""Fields that are not among an arm's :attr:`Arm.settings`."""
NEW_SETTINGS = (
    "model",
    "learned",
    "auto",
    "ema_nesterov",
    "gpa",
    "airbench_lookahead",
    "tail_blend",
)
"""Settings that runs recorded by older versions lack.

A setting of these is left out of a run's description where it is not used. So the descriptions of
older runs stay valid.
"""


@dataclass
class Arm:
    """One way to train.

    An arm without ``over`` is a base. An arm with ``over`` is compared with the arm of that name,
    and inherits the settings that it leaves open: model, optimizer, schedule, warm-up, learning
    rate, automatic rate, outer step, continuous method and average.

    Raises:
        UserError: The guard has an unknown kind or option.

    Examples:
        >>> from evaluate import Arm
        >>> Arm(over="cosine", forecaster="linear", guard="backtracking").guard.dampings
        [4.0, 2.0, 1.0, 0.5, 0.25, 0.125]
    """

    over: Any = None
    """The name of the arm to compare with; null: the arm is a base. A list of names makes one arm
    over each (:func:`evaluate.products.expanded`).
    """
    model: str | None = None
    """An architecture, such as ``hyper_cnn``, for an arm that trains another network on the same
    data. Such an arm does not begin at the weights of the others. Null: the network of the
    comparison.
    """
    optimizer: str | None = None
    """A name of :data:`collect.training.optimizers.OPTIMIZERS`."""
    learned: str | None = None
    """For the optimizers ``l2o`` and ``l2o_amalgam``: the folder of a bundle of them. Null: the one
    that comes with the project. For ``celo``: the file of its weights. Empty: the arm needs a file,
    and the command gave none.
    """
    schedule: str | None = None
    """A name of :data:`collect.training.optimizers.SCHEDULES`."""
    warmup: Any = None
    """The share of the run in which the rate climbs, or ``tuned``: calibration chooses it together
    with the rate. Null: ``tuned`` if the rate is tuned, else 0.
    """
    learning_rate: Any = None
    """A number; ``given``: the command's rate; ``tuned``: calibration chooses it from a grid."""
    auto: Auto | None = None
    outer: Outer | None = None
    ema_nesterov: EmaNesterov | None = None
    gpa: Gpa | None = None
    airbench_lookahead: AirbenchLookahead | None = None
    tail_blend: TailBlend | None = None
    average: Average | None = None
    forecaster: str | None = None
    """The forecaster that the arm jumps by: a name, a bundle's folder, or the folder of the WNN
    authors' weights. ``oracle``: the weights that this run itself has ``horizon`` snapshots later.
    Null: the arm does not jump. Empty: the arm needs a forecaster, and the command gave none.
    """
    of: str | None = None
    """For the forecasters ``noise`` and ``permuted``: the forecaster whose jumps they imitate in
    length. Null: the linear fit.
    """
    optional: bool = False
    """Whether the arm is left out where its forecaster, or its file of weights, is empty."""
    jump: Jump = field(default_factory=Jump)
    guard: Any = field(default_factory=no_guard)
    """A :class:`GuardOptions`, its kind as a word, a mapping of its options, or None."""
    name: str = ""
    """The arm's key in the configuration."""
    rate_of: str = ""
    """The arm whose calibration chooses this arm's rate, by name; empty: the rate is a number."""
    sweeps_warmup: bool = False
    """Whether that calibration chooses the warm-up too."""

    def __post_init__(self) -> None:
        self.guard = guard_options(self.guard)
        if self.forecaster in (None, ORACLE) and self.jump.min_drift == Jump.min_drift:
            self.jump = replace(self.jump, min_drift=None)  # nothing to skip, or nothing skipped

    @property
    def forecast_by(self) -> str | None:
        """A text that identifies the forecaster, such as ``noise of linear``; None without one."""
        return f"{self.forecaster} of {self.of}" if self.forecaster and self.of else self.forecaster

    def at(self, rate: float, warmup: float | None = None) -> "Arm":
        """A copy of the arm with this learning rate, and with this warm-up if one is given."""
        return replace(self, learning_rate=rate, warmup=self.warmup if warmup is None else warmup)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings but the learning rate on which the arm's runs depend, as plain values."""
        settings = {key: value for key, value in asdict(self).items() if key not in NO_SETTINGS}
        settings["guard"] = self.guard and self.guard.options
        settings["auto"] = self.auto and self.auto.options
        return {
            key: value
            for key, value in settings.items()
            if key not in NEW_SETTINGS or value is not None
        }

    @property
    def words(self) -> str:
        """The arm in words: ``adam, cosine; jumps to the forecast of linear, damping 0.5``."""
        warm = f"warm-up {_as_text(self.warmup)}" if self.warmup else None
        of = f"{self.optimizer} of {self.learned}" if self.learned else self.optimizer
        parts = [", ".join(filter(None, [self.model, of, self.schedule, warm]))]
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
        if method := within(self):
            parts.append(method.words)
        if self.forecaster == ORACLE:
            parts.append("jumps to the weights it will have (oracle)")
        elif self.forecaster:
            parts.append(f"jumps to the forecast of {self.forecast_by}")
        if self.forecaster:
            parts += [
                f"{key} {_as_text(value)}" for key, value in changed(self.jump, PLAIN).items()
            ]
        if self.guard:
            said = ", ".join(
                "the longest that passes" if key == "longest" else f"{key} {_as_text(value)}"
                for key, value in changed(self.guard, GuardOptions()).items()
            )
            parts.append(f"guard{': ' + said if said else ''}")
        if self.average:
            of = (
                f"{self.average.decay:g}"
                if self.average.kind == EMA
                else f"of {self.average.last} snapshots"
            )
            parts.append(f"judged by its {self.average.kind.upper()} {of}")
        if self.tail_blend:
            parts.append(self.tail_blend.words)
        return "; ".join(parts)


def bases(arms: Sequence[Arm]) -> list[Arm]:
    """The arms that set targets: those without ``over``, and those that another arm is over."""
    named = {arm.over for arm in arms}
    return [arm for arm in arms if arm.over is None or arm.name in named]


PLAIN = Jump(min_drift=None)
"""The paper's jumps. An arm is described by what its jumps have beside them."""


def changed(options: Any, usual: Any) -> dict[str, Any]:
    """The options that differ from the usual ones, by name."""
    unsaid = asdict(usual)
    return {key: value for key, value in asdict(options).items() if value != unsaid[key]}


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return "/".join(map(_as_text, value))
    return f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)
