"""Arms: the ways to train that are compared, each a few settings under a name."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from nowcast.types import UserError

NAME = re.compile(r"[\w-]+")
GIVEN, TUNED, ORACLE = "given", "tuned", "oracle"
NULLS = ("noise", "permuted")
EMA, LAWA = "ema", "lawa"
INHERITED = ("optimizer", "schedule", "warmup", "learning_rate", "auto", "outer", "average")
"""What an arm has from the one it is over, where it says nothing itself."""
NO_SETTINGS = ("name", "over", "optional", "learning_rate", "rate_of")
YOUNGER = ("auto",)
"""Settings that older runs know nothing of: unused, they leave no trace, and those runs still count."""


@dataclass
class Jump:
    """How an arm jumps: the options of :func:`nowcast.periodic`, with times in snapshots, so that they fit any task."""

    every: int = 1
    """Snapshots of the comparison from one to the next in the window."""
    horizon: int | None = None
    """Null: the forecaster's own."""
    horizon_to: int | None = None
    """The horizon falls from ``horizon`` to this over the run's jumps, by :func:`nowcast.decaying_horizon`."""
    damping: float = 1.0
    operations: list[str] | None = None
    start_after: float = 0.0
    stop_after: float | None = None
    moments: str = "keep"
    max_relative_jump: float | None = None
    min_drift: float | None = None
    history_dtype: str | None = None


@dataclass
class GuardOptions:
    """Those of :class:`nowcast.Guard`; ``after`` in snapshots."""

    tolerance: float = 0.0
    dampings: list[float] = field(default_factory=lambda: [1.0])
    after: float = 0.0
    give_up: int | None = None
    longest: bool = False


@dataclass
class Auto:
    """A rate that follows the run's drift: the options of :func:`nowcast.auto_rate`."""

    every: int = 20
    """Steps."""
    target: float = 0.02
    until: float = 0.5
    """The share of the run after which the multiplier stays."""

    def __post_init__(self) -> None:
        _require(self.every >= 1, "auto.every", self.every, "must be 1 step or more")
        _require(-1 < self.target < 1, "auto.target", self.target, "must be a drift, such as 0.02")
        _require(0 < self.until <= 1, "auto.until", self.until, "must be a share of the run, above 0, at most 1")


@dataclass
class Outer:
    """Lookahead (``momentum=0``), and SNOO: after so many steps, a step of Nesterov's momentum along what they moved."""

    every: int = 5
    learning_rate: float = 0.5
    momentum: float = 0.0

    def __post_init__(self) -> None:
        _require(self.every >= 1, "outer.every", self.every, "must be 1 step or more")
        _require(
            0 < self.learning_rate <= 10, "outer.learning_rate", self.learning_rate, "must be above 0, such as 0.5"
        )
        _require(0 <= self.momentum < 1, "outer.momentum", self.momentum, "must be 0 or more, below 1")


@dataclass
class Average:
    """Which average of its weights an arm is judged by; training goes on from the weights themselves."""

    kind: str = EMA
    """``ema``, of every step's; ``lawa``, of the last snapshots."""
    decay: float = 0.99
    """Of the EMA, a step."""
    last: int = 5
    """Of LAWA: how many snapshots."""

    def __post_init__(self) -> None:
        _require(self.kind in (EMA, LAWA), "average.kind", self.kind, f"must be {EMA} or {LAWA}")
        _require(0 < self.decay < 1, "average.decay", self.decay, "must be above 0, below 1, such as 0.99")
        _require(self.last >= 2, "average.last", self.last, "must be 2 snapshots or more")


@dataclass
class Arm:
    """One way to train.

    ``over`` names the arm that this one is compared with; it takes from there what it does not say itself: optimizer, schedule,
    learning rate and what changes it, outer step and average. An arm without ``over`` is a base.
    """

    over: str | None = None
    optimizer: str | None = None
    schedule: str | None = None
    warmup: float | None = None
    learning_rate: Any = None
    """A number; ``given``, the command's; ``tuned``, the best of the grid on the calibration seeds."""
    auto: Auto | None = None
    outer: Outer | None = None
    average: Average | None = None
    forecaster: str | None = None
    """A name, a bundle's folder, the folder of the WNN authors' own weights, or ``oracle``: the weights that the run itself would have
    so many snapshots on. Empty: not given."""
    of: str | None = None
    """Where the forecaster is ``noise`` or ``permuted``: the one whose jumps it is as long as, named in the same ways. Null: the linear fit."""
    optional: bool = False
    """Whether the arm is left out where its forecaster is not given."""
    jump: Jump = field(default_factory=Jump)
    guard: GuardOptions | None = None
    name: str = ""
    """The key under which the configuration has it."""
    rate_of: str = ""
    """The arm whose calibration chooses the rate; empty where it is a number."""

    @property
    def forecast_by(self) -> str | None:
        """The forecaster in words that tell it from all others; None where there is none."""
        return f"{self.forecaster} of {self.of}" if self.forecaster and self.of else self.forecaster

    def at(self, rate: float) -> "Arm":
        """The arm with this learning rate."""
        return replace(self, learning_rate=rate)

    @property
    def settings(self) -> dict[str, Any]:
        """What its runs depend on beside the learning rate, as plain values."""
        settings = {key: value for key, value in asdict(self).items() if key not in NO_SETTINGS}
        return {key: value for key, value in settings.items() if key not in YOUNGER or value is not None}

    @property
    def words(self) -> str:
        """What it is, for a reader: ``adam, cosine; jumps to linear's forecast, damping 0.5``."""
        warm = f"warm-up {self.warmup:g}" if self.warmup else None
        parts = [", ".join(filter(None, [self.optimizer, self.schedule, warm]))]
        if self.auto:
            of = f"every {self.auto.every} steps, target {self.auto.target:g}, until {self.auto.until:g} of the run"
            parts.append(f"its rate follows the drift ({of})")
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
            parts += [f"{key} {_word(value)}" for key, value in _changed(self.jump).items()]
        if self.guard:
            said = ", ".join(
                "the longest that passes" if key == "longest" else f"{key} {_word(value)}"
                for key, value in _changed(self.guard).items()
            )
            parts.append(f"guard{': ' + said if said else ''}")
        if self.average:
            of = f"{self.average.decay:g}" if self.average.kind == EMA else f"of {self.average.last} snapshots"
            parts.append(f"judged by its {self.average.kind.upper()} {of}")
        return "; ".join(parts)


def resolve(arms: Mapping[str, Arm], *, optimizer: str, learning_rate: float) -> tuple[list[Arm], list[str]]:
    """The arms with all that they take from others, in the given order, and the names of optional ones left out.

    Raises:
        UserError: An arm is over one that is not there, or over itself; it lacks its forecaster, or has options that don't go together.

    Examples:
        >>> from evaluate import Arm, resolve
        >>> arms = {"cosine": Arm(schedule="cosine"), "linear": Arm(over="cosine", forecaster="linear")}
        >>> [arm.words for arm in resolve(arms, optimizer="adam", learning_rate=1e-3)[0]]
        ['adam, cosine', 'adam, cosine; jumps to the forecast of linear']
    """
    left = [name for name, arm in arms.items() if arm.optional and arm.forecaster == ""]
    chosen = {name: replace(arm, name=name) for name, arm in arms.items() if name not in left}
    for name in chosen:
        _require(NAME.fullmatch(name), "arm", name, "an arm's name is of letters, digits, - and _")
    _require(bool(chosen), "arm", "[]", "give at least one, such as arm=[constant,constant_linear]")
    settled = [_settled(name, chosen, optimizer, learning_rate) for name in chosen]
    for arm in settled:
        _check(arm)
    return settled, left


def bases(arms: Sequence[Arm]) -> list[Arm]:
    """Those that others are compared with, and those that are over nothing: each sets targets of its own."""
    named = {arm.over for arm in arms}
    return [arm for arm in arms if arm.over is None or arm.name in named]


def _settled(name: str, arms: Mapping[str, Arm], optimizer: str, learning_rate: float, *below: str) -> Arm:
    arm = arms[name]
    if arm.over is None:
        base = Arm(optimizer=optimizer, schedule="constant", warmup=0.0, learning_rate=GIVEN)
    else:
        there = ", ".join(arms)
        _require(arm.over in arms, f"arm.{name}.over", arm.over, f"is not among the arms; add it to arm=[{there}]")
        _require(arm.over not in (name, *below), f"arm.{name}.over", arm.over, "goes round in a circle")
        base = _settled(arm.over, arms, optimizer, learning_rate, name, *below)
    own = {key: getattr(arm, key) for key in INHERITED if getattr(arm, key) is not None}
    full = replace(arm, **{key: getattr(base, key) for key in INHERITED} | own)
    if full.learning_rate == GIVEN:
        full = full.at(learning_rate)
    tuned = name if own.get("learning_rate") == TUNED else base.rate_of
    return replace(full, rate_of=tuned if full.learning_rate == TUNED else "")


def _check(arm: Arm) -> None:
    key = f"arm.{arm.name}"
    rate = arm.learning_rate
    fine = rate == TUNED or (isinstance(rate, int | float) and not isinstance(rate, bool) and 0 < rate < 100)
    _require(fine, f"{key}.learning_rate", rate, "must be given, tuned, or a number above 0 and below 100")
    _require(0 <= (arm.warmup or 0) < 1, f"{key}.warmup", arm.warmup, "must be a share of the run, 0 or more, below 1")
    _require(
        not (arm.outer and arm.optimizer == "schedule_free"), f"{key}.optimizer", arm.optimizer,
        "keeps an average of its own, which an outer step would not see; leave outer out",
    )  # fmt: skip
    _require(
        not (arm.auto and arm.optimizer == "schedule_free"), f"{key}.optimizer", arm.optimizer,
        "has no rate that a factor could change: it averages weights; leave auto out",
    )  # fmt: skip
    null = arm.forecaster in NULLS
    _require(
        arm.of is None or null,
        f"{key}.of",
        arm.of,
        f"is for arms whose forecaster is {' or '.join(NULLS)}; leave it out",
    )
    if "" in (arm.forecaster, arm.of):
        raise UserError(f"{key} has no forecaster: give forecaster=… (a bundle or a name), or leave it out of arm=[…]")
    if arm.forecaster is None:
        for name, there in (("jump", arm.jump != Jump()), ("guard", arm.guard)):
            _require(not there, f"{key}.{name}", "…", "is for arms with a forecaster; leave it out, or give one")
        return
    _require(arm.over is not None, f"{key}.over", "null", "an arm with a forecaster needs one to be compared with")
    inside = "outer" if arm.outer else "optimizer=schedule_free" if arm.optimizer == "schedule_free" else ""
    _require(
        not inside or arm.forecaster != ORACLE, f"{key}.forecaster", ORACLE,
        f"does not go with {inside}, which keeps weights of its own; leave one of them out",
    )  # fmt: skip
    _require(
        not inside or arm.jump.moments == "reset", f"{key}.jump.moments", arm.jump.moments,
        f"{inside} keeps weights of its own, which would pull a jump back; must be reset",
    )  # fmt: skip
    _require(
        not (arm.average and arm.average.kind == LAWA), f"{key}.average.kind", LAWA,
        "does not go with a forecaster; must be ema",
    )  # fmt: skip
    jump = arm.jump
    _require(jump.every >= 1, f"{key}.jump.every", jump.every, "must be 1 snapshot or more")
    ahead = jump.horizon is None or jump.horizon >= 1
    _require(ahead, f"{key}.jump.horizon", jump.horizon, "must be 1 snapshot or more")
    _require(jump.start_after >= 0, f"{key}.jump.start_after", jump.start_after, "must be 0 snapshots or more")
    if jump.horizon_to is not None:
        ok = jump.horizon is not None and 1 <= jump.horizon_to <= jump.horizon
        _require(ok, f"{key}.jump.horizon_to", jump.horizon_to, f"must be 1 to jump.horizon={jump.horizon}")
    if arm.forecaster == ORACLE:
        allowed = {"horizon", "every"}
        other = [f"jump.{name}" for name in _changed(jump) if name not in allowed] + ["guard"] * bool(arm.guard)
        _require(not other, f"{key}.{(other or [''])[0]}", "…", f"the oracle takes {', '.join(sorted(allowed))} only")


def _changed(options: Any) -> dict[str, Any]:
    """The options that are not as they would be if nothing were said."""
    unsaid = asdict(type(options)())
    return {key: value for key, value in asdict(options).items() if value != unsaid[key]}


def _word(value: Any) -> str:
    if isinstance(value, list):
        return "/".join(map(_word, value))
    return f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def _require(ok: Any, key: str, value: object, rule: str) -> None:
    if not ok:
        raise UserError(f"{key}={value}: {rule}")
