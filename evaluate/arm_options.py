"""Define the groups of an arm's options: jumps, guard, automatic rate, outer step and average."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from collect.checks import require
from nowcast import text
from nowcast.guard import Guard, WaitingGuard
from nowcast.jumps import Jumps
from nowcast.rate_rules import START

EMA, LAWA = "ema", "lawa"
NONE = "none"
AT_ONCE, BACKTRACKING, WAITING = "at_once", "backtracking", "waiting"
USUAL = {AT_ONCE: Guard(), BACKTRACKING: Guard.backtracking(), WAITING: Guard()}
"""The default options of each kind of guard, without the wait."""
WAIT = 0.5
"""The default wait of a waiting guard, in snapshots."""


@dataclass
class Jump:
    """The options of an arm's jumps; :class:`nowcast.Jumps` describes each of them.

    Times count snapshots of the comparison, not steps, so that one arm fits any task. Only ``at``
    counts steps.
    """

    every: int = 1
    """How many snapshots of the comparison lie between two neighbours of a window."""
    at: list[int] | None = None
    """In place of ``every``: the optimizer steps to jump after, as Introspection does."""
    aim: float | None = None
    """With ``at``: where a jump leads, in multiples of its step; null: the forecaster's own."""
    horizon: int | None = None
    """Snapshots from the window's end to the forecast; null: the forecaster's default."""
    horizon_to: int | None = None
    """The horizon of the last jump: it falls from ``horizon`` to this value over the run
    (:func:`nowcast.decaying_horizon`). Null: all jumps have the same horizon.
    """
    damping: float = 1.0
    operations: list[str] | None = None
    skip: list[str] | None = None
    """Patterns of the names of leaves that never jump, such as ``stages/*/bias``."""
    start_after: float = 0.0
    stop_after: float | None = None
    moments: str = "keep"
    min_drift: float | None = Jumps.min_drift
    """The drift below which a jump is skipped; null: every jump is taken, as in the paper."""
    history_dtype: str | None = None


@dataclass
class GuardOptions:
    """The kind of a guard, and the options that differ from the defaults of that kind.

    The constructor replaces the kind by the options that it stands for. So two descriptions of the
    same guard are equal.

    Raises:
        UserError: There is no such kind, or an option has a value that its guard refuses.
    """

    kind: str | None = None
    """``at_once``: :class:`nowcast.Guard`; ``backtracking``: :meth:`nowcast.Guard.backtracking`;
    ``waiting``: :class:`nowcast.WaitingGuard`. Null: ``waiting`` if ``after`` is given, else
    ``at_once``.
    """
    tolerance: float | None = None
    dampings: list[float] | None = None
    after: float | None = None
    """Snapshots from a jump to its judgement, for the kind ``waiting`` only."""
    give_up: int | None = None
    longest: bool | None = None

    def __post_init__(self) -> None:
        kind = self.kind or (WAITING if self.after else AT_ONCE)
        unknown = f"is not a kind of guard; {text.choice(str(kind), list(USUAL))}"
        require(kind in USUAL, "guard.kind", kind, unknown)
        rule = "must be above 0 snapshots, such as 0.5"
        after = WAIT if self.after is None and kind == WAITING else self.after or 0
        fine = isinstance(after, int | float) and math.isfinite(after)
        require(fine and (after > 0 or kind != WAITING), "guard.after", after, rule)
        require(kind == WAITING or after == 0, "guard.after", after, f"{kind} does not wait")
        usual = USUAL[kind]
        said = {name: getattr(self, name) for name in vars(usual) if vars(self)[name] is not None}
        if isinstance(self.dampings, list):
            said["dampings"] = tuple(self.dampings)
        for name, value in vars(replace(usual, **said)).items():  # the guard checks its options
            setattr(self, name, value)
        self.kind, self.after, self.dampings = None, float(after), [*(self.dampings or ())]

    @property
    def options(self) -> dict[str, Any]:
        """The options without the kind, as plain values."""
        return {name: value for name, value in vars(self).items() if name != "kind"}

    def guard(self, every: int) -> Guard:
        """Make the guard of a run that takes a snapshot every ``every`` steps."""
        options = self.options | {"dampings": tuple(self.dampings or ())}
        after = options.pop("after")
        if not after:
            return Guard(**options)
        return WaitingGuard(**options, after=max(1, round(after * every)))


def no_guard() -> Any:
    """The default value of an arm's guard: a part of a configuration that accepts any key.

    It lets a command add one option of a guard to any arm: ``arm.cosine_linear.guard.after=0.5``.
    """
    from omegaconf import OmegaConf

    return OmegaConf.create({"kind": NONE}, flags={"struct": False})


def guard_options(given: Any) -> GuardOptions | None:
    """Read the options of a guard from a configuration.

    Args:
        given: None for no guard, a kind as a word, or a mapping of options.

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
        meant = f"a guard has no option of this name; {text.choice(str(name), known)}"
        require(name in known, f"guard.{name}", value, meant)
    options = dict(said)
    if options.get("kind") == NONE:
        del options["kind"]
        return GuardOptions(**options) if options else None
    return GuardOptions(**options)


@dataclass
class Auto:
    """The options of :func:`nowcast.auto_rate`, which lets the rate follow the run's drift.

    Raises:
        UserError: An option is out of its range.
    """

    every: int = 20
    """Steps between two looks at the drift."""
    target: float = 0.02
    """The drift at which the rate stays as it is."""
    start: float = START
    """The multiplier that a run begins with."""
    until: float = 0.5
    """The share of the run after which the multiplier no longer changes."""
    forecaster: str | None = None
    """The folder of a bundle of ``forecaster=rate``; null: the built-in rule, which needs none."""

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
            "must be a bundle of forecaster=rate; null: the built-in rule, which needs none",
        )

    @property
    def options(self) -> dict[str, Any]:
        """The options that are given, as plain values; a run depends on them."""
        return {key: value for key, value in vars(self).items() if value is not None}


@dataclass
class Outer:
    """The options of an outer step (:func:`collect.training.wrappers.outer`).

    Without momentum the outer step is Lookahead (Zhang et al., NeurIPS 2019), and with momentum
    SNOO (Kallusky et al., 2025).

    Raises:
        UserError: An option is out of its range.
    """

    every: int = 5
    """Inner steps from one outer step to the next."""
    learning_rate: float = 0.5
    """The share of the inner steps' movement that the outer step takes."""
    momentum: float = 0.0
    """Nesterov's momentum of the outer step."""

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
    """The average of its weights that an arm is judged by. The average does not change training.

    Raises:
        UserError: An option is out of its range, or there is no such kind.
    """

    kind: str = EMA
    """``ema``: an exponential moving average over all steps; ``lawa``: the mean of the last
    snapshots.
    """
    decay: float = 0.99
    """The factor of the EMA's old value at each step."""
    last: int = 5
    """How many snapshots LAWA averages."""

    def __post_init__(self) -> None:
        require(self.kind in (EMA, LAWA), "average.kind", self.kind, f"must be {EMA} or {LAWA}")
        require(
            0 < self.decay < 1,
            "average.decay",
            self.decay,
            "must be above 0, below 1, such as 0.99",
        )
        require(self.last >= 2, "average.last", self.last, "must be 2 snapshots or more")
