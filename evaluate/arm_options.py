"""The options of an arm that come in groups: its jumps, their guard, its rate's factor, an outer
step, an average.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from collect.checks import require
from nowcast.guard import Guard, WaitingGuard
from nowcast.rate_rules import START

EMA, LAWA = "ema", "lawa"
NONE = "none"
AT_ONCE, BACKTRACKING, WAITING = "at_once", "backtracking", "waiting"
USUAL = {AT_ONCE: Guard(), BACKTRACKING: Guard.backtracking(), WAITING: Guard()}
"""The options of each kind of guard, but for the wait."""
WAIT = 0.5
"""Of a guard that waits, in snapshots, where nothing else is said."""


@dataclass
class Jump:
    """How an arm jumps: options of :func:`nowcast.periodic`, whose :class:`nowcast.Jumps` says what
    each does.

    Times are in snapshots, so that they fit any task.
    """

    every: int = 1
    """Snapshots of the comparison from one to the next in the window."""
    horizon: int | None = None
    """Null: the forecaster's own."""
    horizon_to: int | None = None
    """The horizon falls from ``horizon`` to this over the run's jumps, by
    :func:`nowcast.decaying_horizon`.
    """
    damping: float = 1.0
    operations: list[str] | None = None
    start_after: float = 0.0
    stop_after: float | None = None
    moments: str = "keep"
    min_drift: float | None = None
    """Null, unlike :class:`nowcast.Jumps`: arms jump as the paper does where they do not say."""
    history_dtype: str | None = None


@dataclass
class GuardOptions:
    """A guard's kind, and what differs from the usual options of that kind.

    Filled in, the options are the same however they were said.
    """

    kind: str | None = None
    """``at_once``: :class:`nowcast.Guard`; ``backtracking``: :meth:`nowcast.Guard.backtracking`;
    ``waiting``: :class:`nowcast.WaitingGuard`. Unsaid: ``waiting`` with ``after``, else
    ``at_once``.
    """
    tolerance: float | None = None
    dampings: list[float] | None = None
    after: float | None = None
    """Of ``waiting``: snapshots from a jump to its judgement."""
    give_up: int | None = None
    longest: bool | None = None

    def __post_init__(self) -> None:
        kind = self.kind or (WAITING if self.after else AT_ONCE)
        require(kind in USUAL, "guard.kind", kind, f"must be {', '.join(USUAL)}, or left out")
        rule = "must be above 0 snapshots, such as 0.5"
        after = WAIT if self.after is None and kind == WAITING else self.after or 0
        fine = isinstance(after, int | float) and math.isfinite(after)
        require(fine and (after > 0 or kind != WAITING), "guard.after", after, rule)
        require(kind == WAITING or after == 0, "guard.after", after, f"{kind} does not wait")
        usual = USUAL[kind]
        said = {name: getattr(self, name) for name in vars(usual) if vars(self)[name] is not None}
        if isinstance(self.dampings, list):
            said["dampings"] = tuple(self.dampings)
        for name, value in vars(replace(usual, **said)).items():  # refuses what cannot be
            setattr(self, name, value)
        self.kind, self.after, self.dampings = None, float(after), [*(self.dampings or ())]

    @property
    def options(self) -> dict[str, Any]:
        """All but the kind, as plain values."""
        return {name: value for name, value in vars(self).items() if name != "kind"}

    def guard(self, every: int) -> Guard:
        """The guard of a run whose snapshots are so many steps apart."""
        options = self.options | {"dampings": tuple(self.dampings or ())}
        after = options.pop("after")
        if not after:
            return Guard(**options)
        return WaitingGuard(**options, after=max(1, round(after * every)))


def no_guard() -> Any:
    """The guard of an arm that says none, as a part of a configuration that takes any key.

    So a command may give an option of a guard to any arm: ``arm.cosine_linear.guard.after=0.5``.
    """
    from omegaconf import OmegaConf

    return OmegaConf.create({"kind": NONE}, flags={"struct": False})


def guard_options(given: Any) -> GuardOptions | None:
    """The options of a guard as a configuration says them: None, a kind, or a mapping.

    Raises:
        UserError: There is no such kind, or no such option.

    Examples:
        >>> from evaluate.arm_options import guard_options
        >>> guard_options("backtracking") == guard_options({"kind": "backtracking"})
        True
    """
    if given is None or isinstance(given, GuardOptions):
        return given
    said = {"kind": given} if isinstance(given, str) else given
    known = [field.name for field in fields(GuardOptions)]
    rule = f"must be {', '.join(USUAL)}, or a guard's options: {', '.join(known)}"
    require(isinstance(said, Mapping), "guard", given, rule)
    for name, value in said.items():
        require(name in known, f"guard.{name}", value, rule)
    options = dict(said)
    if options.get("kind") == NONE:
        del options["kind"]
        return GuardOptions(**options) if options else None
    return GuardOptions(**options)


@dataclass
class Auto:
    """A rate that follows the run's drift: the options of :func:`nowcast.auto_rate`."""

    every: int = 20
    """Steps."""
    target: float = 0.02
    start: float = START
    """The multiplier that a run begins with."""
    until: float = 0.5
    """The share of the run after which the multiplier stays."""
    forecaster: str | None = None
    """A bundle of ``forecaster=rate``; null: the rule of one line, and older runs still count."""

    def __post_init__(self) -> None:
        require(self.every >= 1, "auto.every", self.every, "must be 1 step or more")
        require(-1 < self.target < 1, "auto.target", self.target, "must be a drift, such as 0.02")
        require(
            0 < self.start <= 1,
            "auto.start",
            self.start,
            "must be a multiplier of the rate, above 0 and at most 1",
        )
        require(
            0 < self.until <= 1,
            "auto.until",
            self.until,
            "must be a share of the run, above 0, at most 1",
        )
        require(
            self.forecaster != "",
            "auto.forecaster",
            "''",
            "must be a bundle of forecaster=rate; null: the rule of one line",
        )

    @property
    def options(self) -> dict[str, Any]:
        """What runs depend on, as plain values."""
        return {key: value for key, value in vars(self).items() if value is not None}


@dataclass
class Outer:
    """Lookahead (``momentum=0``), and SNOO: after so many steps, a step of Nesterov's momentum
    along what they moved.
    """

    every: int = 5
    learning_rate: float = 0.5
    momentum: float = 0.0

    def __post_init__(self) -> None:
        require(self.every >= 1, "outer.every", self.every, "must be 1 step or more")
        require(
            0 < self.learning_rate <= 10,
            "outer.learning_rate",
            self.learning_rate,
            "must be above 0, such as 0.5",
        )
        require(
            0 <= self.momentum < 1, "outer.momentum", self.momentum, "must be 0 or more, below 1"
        )


@dataclass
class Average:
    """Which average of its weights an arm is judged by; training goes on from the weights
    themselves.
    """

    kind: str = EMA
    """``ema``, of every step's; ``lawa``, of the last snapshots."""
    decay: float = 0.99
    """Of the EMA, a step."""
    last: int = 5
    """Of LAWA: how many snapshots."""

    def __post_init__(self) -> None:
        require(self.kind in (EMA, LAWA), "average.kind", self.kind, f"must be {EMA} or {LAWA}")
        require(
            0 < self.decay < 1,
            "average.decay",
            self.decay,
            "must be above 0, below 1, such as 0.99",
        )
        require(self.last >= 2, "average.last", self.last, "must be 2 snapshots or more")
