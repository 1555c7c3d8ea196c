"""When a run jumps, where to, and what happens to a jump that hurts.

The loops with optax, without optax, and of Keras all use it.

The loop of WNN (Jang et al., ICML 2023, §3) with W = 5 and one snapshot per epoch:

    for epoch in 1, 2, 3, …:
        train one epoch                                  # `every` optimizer steps
        append the weights to the window                 # the snapshot
        if the window holds W snapshots:
            weights ← forecast(window), `horizon` snapshots past its last one
            empty the window                             # no window straddles a jump

That of Introspection (Sinha et al., ICLR 2017, §3) has jumps at named steps t, each to 2t by the
weights at 0, 0.4t, 0.7t and t: :class:`nowcast.timetable.NamedSteps`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypedDict, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from nowcast import history as window_of
from nowcast.advance import Step
from nowcast.arrays import as_array, copied
from nowcast.branch import is_traced
from nowcast.checks import (
    check_jumping,
    check_weights,
    dtype_of,
    limits_of,
    named_options,
    operations_of,
    skipped,
    window_options,
)
from nowcast.forecasters.base import Forecaster, check_forecaster
from nowcast.guard import Guard, ValueFn, needed
from nowcast.guess import walk
from nowcast.ops import flat_labels, path_name
from nowcast.split import axis_names, check_split, split_over
from nowcast.state import Clock, Kept, NowcastState
from nowcast.state_checks import (
    check_made_for,
    check_named_steps_resumed,
    check_resumed,
    check_unchanged,
)
from nowcast.text import brief
from nowcast.timetable import NamedSteps, Windows
from nowcast.types import PyTree, UserError


class JumpOptions(TypedDict, total=False):
    """The fields of :class:`Jumps` with a default, as keywords of :func:`nowcast.periodic`."""

    at: Sequence[int] | None
    aim: float | None
    labels: PyTree | None
    operations: Collection[str] | None
    skip: Collection[str] | None
    horizon: int | Callable[[Any], Any] | None
    damping: float
    start_after: int
    stop_after: int | None
    history_dtype: Any
    min_drift: float | None
    guard: Guard | None
    axis_name: str | Collection[str] | None


@dataclass(frozen=True, kw_only=True)
class Jumps:
    """Nowcasting for a loop of your own, without optax: call :meth:`step` after each step of yours.

    Weights are set to the forecast itself, with no rounding in between. The options are also those
    of :func:`nowcast.periodic` and, but for ``labels`` and ``axis_name``, of the Keras callback.

    Args:
        forecaster: What to forecast with, from :func:`nowcast.load`.
        every: Optimizer steps between two snapshots; the steps of an epoch, to do as the paper
            does. With a window of 5 a jump follows every ``5 * every`` steps.
        at: In place of ``every``: jump after exactly these optimizer steps, counted from ``init``,
            as Introspection does. A jump at step t reads the weights at steps 0 (the untrained
            weights, from ``init``), 0.4t, 0.7t and t, each rounded to a whole step and taken before
            a jump of the same step. The history holds step 0 and the snapshots that jumps to come
            will read. It needs the forecaster ``introspection``, ``introspection_linear``,
            ``linear``, ``quadratic``, ``last_value``, or ``noise`` or ``permuted`` of one of these.
        aim: With ``at``: where a jump leads, as a multiple of its step. 2 when left out, or what a
            network was fitted to.
        labels: The operation of every leaf, from :func:`nowcast.label_ops`. Guessed from names and
            ranks when left out.
        operations: Which operations jump, such as ``("conv", "fc")``; the others train on as they
            would, and need no history. Left out: all that the forecaster can forecast.
        skip: Patterns of the names of leaves that never jump, such as ``("*/bias", "head/*")``:
            ``*`` stands for any characters, slashes too. Left out: none.
        horizon: Snapshots past the last one that a jump aims at: a number, or a function from the
            number of the jump (0, 1, …) to one, such as :func:`nowcast.decaying_horizon`. The
            forecaster's own when left out.
        damping: Fraction of each jump that is taken: 0.5 goes half the way, which lessens the gain
            where jumps help and the harm where they hurt.
        start_after: Steps from ``init`` before the first window begins: at first, weights move as
            no forecaster expects. The state counts them.
        stop_after: No jump after so many steps from ``init``, for example once a learning rate has
            decayed.
        history_dtype: Dtype of the differences within the window: ``"bfloat16"`` makes the history
            nearly half as large. Left out: the parameters' own.
        min_drift: No jump where the run goes to and fro: where increments of the window, two or
            more snapshots apart, have a mean cosine below this, over all weights that jump. At a
            tuned learning rate most of a run goes to and fro, and a jump would carry noise on; with
            0.2, runs did not jump there, and did where rates are low. It needs a window of 4
            snapshots, and no loss. It counts as refused, but not towards the guard's ``give_up``.
            None: jump always, as the paper does.
        guard: Judges each jump by its loss, at once (:class:`nowcast.Guard`) or some steps later
            (:class:`nowcast.WaitingGuard`): each step then needs ``value_fn=``.
        axis_name: Only inside ``jax.shard_map``: the axis of the mesh, or the axes, over which
            leaves are split, so that sums are over whole leaves; ``()``: each device holds whole
            leaves. Under plain ``jit`` leave it out.

    Examples:
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
    every: int | None = None
    at: Sequence[int] | None = None
    aim: float | None = None
    labels: PyTree | None = field(default=None, hash=False)  # a dict, which has no hash
    operations: Collection[str] | None = None
    skip: Collection[str] | None = None
    horizon: int | Callable[[Any], Any] | None = None
    damping: float = 1.0
    start_after: int = 0
    stop_after: int | None = None
    history_dtype: Any = None
    min_drift: float | None = 0.2
    guard: Guard | None = None
    axis_name: str | Collection[str] | None = None

    def __post_init__(self) -> None:
        def settle(**values: Any) -> None:
            for name, value in values.items():
                object.__setattr__(self, name, value)

        check_forecaster(self.forecaster)
        if self.guard is not None and not isinstance(self.guard, Guard):
            raise UserError(
                f"guard={brief(self.guard)} is not a guard: pass nowcast.Guard.backtracking() or"
                " nowcast.Guard()"
            )
        settle(**(window_options(self) if self.at is None else named_options(self)))
        settle(operations=operations_of(self.operations), axis_name=axis_names(self.axis_name))
        settle(skip=skipped(self.skip))
        settle(**limits_of(self.reader, self.damping, self.min_drift))
        if self.history_dtype is not None:
            settle(history_dtype=dtype_of(self.history_dtype))

    @cached_property
    def reader(self) -> Forecaster:
        """What forecasts: the forecaster itself, or for ``at`` the one of named steps."""
        return self.forecaster if self.at is None else self.forecaster.at_named_steps(self.aim)

    @cached_property
    def timetable(self) -> Windows | NamedSteps:
        """When snapshots and jumps are due."""
        if self.at is not None:
            return NamedSteps(tuple(self.at))
        every, size = cast(int, self.every), self.forecaster.window
        return Windows(every, size, self.start_after, self.stop_after, self.wait)

    def steps(self, length: int) -> Sequence[int]:
        """The steps (the first is 1) after which a run of this length jumps, or refuses to.

        Examples:
            >>> import nowcast
            >>> list(nowcast.Jumps(forecaster=nowcast.load("linear"), every=10).steps(200))
            [50, 100, 150, 200]
        """
        return self.timetable.steps(length)

    def init(self, params: PyTree) -> NowcastState:
        """The state before the first step."""
        check_weights(params)
        return self.start(params, ())

    def step(
        self, params: PyTree, state: NowcastState, *, value_fn: ValueFn | None = None
    ) -> tuple[PyTree, NowcastState]:
        """The parameters to go on with, and the next state; at most steps they are the given ones.

        Jittable.

        Args:
            params: After your step.
            state: From the last call.
            value_fn: The loss as a function of the parameters: with a guard.
        """
        check_unchanged(params, state)
        return self.advance(params, (), state, value_fn)

    def start(self, params: PyTree, carry: PyTree) -> NowcastState:
        """The state before the first step, for parameters that were checked.

        ``carry`` is what a guard restores besides the parameters.
        """
        params = jax.tree.map(as_array, params)

        def number(value: int = 0) -> Int[Array, ""]:
            # Each is an array of its own, because donating a buffer twice is an error.
            return jnp.array(value, jnp.int32)

        kept = None
        if self.wait:
            kept = Kept(jax.tree.map(copied, params), jax.tree.map(copied, carry), jnp.array(False))
        jumping, times = self._jumping(params), self.timetable
        history = window_of.empty(params, jumping, times.kept, self.history_dtype)
        return NowcastState(
            inner=carry,
            clock=Clock(number(-self.start_after), number(), number(), number()),
            history=times.begin(history, params),
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
        """Advance the clock by one step, and do what is due.

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
            check_made_for(self, state)
            if not is_traced(state.clock):
                self.check_resumed(state)
            if self.guard:
                needed(value_fn)
            out, base, state = jax.tree.map(as_array, (out, base, state._replace(inner=())))
            kept = state.kept
            if kept:  # the first step may have changed the dtype of the optimizer's state
                kept = kept._replace(
                    carry=jax.tree.map(lambda old, new: old.astype(new.dtype), kept.carry, carry)
                )
            return Step(self, value_fn, base, renew).take(
                out, state._replace(inner=carry, kept=kept)
            )

    def check_resumed(self, state: NowcastState) -> None:
        """Refuse a saved state that cannot go on with these options.

        Its clock must hold numbers, so call this outside ``jit``.

        Raises:
            UserError: The state was made with another ``start_after`` or other steps ``at``, or has
                a snapshot of a step past ``stop_after``.

        Examples:
            >>> import jax.numpy as jnp, nowcast
            >>> jumps = nowcast.Jumps(forecaster=nowcast.load("linear"), every=1)
            >>> jumps.check_resumed(jumps.init({"kernel": jnp.zeros((2, 2))}))
        """
        if isinstance(self.timetable, NamedSteps):
            check_named_steps_resumed(state.clock, self.timetable)
        else:
            check_resumed(state.clock, self.start_after, self.stop_after, self.wait)

    def is_over(self, steps: int) -> bool:
        """Whether a run takes no snapshot after ``steps``, because ``stop_after`` has passed."""
        return self.stop_after is not None and steps >= self.stop_after

    @property
    def wait(self) -> int:
        """Steps from a jump to its judgement, before the next window begins."""
        return self.guard.wait if self.guard else 0

    def _jumping(self, params: PyTree) -> list[bool]:
        """Which leaves jump."""
        names = [path_name(path) for path, _ in jax.tree.flatten_with_path(params)[0]]
        labels = flat_labels(params, self.labels)
        self.forecaster.check_network(
            [named.names for named in walk(params)], jax.tree.leaves(params), labels
        )
        return check_jumping(self.forecaster, names, labels, self.operations, self.skip)
