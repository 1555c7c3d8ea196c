"""When a run takes snapshots and when it jumps: after each full window, or at named steps.

A timetable turns a clock into what is due, and knows where the history keeps each snapshot. Both
kinds have the same methods, so that :mod:`nowcast.advance` treats them alike.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from nowcast import history as window_of
from nowcast.forecasters.base import PLACES
from nowcast.history import History
from nowcast.state import Clock
from nowcast.types import PyTree, UserError, whole

FIRST = 3
"""The first step that can be named: from here on a step and its parts are different steps."""


@dataclass(frozen=True)
class Windows:
    """Snapshots ``every`` steps apart, and a jump after each ``size`` of them."""

    every: int
    size: int
    start_after: int
    stop_after: int | None
    wait: int
    """Steps from a jump to its judgement, before the next window begins."""

    @property
    def kept(self) -> int:
        """Snapshots in the history besides the first; the newest is never stored."""
        return max(self.size - 2, 0)

    def steps(self, length: int) -> range:
        """The steps after which a run of this length jumps."""
        window = self.size * self.every
        end = length if self.stop_after is None else min(length, self.stop_after)
        return range(self.start_after + window, end + 1, window + self.wait)

    def begin(self, history: History, params: PyTree) -> History:
        """The history before the first step."""
        return history

    def tick(self, clock: Clock) -> Clock:
        """The clock one step later.

        A window's snapshots are ``every`` steps apart: a snapshot that comes later begins a new
        window.
        """
        step, filled, windows, total = clock
        return Clock(step + 1, jnp.where(step + 1 > self.every, 0, filled), windows, total + 1)

    def due(self, clock: Clock) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
        """Whether a snapshot is to be stored, and whether a jump is due; never both."""
        due = clock.step >= self.every
        if self.stop_after is not None:
            due &= clock.total <= self.stop_after
        full = due & (clock.filled >= self.size - 1)
        return due & ~full, full

    def record(self, history: History, clock: Clock, params: PyTree) -> History:
        """The history with the snapshot that is due."""
        return window_of.record(history, clock.filled, params)

    def window(self, history: History, clock: Clock) -> History:
        """The window that the jump which is due reads."""
        return history

    def after(self, clock: Clock, snapshot: Bool[Array, ""], jump: Bool[Array, ""]) -> Clock:
        """The clock after a snapshot was stored, or after the window was emptied by a jump."""
        return clock._replace(
            step=jnp.where(jump, -self.wait, jnp.where(snapshot, 0, clock.step)),
            filled=jnp.where(jump, 0, clock.filled + snapshot.astype(jnp.int32)),
            windows=clock.windows + jump.astype(jnp.int32),
        )


@dataclass(frozen=True)
class NamedSteps:
    """Jumps after named steps; each reads the run at :data:`PLACES` of its own step.

    The windows of several jumps overlap, and begin with the untrained weights, which all share. A
    snapshot keeps its place in the history until the last jump that reads it; then another takes
    the place. A snapshot of a step that also jumps is of the weights before the jump.
    """

    at: tuple[int, ...]

    @cached_property
    def reads(self) -> list[tuple[int, ...]]:
        """For each jump, the steps of its snapshots between the start and the jump."""
        return [tuple(round(place * step) for place in PLACES[1:-1]) for step in self.at]

    @cached_property
    def places(self) -> dict[int, int]:
        """The place in the history of each snapshot, by its step, in ascending order.

        The first free place is taken, which needs no more places than snapshots are alive at once.
        """
        last = {
            taken: jump for jump, some in zip(self.at, self.reads, strict=True) for taken in some
        }
        until: list[int] = []
        found = {}
        for step in sorted(last):
            place = next((k for k, end in enumerate(until) if end < step), len(until))
            until[place : place + 1] = [last[step]]
            found[step] = place
        return found

    @property
    def kept(self) -> int:
        """Snapshots in the history besides the first."""
        return 1 + max(self.places.values())

    def steps(self, length: int) -> Sequence[int]:
        """The steps after which a run of this length jumps."""
        return [step for step in self.at if step <= length]

    def next_after(self, step: int) -> int | None:
        """The first step past this one that has a snapshot or a jump."""
        return min((one for one in (*self.places, *self.at) if one > step), default=None)

    def begin(self, history: History, params: PyTree) -> History:
        """The history before the first step, which holds the untrained weights."""
        return window_of.begun(history, params)

    def tick(self, clock: Clock) -> Clock:
        """The clock one step later."""
        return clock._replace(step=clock.step + 1, total=clock.total + 1)

    def due(self, clock: Clock) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
        """Whether a snapshot is to be stored, and whether a jump is due; perhaps both."""
        return _among(clock.total, self.places), _among(clock.total, self.at) & (clock.step > 0)

    def record(self, history: History, clock: Clock, params: PyTree) -> History:
        """The history with the snapshot that is due, in its place."""
        steps: list[list[int]] = [[] for _ in range(self.kept)]
        for step, place in self.places.items():
            steps[place].append(step)
        return window_of.put(history, [_among(clock.total, own) for own in steps], params)

    def window(self, history: History, clock: Clock) -> History:
        """The window that the jump which is due reads."""
        number = jnp.sum(clock.total > jnp.array(self.at))
        table = jnp.array([[self.places[step] for step in own] for own in self.reads])
        places = [table[number, column] for column in range(len(PLACES) - 2)]

        def read(place: Int[Array, ""], *kept: Any) -> Any:
            if window_of.absent(kept[0]) or len(kept) == 1:
                return kept[0]
            return jax.lax.select_n(place, *kept)

        moved = [
            jax.tree.map(
                lambda *kept, place=place: read(place, *kept),
                *history.moved,
                is_leaf=window_of.absent,
            )
            for place in places
        ]
        return History(history.first, tuple(moved))

    def after(self, clock: Clock, snapshot: Bool[Array, ""], jump: Bool[Array, ""]) -> Clock:
        """The clock after a snapshot was stored, or after a jump."""
        return clock._replace(
            step=jnp.where(jump, 0, clock.step),
            filled=clock.filled + snapshot.astype(jnp.int32),
            windows=clock.windows + jump.astype(jnp.int32),
        )


def _among(step: Int[Array, ""], some: Iterable[int]) -> Bool[Array, ""]:
    return jnp.any(step == jnp.array(list(some), jnp.int32))


def named_steps(at: Any) -> tuple[int, ...]:
    """The steps of jumps as a tuple, checked.

    Raises:
        UserError: They are not whole numbers from 3 on, each once, in ascending order.
    """
    if isinstance(at, str) or not isinstance(at, Iterable):
        raise UserError(f"at={at!r} must be a list of steps, such as at=[3000, 4000, 5000]")
    steps = tuple(whole("at", step, "optimizer steps") for step in at)
    if not steps:
        raise UserError("at=[] lets nothing jump: name steps, such as at=[3000, 4000, 5000]")
    for before, step in zip((0, *steps), steps, strict=False):
        if step < FIRST:
            raise UserError(
                f"at: step {step} is too early, since a jump reads the run at four steps up to its"
                f" own; name steps from {FIRST} on"
            )
        if step <= before:
            raise UserError(
                f"at: step {step} comes after step {before}; name each step once, in ascending"
                " order"
            )
    return steps
