"""The options of an arm that come in groups: its jumps, their guard, its rate's factor, an outer
step, an average.
"""

from dataclasses import dataclass
from typing import Any

from collect.config import require
from nowcast.guard import Guard

EMA, LAWA = "ema", "lawa"
BACKTRACKING = "backtracking"


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
    """Those of :class:`nowcast.Guard`; ``after`` in snapshots.

    What is left out is as :class:`nowcast.Guard` has it, or, with ``kind: backtracking``, as
    :meth:`nowcast.Guard.backtracking` has it. Filled in, the options are the same however they were
    said.
    """

    kind: str | None = None
    tolerance: float | None = None
    dampings: list[float] | None = None
    after: float | None = None
    give_up: int | None = None
    longest: bool | None = None

    def __post_init__(self) -> None:
        require(
            self.kind in (None, BACKTRACKING),
            "guard.kind",
            self.kind,
            f"must be {BACKTRACKING}, or left out",
        )
        unsaid = Guard() if self.kind is None else Guard.backtracking()
        for name, value in vars(unsaid).items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        self.kind, self.after, self.dampings = (
            None,
            float(self.after or 0),
            [*map(float, self.dampings or ())],
        )

    @property
    def options(self) -> dict[str, Any]:
        """Those that :class:`nowcast.Guard` takes, as plain values."""
        return {name: value for name, value in vars(self).items() if name != "kind"}


@dataclass
class Auto:
    """A rate that follows the run's drift: the options of :func:`nowcast.auto_rate`."""

    every: int = 20
    """Steps."""
    target: float = 0.02
    start: float = 0.125
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
