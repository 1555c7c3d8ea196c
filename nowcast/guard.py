"""Guards: a jump must show, on a batch of yours, that it does not hurt.

Otherwise the jump is not taken, or taken back. Why: a jump may ruin a run (the published WNN at a
high learning rate), and no forecaster knows all runs. The loss right after a jump is one measure,
the loss some steps later another: at moderate rates a jump that raises the loss is often ahead an
epoch later.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from nowcast.branch import map_over
from nowcast.types import PyTree, UserError, real, whole

ValueFn = Callable[[PyTree], Any]
"""The loss as a function of the parameters: ``lambda params: loss(params, batch)``."""


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Judges each jump at once, by the loss before and after it.

    :class:`WaitingGuard` judges later.

    Args:
        tolerance: The loss may rise by this share of its absolute value: 0.1, by a tenth.
        dampings: Fractions of the jump to try, by one forward pass each; the one with the lowest
            loss is judged, and taken. The order does not matter. A negative fraction goes back,
            towards where the run came from; one above 1 goes past the forecast.
        longest: Take the longest damping that passes at once, in either direction, instead of the
            one with the lowest loss (see :meth:`backtracking`). To pass, it must also not cost more
            than the window gained: its loss may not be above both the loss at the window's first
            snapshot and the loss before the jump. (Both are computed with the present values of
            leaves that never jump, and of BatchNorm's statistics.)
        give_up: Stop jumping after so many jumps in a row that hurt. None: never.

    Raises:
        UserError: A value is out of range.

    Examples:
        >>> import jax.numpy as jnp, nowcast, optax
        >>> linear, guard = nowcast.load("linear"), nowcast.Guard()
        >>> tx = nowcast.periodic(optax.sgd(0.1), linear, every=1, guard=guard)
        >>> params, loss = {"kernel": jnp.ones((2, 2))}, lambda p: jnp.sum(p["kernel"] ** 2)
        >>> state, grads = tx.init(params), {"kernel": 0.5 * jnp.ones((2, 2))}
        >>> for _ in range(5):
        ...     updates, state = tx.update(grads, state, params, value_fn=loss)
        ...     params = optax.apply_updates(params, updates)
        >>> state.accepted.item(), state.refused.item()
        (1, 0)
    """

    tolerance: float = 0.0
    dampings: tuple[float, ...] = (1.0,)
    give_up: int | None = None
    longest: bool = False

    @staticmethod
    def backtracking(*, tolerance: float = 0.0, give_up: int | None = None) -> "Guard":
        """A guard that goes as far along the jump as the loss lets it.

        It tries four times the jump, then twice, all of it, a half, a quarter, an eighth; or none.
        This is a backtracking line search (Nocedal and Wright, 2006, Algorithm 3.1) for the longest
        jump that does not raise the batch's loss. So jumps go past the forecast where the loss
        bears it, and stay short or are refused where the learning rate is at its best. With a
        ``tolerance`` the loss may rise by that share, but by no more than the window gained. That
        limits what each jump costs, not what all jumps cost: a forecaster that always errs can then
        take back the greater part of each window. Costs 7 forward passes a jump, 8 with a
        tolerance.

        Examples:
            >>> import nowcast
            >>> nowcast.Guard.backtracking().dampings
            (4.0, 2.0, 1.0, 0.5, 0.25, 0.125)
        """
        return Guard(
            tolerance=tolerance,
            dampings=(4.0, 2.0, 1.0, 0.5, 0.25, 0.125),
            give_up=give_up,
            longest=True,
        )

    def __post_init__(self) -> None:
        rule = "must be 0 or more: 0.1 lets the loss rise by a tenth"
        object.__setattr__(self, "tolerance", real("guard: tolerance", self.tolerance, rule))
        if self.tolerance < 0:
            raise UserError(f"guard: tolerance={self.tolerance!r} {rule}")
        rule = "must be fractions of a jump, none of them 0: (0.25, 0.5, 1)"
        try:
            dampings = tuple(real("guard: dampings", damping, rule) for damping in self.dampings)
        except TypeError:
            dampings = ()
        if not dampings or 0 in dampings:
            raise UserError(f"guard: dampings={self.dampings!r} {rule}")
        object.__setattr__(self, "dampings", dampings)
        if not isinstance(self.longest, bool):
            raise UserError(f"guard: longest={self.longest!r} must be True or False")
        if self.give_up is not None:
            object.__setattr__(self, "give_up", whole("guard: give_up", self.give_up, "jumps"))

    @property
    def wait(self) -> int:
        """Steps from a jump to its judgement."""
        return 0

    def try_dampings(
        self,
        value_fn: ValueFn | None,
        to_params: Callable[[PyTree], PyTree],
        here: PyTree,
        there: PyTree,
        begun: PyTree,
    ) -> "Trial":
        """Choose the damping to take, and say whether the jump passes.

        A guard that waits says later whether the jump hurts. ``begun`` are the parameters at the
        window's first snapshot, except for leaves that never jump.
        """
        loss = needed(value_fn)

        def value(place: PyTree) -> Float[Array, ""]:
            return _number(loss(to_params(place)))

        if len(self.dampings) == 1 and self.wait and not self.longest:
            # Nothing to choose, and nothing to judge yet.
            return Trial(jnp.float32(self.dampings[0]), jnp.array(True))
        each = jnp.array(
            sorted(self.dampings, key=lambda damping: (abs(damping), damping), reverse=True),
            jnp.float32,
        )
        losses = map_over(lambda damping: value(blend(here, there, damping)), each, here, there)
        fits = jnp.isfinite(losses)
        if self.longest or not self.wait:
            before = value(here)
            fits &= ~self._higher(losses, before)
        if self.longest and self.tolerance:  # without one, no loss above the one before passes
            fits &= losses <= jnp.maximum(_number(loss(begun)), before)
        best = jnp.argmax(fits) if self.longest else jnp.argmin(jnp.where(fits, losses, jnp.inf))
        return Trial(each[best], fits[best])

    def _higher(self, loss: Float[Array, "..."], before: Float[Array, ""]) -> Bool[Array, "..."]:
        more = before + self.tolerance * jnp.abs(before)
        return ~((loss <= before) | (loss <= more))  # NaN counts as too high


@dataclass(frozen=True, kw_only=True)
class WaitingGuard(Guard):
    """Lets the run recover from each jump, and judges it then.

    The loss is compared with that of the weights from before the jump, on the same batch. A jump
    that hurt is undone, weights and optimizer state; it is undone at once where the weights stop
    being finite. The next window begins after the judgement. This costs a copy of weights and
    optimizer state, and the steps that are undone. With several ``dampings``, the fraction that is
    taken is chosen at once.

    Args:
        tolerance: As for :class:`Guard`.
        dampings: As for :class:`Guard`.
        longest: As for :class:`Guard`: a jump must then pass at once too.
        give_up: As for :class:`Guard`.
        after: Steps from a jump to its judgement, such as half the distance of two snapshots.

    Raises:
        UserError: A value is out of range.

    Examples:
        >>> import nowcast, optax
        >>> guard = nowcast.WaitingGuard(after=8)
        >>> tx = nowcast.periodic(optax.sgd(0.1), nowcast.load("linear"), every=16, guard=guard)
    """

    after: int

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "after", whole("guard: after", self.after, "steps"))

    @property
    def wait(self) -> int:
        """Steps from a jump to its judgement."""
        return self.after

    def hurts(self, value_fn: ValueFn | None, now: PyTree, before: PyTree) -> Bool[Array, ""]:
        """Whether the run is worse off than before its last jump."""
        value_fn = needed(value_fn)
        return self._higher(_number(value_fn(now)), _number(value_fn(before)))


class Trial(NamedTuple):
    """The guard's verdict on a jump."""

    damping: Float[Array, ""]
    passes: Bool[Array, ""]


def blend(here: PyTree, there: PyTree, damping: Float[Array, ""]) -> PyTree:
    """The weights at a fraction of the way; at 1 they are ``there``, bit for bit."""
    return jax.tree.map(
        lambda q, t: (t + (1 - damping).astype(q.dtype) * (q - t)).astype(q.dtype), here, there
    )


def needed(value_fn: ValueFn | None) -> ValueFn:
    """``value_fn``, or a :class:`UserError` where it is None."""
    if not callable(value_fn):
        raise UserError(
            "a guard needs the loss as a function of the parameters, at every step: "
            "update(grads, state, params, value_fn=lambda p: loss(p, batch))"
        )
    return value_fn


def _number(loss: Any) -> Float[Array, ""]:
    try:
        number = None if isinstance(loss, (tuple, list)) else jnp.asarray(loss, jnp.float32)
    except (TypeError, ValueError):
        number = None
    if number is None or number.shape != ():
        found = (
            f"a {type(loss).__name__}" if number is None else f"an array of shape {number.shape}"
        )
        raise UserError(
            f"a guard's value_fn must give one number, the mean loss; it gave {found} "
            "(of a loss with auxiliary output take the first: value_fn=lambda p: loss(p, batch)[0])"
        )
    return number
