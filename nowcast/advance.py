"""Advance a run's clock by one step: judge, record and forecast what is due, in this order."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int

from nowcast import history as window_of
from nowcast.branch import branch
from nowcast.drift import drift
from nowcast.forecasters.base import Horizon
from nowcast.guard import ValueFn, WaitingGuard, blend
from nowcast.history import History
from nowcast.jump_end import leaf_after_jump, leaves_after_jump, network_after_jump
from nowcast.ops import flat_labels
from nowcast.split import everywhere
from nowcast.state import Clock, Kept, NowcastState
from nowcast.types import PyTree

Changes = dict[str, Any]
"""The fields of a state that a step changes.

A branch returns only these, because whatever passes through a branch is copied.
"""


@dataclass(frozen=True)
class Step:
    """The inputs of one step of a run's clock.

    Args:
        jumps: The options, a :class:`nowcast.Jumps`.
        value_fn: The loss as a function of the parameters, for the guard.
        base: What updates are added to; None where a step leads to parameters.
        renew: Gives the optimizer's state after a jump to these parameters; None: it stays.
    """

    jumps: Any
    value_fn: ValueFn | None
    base: PyTree | None
    renew: Callable[[PyTree, PyTree], PyTree] | None

    def take(self, out: PyTree, state: NowcastState) -> tuple[PyTree, NowcastState]:
        """Do what is due at this step.

        Returns ``out`` (parameters, or the updates that lead to them) after it, and the next state.
        """
        times = self.jumps.timetable
        clock = times.tick(state.clock)
        out, changes = self._judge_if_due(clock, out, self._changeable(state))
        snapshot, full = times.due(clock)
        history = self._record_if(snapshot, clock, out, state.history)
        moves, changes = self._drifts_if(full, clock, out, history, changes)
        out, changes = branch(moves, partial(self._jump, history, clock), _as_it_is, out, changes)
        return out, state._replace(
            clock=times.after(clock, snapshot, full), history=history, **changes
        )

    def _changeable(self, state: NowcastState) -> Changes:
        changes = {
            name: getattr(state, name) for name in ("accepted", "refused", "in_a_row", "damping")
        }
        if self.jumps.wait:
            return changes | {"inner": state.inner, "kept": state.kept}
        return changes | ({"inner": state.inner} if self.renew else {})

    def _judge_if_due(self, clock: Clock, out: PyTree, changes: Changes) -> tuple[PyTree, Changes]:
        """Judge the last jump once its wait is over, with a guard that waits.

        No update leads back from weights that are not finite: such a run is judged before they are
        applied.
        """
        if not self.jumps.wait:
            return out, changes
        pending = changes["kept"].pending
        lost = branch(pending, lambda out: ~_finite(out), lambda out: jnp.array(False), out)
        return branch((pending & (clock.step >= 0)) | lost, self._judge, _as_it_is, out, changes)

    def _judge(self, out: PyTree, was: Changes) -> tuple[PyTree, Changes]:
        """Undo the last jump if the run is worse off for it."""
        before, pending = was["kept"], was["kept"].pending
        guard = cast(WaitingGuard, self.jumps.guard)
        undo = pending & guard.hurts(self.value_fn, self._params(out), before.params)
        back = before.params
        if self.base is not None:
            back = jax.tree.map(lambda q, p, u: (q - p).astype(u.dtype), back, self.base, out)
        out, inner = _either(undo, (back, before.carry), (out, was["inner"]))
        return out, {
            "accepted": was["accepted"] - _count(undo),
            "refused": was["refused"] + _count(undo),
            "in_a_row": jnp.where(
                undo, was["in_a_row"] + 1, jnp.where(pending, 0, was["in_a_row"])
            ),
            "damping": jnp.where(undo, 0, was["damping"]),
            "inner": inner,
            "kept": before._replace(pending=jnp.zeros_like(pending)),
        }

    def _record_if(
        self, yes: Bool[Array, ""], clock: Clock, out: PyTree, history: History
    ) -> History:
        """Store a snapshot if ``yes``.

        The snapshot of the jump itself is not stored: the forecast uses it at once.
        """
        return branch(
            yes,
            lambda history, out: self.jumps.timetable.record(history, clock, self._params(out)),
            lambda history, out: history,
            history,
            out,
        )

    def _drifts_if(
        self, full: Bool[Array, ""], clock: Clock, out: PyTree, history: History, changes: Changes
    ) -> tuple[Bool[Array, ""], Changes]:
        """Whether a full window drifts enough to jump; if not, count a refused jump.

        A drift that is NaN does not prevent the jump: weights that are not finite will.
        """
        least, size = self.jumps.min_drift, self.jumps.reader.window
        if least is None:
            return full, changes

        def drifts(out: PyTree, history: History) -> Bool[Array, ""]:
            window = self.jumps.timetable.window(history, clock)
            return ~(drift(size, window, self._params(out)) < least)

        moves = branch(full, drifts, lambda *_: jnp.array(False), out, history)
        refused = changes["refused"] + _count(full & ~moves)
        return moves, changes | {
            "refused": refused,
            "damping": jnp.where(full, 0, changes["damping"]),
        }

    def _jump(
        self, history: History, clock: Clock, out: PyTree, was: Changes
    ) -> tuple[PyTree, Changes]:
        """Go to the forecast, or as far as the guard lets the run go.

        Where the forecast is not finite, the run takes no part of the jump.
        """
        history = self.jumps.timetable.window(history, clock)
        there = self._forecast(out, history, clock.windows)
        passes, there, damping = self._guarded(out, there, history, was["in_a_row"])
        passes &= _finite(self._params(there))
        good = passes & (self.jumps.wait == 0)  # with a wait, the verdict comes later
        now = {
            "accepted": was["accepted"] + _count(passes),
            "refused": was["refused"] + _count(~passes),
            "in_a_row": jnp.where(good, 0, was["in_a_row"] + _count(~passes)),
            "damping": jnp.where(passes, self.jumps.damping * damping, 0),
        }
        if "kept" in was:
            now["kept"] = Kept(self._params(out), was["inner"], passes)
        if "inner" in was:
            fresh = self.renew(was["inner"], self._params(there)) if self.renew else was["inner"]
            now["inner"] = _either(passes, fresh, was["inner"])
        return _either(passes, there, out), now

    def _guarded(
        self, out: PyTree, there: PyTree, history: History, in_a_row: Int[Array, ""]
    ) -> tuple[Bool[Array, ""], PyTree, Array]:
        """Whether the jump passes the guard, where it ends, and which fraction of it is taken."""
        guard = self.jumps.guard
        if not guard:
            return jnp.array(True), there, jnp.ones([], jnp.float32)
        begun = window_of.oldest(history, self._params(out))
        trial = guard.try_dampings(self.value_fn, self._params, out, there, begun)
        passes = trial.passes & (in_a_row < guard.give_up) if guard.give_up else trial.passes
        return passes, blend(out, there, trial.damping), trial.damping

    def _forecast(self, out: PyTree, history: History, jumps: Int[Array, ""]) -> PyTree:
        """``out`` after the whole jump; leaves that do not jump stay unchanged."""
        own = self.jumps
        horizon: Horizon = own.reader.horizon
        if callable(own.horizon):
            horizon = jnp.maximum(jnp.asarray(own.horizon(jumps)).astype(jnp.int32), 1)
        elif own.horizon is not None:
            horizon = own.horizon
        labels, how = flat_labels(out, own.labels), {"horizon": horizon, "damping": own.damping}
        if own.reader.whole:
            return network_after_jump(own.reader, out, self.base, history, labels, **how)
        return leaves_after_jump(
            partial(leaf_after_jump, own.reader, **how), out, self.base, history, labels
        )

    def _params(self, out: PyTree) -> PyTree:
        return out if self.base is None else optax.apply_updates(self.base, out)


def _as_it_is(out: PyTree, was: Changes) -> tuple[PyTree, Changes]:
    return out, was


def _count(condition: Bool[Array, ""]) -> Int[Array, ""]:
    """1 where the condition holds, 0 elsewhere."""
    return condition.astype(jnp.int32)


def _either(yes: Bool[Array, ""], this: PyTree, that: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(yes, a, b), this, that)


def _finite(tree: PyTree) -> Bool[Array, ""]:
    return jnp.all(
        jnp.array(
            [everywhere(jnp.all(jnp.isfinite(leaf)), leaf) for leaf in jax.tree.leaves(tree)], bool
        )
    )
