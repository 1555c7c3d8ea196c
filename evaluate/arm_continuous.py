"""Define an arm's continuous methods: options, wrappers, words, and the weights they judge by."""

from dataclasses import asdict, dataclass
from typing import Any

import optax

from collect.checks import require
from collect.training import continuous
from nowcast.types import PyTree

INSIDE = ("outer", "ema_nesterov", "gpa", "airbench_lookahead")
"""An arm's settings that wrap its optimizer, within its jumps. An arm has one of them at most."""


@dataclass
class EmaNesterov:
    """The options of :func:`collect.training.continuous.ema_nesterov`.

    Raises:
        UserError: An option is out of its range.
    """

    gamma: float = 0.99
    """The share of the momentum that a step keeps."""
    beta: float = 0.6
    """How far ahead gradients are taken, in momenta, at the highest rate."""
    start: float = 0.16
    """The share of the run before which gradients are taken where the weights are."""
    stop: float = 0.76
    """The share of the run from which on they are taken there again."""

    def __post_init__(self) -> None:
        _share("ema_nesterov.gamma", self.gamma)
        require(
            0 <= self.beta <= 10, "ema_nesterov.beta", self.beta, "must be 0 to 10, such as 0.6"
        )
        require(
            0 <= self.start <= self.stop <= 1,
            "ema_nesterov.start, stop",
            f"{self.start:g}, {self.stop:g}",
            "must be shares of the run in ascending order, such as 0.16, 0.76",
        )

    @property
    def words(self) -> str:
        """The method in words."""
        part = f"from {self.start:g} to {self.stop:g} of the run"
        return f"EMA-Nesterov γ {self.gamma:g}, β {self.beta:g}, {part}"

    def wrapped(self, inner: Any, steps: int) -> optax.GradientTransformationExtraArgs:
        """The optimizer within this method, for runs of so many steps."""
        return continuous.ema_nesterov(inner, steps=steps, **asdict(self))

    def judged(self, params: PyTree, state: Any) -> PyTree:
        """The weights that a run is judged by."""
        return continuous.behind(state, params)


@dataclass
class Gpa:
    """The options of :func:`collect.training.continuous.gpa`.

    Raises:
        UserError: An option is out of its range.
    """

    mu_y: float = 0.7
    """The share of the average where gradients are taken."""
    mu_x: float = 0.9967
    """The share of the old average that a step keeps."""

    def __post_init__(self) -> None:
        require(0 < self.mu_y <= 1, "gpa.mu_y", self.mu_y, "must be above 0, at most 1")
        _share("gpa.mu_x", self.mu_x)

    @property
    def words(self) -> str:
        """The method in words."""
        return f"GPA μ_y {self.mu_y:g}, μ_x {self.mu_x:g}"

    def wrapped(self, inner: Any, steps: int) -> optax.GradientTransformationExtraArgs:
        """The optimizer within this method; the runs' length does not matter."""
        return continuous.gpa(inner, **asdict(self))

    def judged(self, params: PyTree, state: Any) -> PyTree:
        """The weights that a run is judged by."""
        return continuous.averaged_primal(state, params, self.mu_y)


@dataclass
class AirbenchLookahead:
    """The options of :func:`collect.training.continuous.airbench_lookahead`.

    Raises:
        UserError: An option is out of its range.
    """

    every: int = 5
    """Steps from one synchronisation to the next."""
    decay: float = 0.95
    """The decay of the slow weights a step, at the run's end."""
    power: float = 3.0
    """The power of the share of the run with which the decay grows."""

    def __post_init__(self) -> None:
        require(self.every >= 1, "airbench_lookahead.every", self.every, "must be 1 step or more")
        _share("airbench_lookahead.decay", self.decay)
        require(0 <= self.power <= 100, "airbench_lookahead.power", self.power, "must be 0 to 100")

    @property
    def words(self) -> str:
        """The method in words."""
        return (
            f"Lookahead of airbench every {self.every} steps, decay {self.decay:g}, power"
            f" {self.power:g}"
        )

    def wrapped(self, inner: Any, steps: int) -> optax.GradientTransformationExtraArgs:
        """The optimizer within this method, for runs of so many steps."""
        return continuous.airbench_lookahead(inner, steps=steps, **asdict(self))

    def judged(self, params: PyTree, state: Any) -> PyTree:
        """The weights that a run is judged by."""
        return state.slow


@dataclass
class TailBlend:
    """The read-out of :func:`collect.training.wrappers.blend_of`. It does not change training.

    Raises:
        UserError: An option is out of its range.
    """

    weight: float = 0.6
    """The share of the average in the weights that a run is judged by."""
    start: float = 0.83
    """The share of the run from which on weights are averaged."""

    def __post_init__(self) -> None:
        require(0 <= self.weight <= 1, "tail_blend.weight", self.weight, "must be 0 to 1")
        _share("tail_blend.start", self.start)

    @property
    def words(self) -> str:
        """The method in words."""
        return (
            f"judged by {self.weight:g} of an average of its tail, from {self.start:g} of the run"
        )


def within(arm: Any) -> Any:
    """The continuous method that wraps an arm's optimizer; None without one."""
    return arm.ema_nesterov or arm.gpa or arm.airbench_lookahead


def _share(key: str, value: float) -> None:
    require(0 <= value < 1, key, value, "must be 0 or more, below 1")
