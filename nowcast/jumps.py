"""When a run jumps, where to, and what becomes of a jump that hurts: for optax, for loops without it, for Keras.

The loop of WNN (Jang et al., ICML 2023, §3) with W = 5 and one snapshot per epoch:

    for epoch in 1, 2, 3, …:
        train one epoch                                  # `every` optimizer steps
        append the weights to the window                 # the snapshot
        if the window holds W snapshots:
            weights ← forecast(window), `horizon` snapshots past its last one
            empty the window                             # no window straddles a jump
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int

from nowcast import history as window_of
from nowcast.arrays import as_array, copied
from nowcast.branch import branch, is_traced
from nowcast.checks import (
    check_jumping,
    check_made_for,
    check_resumed,
    check_unchanged,
    check_weights,
    dtype_of,
    first_horizon,
    limits_of,
    operations_of,
)
from nowcast.drift import drift
from nowcast.forecasters.base import Forecaster, Horizon, check_forecaster
from nowcast.guard import Guard, ValueFn, blend, needed
from nowcast.history import History
from nowcast.landing import landed, to_forecast
from nowcast.ops import flat_labels, path_name
from nowcast.split import axis_names, check_split, everywhere, split_over
from nowcast.state import Clock, Kept, NowcastState
from nowcast.types import PyTree, UserError, whole


@dataclass(frozen=True, kw_only=True)
class Jumps:
    """Nowcasting for a loop of your own, without optax: call :meth:`step` after each step of yours.

    Its options are those of :func:`nowcast.periodic`, which says what each does; ``moments`` are the optimizer's and not here.
    Weights are set to the forecast itself, with no rounding in between.

    Example:
        >>> import jax.numpy as jnp, nowcast
        >>> jumps = nowcast.Jumps(forecaster=nowcast.load("linear"), every=1)
        >>> params = {"kernel": jnp.zeros((2, 2))}
        >>> state = jumps.init(params)
        >>> for _ in range(5):
        ...     params = {"kernel": params["kernel"] - 0.1}  # your step
        ...     params, state = jumps.step(params, state)
        >>> round(params["kernel"][0, 0].item(), 4)
        -1.0
    """

    forecaster: Forecaster
    every: int
    labels: PyTree | None = field(default=None, hash=False)  # a dict, which has no hash
    operations: Collection[str] | None = None
    horizon: int | Callable[[Any], Any] | None = None
    damping: float = 1.0
    start_after: int = 0
    stop_after: int | None = None
    history_dtype: Any = None
    max_relative_jump: float | None = None
    min_drift: float | None = None
    guard: Guard | None = None
    axis_name: str | Collection[str] | None = None

    def __post_init__(self) -> None:
        def settle(**values: Any) -> None:
            for name, value in values.items():
                object.__setattr__(self, name, value)

        check_forecaster(self.forecaster)
        if self.guard is not None and not isinstance(self.guard, Guard):
            raise UserError(f"guard={self.guard!r} must be one: nowcast.Guard()")
        settle(every=whole("every", self.every, "optimizer steps"))
        if callable(self.horizon):
            self.forecaster.check_schedule()
            with jax.ensure_compile_time_eval():
                self.forecaster.check_horizon(first_horizon(self.horizon))
        else:
            settle(horizon=self.forecaster.check_horizon(self.horizon))
        settle(operations=operations_of(self.operations), axis_name=axis_names(self.axis_name))
        settle(start_after=whole("start_after", self.start_after, "optimizer steps") if self.start_after != 0 else 0)
        if self.stop_after is not None:
            first = self.start_after + self.forecaster.window * self.every
            if whole("stop_after", self.stop_after, "optimizer steps") < first:
                raise UserError(f"stop_after={self.stop_after} lets nothing jump: the first jump is at step {first}")
        settle(**limits_of(self.forecaster, self.damping, self.max_relative_jump, self.min_drift))
        if self.history_dtype is not None:
            settle(history_dtype=dtype_of(self.history_dtype))

    def steps(self, length: int) -> range:
        """The steps (the first is 1) after which a run of this length jumps, or refuses to.

        Example:
            >>> import nowcast
            >>> list(nowcast.Jumps(forecaster=nowcast.load("linear"), every=10).steps(200))
            [50, 100, 150, 200]
        """
        window = self.forecaster.window * self.every
        end = length if self.stop_after is None else min(length, self.stop_after)
        return range(self.start_after + window, end + 1, window + self._wait)

    def init(self, params: PyTree) -> NowcastState:
        """The state before the first step."""
        check_weights(params)
        return self.start(params, ())

    def step(
        self, params: PyTree, state: NowcastState, *, value_fn: ValueFn | None = None
    ) -> tuple[PyTree, NowcastState]:
        """The parameters to go on with; most steps they are those given. Jittable.

        Args:
            params: After your step.
            state: From the last call.
            value_fn: The loss as a function of the parameters: with a guard.
        """
        check_unchanged(params, state)
        return self.advance(params, (), state, value_fn)

    def start(self, params: PyTree, carry: PyTree) -> NowcastState:
        """The state before the first step; ``carry`` is what a guard restores beside the parameters, which were checked."""
        params = jax.tree.map(as_array, params)

        def number(value: int = 0) -> Int[Array, ""]:
            return jnp.array(value, jnp.int32)  # each an array of its own: donating one buffer twice is an error

        kept = None
        if self._wait:
            kept = Kept(jax.tree.map(copied, params), jax.tree.map(copied, carry), jnp.array(False))
        return NowcastState(
            inner=carry,
            clock=Clock(number(-self.start_after), number(), number(), number()),
            history=window_of.empty(params, self._jumping(params), self.forecaster.window, self.history_dtype),
            accepted=number(),
            refused=number(),
            in_a_row=number(),
            damping=jnp.zeros([], jnp.float32),
            kept=kept,
        )

    def advance(
        self,
        out: PyTree,
        carry: PyTree,
        state: NowcastState,
        value_fn: ValueFn | None = None,
        *,
        base: PyTree | None = None,
        renew: Callable[[PyTree, PyTree], PyTree] | None = None,
    ) -> tuple[PyTree, NowcastState]:
        """One step of the clock, and what is due.

        Args:
            out: What the step leads to: parameters, or the updates that lead to them.
            carry: What belongs to them: the optimizer's state.
            state: From the last call.
            value_fn: For the guard.
            base: What ``out`` is to be added to, where it is updates.
            renew: What becomes of ``carry`` at a jump to these parameters; None: it stays.

        Returns:
            ``out`` and the state to go on with; its ``inner`` is the ``carry``.
        """
        with split_over(cast(tuple[str, ...] | None, self.axis_name)):
            check_split(out, state.accepted)
            return self._advance(out, carry, state, value_fn, base, renew)

    def _advance(
        self,
        out: PyTree,
        carry: PyTree,
        state: NowcastState,
        value_fn: ValueFn | None,
        base: PyTree | None,
        renew: Callable[[PyTree, PyTree], PyTree] | None,
    ) -> tuple[PyTree, NowcastState]:
        check_made_for(self.forecaster, self.guard, state)
        if not is_traced(state.clock):
            self.check_resumed(state)
        if self.guard:
            needed(value_fn)
        out, base, state = jax.tree.map(as_array, (out, base, state._replace(inner=())))
        state = state._replace(inner=carry)
        if state.kept:  # an optimizer's state may have found its dtype in its first step
            kept = jax.tree.map(lambda old, new: old.astype(new.dtype), state.kept.carry, carry)
            state = state._replace(kept=state.kept._replace(carry=kept))
        clock = self._ticked(state.clock)

        def to_params(out: PyTree) -> PyTree:
            return out if base is None else optax.apply_updates(base, out)

        def judge(out: PyTree, was: dict[str, Any]) -> tuple[PyTree, dict[str, Any]]:
            assert self.guard
            before, pending = was["kept"], was["kept"].pending
            undo = pending & self.guard.hurts(value_fn, to_params(out), before.params)
            back = before.params
            if base is not None:
                back = jax.tree.map(lambda q, p, u: (q - p).astype(u.dtype), back, base, out)
            out, inner = _either(undo, (back, before.carry), (out, was["inner"]))
            return out, {
                "accepted": was["accepted"] - _count(undo),
                "refused": was["refused"] + _count(undo),
                "in_a_row": jnp.where(undo, was["in_a_row"] + 1, jnp.where(pending, 0, was["in_a_row"])),
                "damping": jnp.where(undo, 0, was["damping"]),
                "inner": inner,
                "kept": before._replace(pending=jnp.zeros_like(pending)),
            }

        def drifts(out: PyTree, history: History) -> Bool[Array, ""]:
            # A drift that is no number does not hold a run back: its weights will.
            return ~(drift(self.forecaster.window, history, to_params(out)) < cast(float, self.min_drift))

        def jump(out: PyTree, was: dict[str, Any]) -> tuple[PyTree, dict[str, Any]]:
            there = self._landed(out, base, history, clock.windows)
            passes, damping = jnp.array(True), jnp.ones([], jnp.float32)
            if self.guard:
                begun = window_of.oldest(history, to_params(out))
                trial = self.guard.tries(value_fn, to_params, out, there, begun)
                passes, damping, there = trial.passes, trial.damping, blend(out, there, trial.damping)
                if self.guard.give_up:
                    passes &= was["in_a_row"] < self.guard.give_up
            passes &= _finite(to_params(there))  # where the forecast is not, no part of the way is
            good = passes & (self._wait == 0)  # or it is still to be seen
            now = {
                "accepted": was["accepted"] + _count(passes),
                "refused": was["refused"] + _count(~passes),
                "in_a_row": jnp.where(good, 0, was["in_a_row"] + _count(~passes)),
                "damping": jnp.where(passes, self.damping * damping, 0),
            }
            if "kept" in was:
                now["kept"] = Kept(to_params(out), was["inner"], passes)
            if "inner" in was:
                fresh = renew(was["inner"], to_params(there)) if renew else was["inner"]
                now["inner"] = _either(passes, fresh, was["inner"])
            return _either(passes, there, out), now

        # Each branch gives back what it may change and no more: what passes through one is copied where it runs.
        changes = {name: getattr(state, name) for name in ("accepted", "refused", "in_a_row", "damping")}
        if self._wait:
            changes |= {"inner": carry, "kept": state.kept}
            assert state.kept
            # No update leads back from weights that are not finite: such a run is judged before they are applied.
            pending = state.kept.pending
            lost = branch(pending, lambda out: ~_finite(out), lambda out: jnp.array(False), out)
            out, changes = branch((pending & (clock.step >= 0)) | lost, judge, _as_it_is, out, changes)
        elif renew:
            changes["inner"] = carry
        due = self._due(clock)
        full = due & (clock.filled >= self.forecaster.window - 1)
        history = branch(
            due & ~full,
            lambda history, out: window_of.record(history, clock.filled, to_params(out)),
            lambda history, out: history,
            state.history,
            out,
        )
        moves = full
        if self.min_drift is not None:
            moves = branch(full, drifts, lambda *_: jnp.array(False), out, history)
            changes["refused"] += _count(full & ~moves)
            changes["damping"] = jnp.where(full, 0, changes["damping"])
        out, changes = branch(moves, jump, _as_it_is, out, changes)
        clock = clock._replace(
            step=jnp.where(full, -self._wait, jnp.where(due, 0, clock.step)),
            filled=jnp.where(full, 0, clock.filled + _count(due)),
            windows=clock.windows + _count(full),
        )
        return out, state._replace(clock=clock, history=history, **changes)

    def check_resumed(self, state: NowcastState) -> None:
        """Refuse a saved state that cannot go on with these options; its clock holds numbers, so call it outside ``jit``.

        Raises:
            UserError: The state was made with another ``start_after``, or has a snapshot of a step past ``stop_after``.

        Example:
            >>> import jax.numpy as jnp, nowcast
            >>> jumps = nowcast.Jumps(forecaster=nowcast.load("linear"), every=1)
            >>> jumps.check_resumed(jumps.init({"kernel": jnp.zeros((2, 2))}))
        """
        check_resumed(state.clock, self.start_after, self.stop_after, self._wait)

    def is_over(self, steps: int) -> bool:
        """Whether a run of so many steps takes no more snapshots, because ``stop_after`` has passed."""
        return self.stop_after is not None and steps >= self.stop_after

    @property
    def _wait(self) -> int:
        """Steps from a jump to its judgement, before the next window begins."""
        return self.guard.after if self.guard else 0

    def _ticked(self, clock: Clock) -> Clock:
        """The clock one step later. A window's snapshots are ``every`` steps apart: one that comes later begins a new window."""
        step, filled, windows, total = clock
        return Clock(step + 1, jnp.where(step + 1 > self.every, 0, filled), windows, total + 1)

    def _due(self, clock: Clock) -> Bool[Array, ""]:
        due = clock.step >= self.every
        return due if self.stop_after is None else due & (clock.total <= self.stop_after)

    def _jumping(self, params: PyTree) -> list[bool]:
        """Which leaves jump."""
        names = [path_name(path) for path, _ in jax.tree.flatten_with_path(params)[0]]
        return check_jumping(self.forecaster, names, flat_labels(params, self.labels), self.operations)

    def _landed(self, out: PyTree, base: PyTree | None, history: History, jumps: Int[Array, ""]) -> PyTree:
        """What ``out`` is after the jump; leaves that do not jump are as they were."""
        horizon: Horizon = self.forecaster.horizon
        if callable(self.horizon):
            horizon = jnp.maximum(jnp.asarray(self.horizon(jumps)).astype(jnp.int32), 1)
        elif self.horizon is not None:
            horizon = self.horizon
        to = partial(
            landed, self.forecaster, horizon=horizon, damping=self.damping, max_relative_jump=self.max_relative_jump
        )
        return to_forecast(to, out, base, history, flat_labels(out, self.labels))


def _count(condition: Bool[Array, ""]) -> Int[Array, ""]:
    """1 where the condition holds, 0 elsewhere."""
    return condition.astype(jnp.int32)


def _as_it_is(out: PyTree, was: dict[str, Any]) -> tuple[PyTree, dict[str, Any]]:
    return out, was


def _either(yes: Bool[Array, ""], this: PyTree, that: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(yes, a, b), this, that)


def _finite(tree: PyTree) -> Bool[Array, ""]:
    return jnp.all(jnp.array([everywhere(jnp.all(jnp.isfinite(leaf)), leaf) for leaf in jax.tree.leaves(tree)], bool))
