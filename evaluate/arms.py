"""Arms: the ways to train that are compared, each a few settings under a name."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from collect.config import require
from evaluate.arm_options import EMA, LAWA, Auto, Average, GuardOptions, Jump, Outer
from nowcast.types import UserError

NAME = re.compile(r"[\w-]+")
GIVEN, TUNED, ORACLE = "given", "tuned", "oracle"
NULLS = ("noise", "permuted")
INHERITED = ("optimizer", "schedule", "warmup", "learning_rate", "auto", "outer", "average")
"""What an arm has from the one it is over, where it says nothing itself."""
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
    without ``over`` is a base.
    """

    over: str | None = None
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
    guard: GuardOptions | None = None
    name: str = ""
    """The key under which the configuration has it."""
    rate_of: str = ""
    """The arm whose calibration chooses the rate; empty where it is a number."""
    sweeps_warmup: bool = False
    """Whether that calibration chooses the warm-up too."""

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
            parts += [f"{key} {_word(value)}" for key, value in _changed(self.jump).items()]
        if self.guard:
            said = ", ".join(
                "the longest that passes" if key == "longest" else f"{key} {_word(value)}"
                for key, value in _changed(self.guard).items()
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


def resolve(
    arms: Mapping[str, Arm], *, optimizer: str, learning_rate: float
) -> tuple[list[Arm], list[str]]:
    """The arms with all that they take from others, in the given order, and the names of optional
    ones left out.

    Raises:
        UserError: An arm is over one that is not there, or over itself; it lacks its forecaster, or
            has options that don't go together.

    Examples:
        >>> from evaluate import Arm, resolve
        >>> arms = {"cosine": Arm(schedule="cosine")}
        >>> arms["linear"] = Arm(over="cosine", forecaster="linear")
        >>> [arm.words for arm in resolve(arms, optimizer="adam", learning_rate=1e-3)[0]]
        ['adam, cosine', 'adam, cosine; jumps to the forecast of linear']
    """
    left = [name for name, arm in arms.items() if arm.optional and arm.forecaster == ""]
    chosen = {name: replace(arm, name=name) for name, arm in arms.items() if name not in left}
    for name in chosen:
        require(NAME.fullmatch(name), "arm", name, "an arm's name is of letters, digits, - and _")
    require(bool(chosen), "arm", "[]", "give at least one, such as arm=[constant,constant_linear]")
    settled = [_warmed(_settled(name, chosen, optimizer, learning_rate)) for name in chosen]
    for arm in settled:
        _check(arm)
    return settled, left


def bases(arms: Sequence[Arm]) -> list[Arm]:
    """Those that others are compared with, and those that are over nothing: each sets targets of
    its own.
    """
    named = {arm.over for arm in arms}
    return [arm for arm in arms if arm.over is None or arm.name in named]


def _settled(
    name: str, arms: Mapping[str, Arm], optimizer: str, learning_rate: float, *below: str
) -> Arm:
    arm = arms[name]
    if arm.over is None:
        base = Arm(optimizer=optimizer, schedule="constant", learning_rate=GIVEN)
    else:
        there = ", ".join(arms)
        require(
            arm.over in arms,
            f"arm.{name}.over",
            arm.over,
            f"is not among the arms; add it to arm=[{there}]",
        )
        require(
            arm.over not in (name, *below), f"arm.{name}.over", arm.over, "goes round in a circle"
        )
        base = _settled(arm.over, arms, optimizer, learning_rate, name, *below)
    require(
        arm.warmup != TUNED or arm.learning_rate == TUNED,
        f"arm.{name}.warmup",
        TUNED,
        f"is chosen together with the rate; set arm.{name}.learning_rate={TUNED} too, or give a"
        " share of the run",
    )
    own = {key: getattr(arm, key) for key in INHERITED if getattr(arm, key) is not None}
    full = replace(arm, **{key: getattr(base, key) for key in INHERITED} | own)
    if full.learning_rate == GIVEN:
        full = full.at(learning_rate)
    tuned = name if own.get("learning_rate") == TUNED else base.rate_of
    return replace(full, rate_of=tuned if full.learning_rate == TUNED else "")


def _warmed(arm: Arm) -> Arm:
    """The arm with its warm-up: where no arm below says one, calibration chooses it together with a
    tuned rate.
    """
    if arm.warmup is None or (arm.warmup == TUNED and arm.learning_rate != TUNED):
        arm = replace(arm, warmup=TUNED if arm.learning_rate == TUNED else 0.0)
    return replace(arm, sweeps_warmup=arm.warmup == TUNED)


def _check(arm: Arm) -> None:
    key = f"arm.{arm.name}"
    rate = arm.learning_rate
    fine = rate == TUNED or (
        isinstance(rate, int | float) and not isinstance(rate, bool) and 0 < rate < 100
    )
    require(
        fine,
        f"{key}.learning_rate",
        rate,
        "must be given, tuned, or a number above 0 and below 100",
    )
    warm = arm.warmup
    fine = warm == TUNED or (
        isinstance(warm, int | float) and not isinstance(warm, bool) and 0 <= warm < 1
    )
    require(
        fine, f"{key}.warmup", warm, f"must be a share of the run, 0 or more, below 1, or {TUNED}"
    )
    require(
        not (arm.outer and arm.optimizer == "schedule_free"), f"{key}.optimizer", arm.optimizer,
        "keeps an average of its own, which an outer step would not see; leave outer out",
    )  # fmt: skip
    require(
        not (arm.auto and arm.optimizer == "schedule_free"), f"{key}.optimizer", arm.optimizer,
        "has no rate that a factor could change: it averages weights; leave auto out",
    )  # fmt: skip
    null = arm.forecaster in NULLS
    require(
        arm.of is None or null,
        f"{key}.of",
        arm.of,
        f"is for arms whose forecaster is {' or '.join(NULLS)}; leave it out",
    )
    if "" in (arm.forecaster, arm.of):
        raise UserError(
            f"{key} has no forecaster: give forecaster=… (a bundle or a name), or leave it out of"
            " arm=[…]"
        )
    if arm.forecaster is None:
        for name, there in (("jump", arm.jump != Jump()), ("guard", arm.guard)):
            require(
                not there,
                f"{key}.{name}",
                "…",
                "is for arms with a forecaster; leave it out, or give one",
            )
        return
    require(
        arm.over is not None,
        f"{key}.over",
        "null",
        "an arm with a forecaster needs one to be compared with",
    )
    inside = (
        "outer"
        if arm.outer
        else "optimizer=schedule_free"
        if arm.optimizer == "schedule_free"
        else ""
    )
    require(
        not inside or arm.forecaster != ORACLE, f"{key}.forecaster", ORACLE,
        f"does not go with {inside}, which keeps weights of its own; leave one of them out",
    )  # fmt: skip
    require(
        not inside or arm.jump.moments == "reset", f"{key}.jump.moments", arm.jump.moments,
        f"{inside} keeps weights of its own, which would pull a jump back; must be reset",
    )  # fmt: skip
    require(
        not (arm.average and arm.average.kind == LAWA), f"{key}.average.kind", LAWA,
        "does not go with a forecaster; must be ema",
    )  # fmt: skip
    jump = arm.jump
    require(jump.every >= 1, f"{key}.jump.every", jump.every, "must be 1 snapshot or more")
    ahead = jump.horizon is None or jump.horizon >= 1
    require(ahead, f"{key}.jump.horizon", jump.horizon, "must be 1 snapshot or more")
    require(
        jump.start_after >= 0,
        f"{key}.jump.start_after",
        jump.start_after,
        "must be 0 snapshots or more",
    )
    if jump.horizon_to is not None:
        ok = jump.horizon is not None and 1 <= jump.horizon_to <= jump.horizon
        require(
            ok,
            f"{key}.jump.horizon_to",
            jump.horizon_to,
            f"must be 1 to jump.horizon={jump.horizon}",
        )
    if arm.forecaster == ORACLE:
        allowed = {"horizon", "every"}
        other = [f"jump.{name}" for name in _changed(jump) if name not in allowed] + [
            "guard"
        ] * bool(arm.guard)
        require(
            not other,
            f"{key}.{(other or [''])[0]}",
            "…",
            f"the oracle takes {', '.join(sorted(allowed))} only",
        )


def _changed(options: Any) -> dict[str, Any]:
    """The options that are not as they would be if nothing were said."""
    unsaid = asdict(type(options)())
    return {key: value for key, value in asdict(options).items() if value != unsaid[key]}


def _word(value: Any) -> str:
    if isinstance(value, list):
        return "/".join(map(_word, value))
    return f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)
