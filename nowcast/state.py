"""The state that a run carries from step to step: the clock, the window, and the counts."""

from typing import NamedTuple

import optax
from jaxtyping import Array, Bool, Float, Int

from nowcast.history import History
from nowcast.population import axes
from nowcast.types import PyTree


class Clock(NamedTuple):
    """Where a run stands between two jumps; int32 scalars, the same for a whole population."""

    step: Int[Array, ""]
    """Optimizer steps since the last snapshot; negative before ``start_after`` and while a guard
    waits. From ``every`` on the next snapshot is due; beyond ``every`` (after ``stop_after``, or in
    a run resumed with a smaller ``every``) that snapshot begins a new window.
    """
    filled: Int[Array, ""]
    """Snapshots in the window, below W: a full window is used and emptied at once. For jumps at
    named steps: snapshots stored so far.
    """
    windows: Int[Array, ""]
    """Windows completed so far: jumps taken and refused."""
    total: Int[Array, ""]
    """Optimizer steps since the state was made: ``stop_after`` is compared with these."""


class Kept(NamedTuple):
    """What a guard that waits restores."""

    params: PyTree
    carry: PyTree
    pending: Bool[Array, ""]
    """Whether a jump is still to be judged."""


class NowcastState(NamedTuple):
    """State of :func:`nowcast.periodic` and of :class:`Jumps`.

    Its tree, shapes and dtypes are final from ``init``.

    A plain pytree: a run that was saved and resumed in the middle of a window equals one that was
    not. A run may be resumed with another ``every``, later ``stop_after`` or guard that does not
    wait: its next snapshots follow the new options. ``start_after`` and ``at`` count from
    ``init``; a run goes on with the same ``at``.
    """

    inner: optax.OptState
    """State of the wrapped optimizer; ``()`` for :class:`Jumps`."""
    clock: Clock
    history: History
    """The memory cost of nowcasting: W − 1 times the parameters that jump. For jumps at named
    steps: once, and once for each snapshot that is needed at the same time.
    """
    accepted: Int[Array, ""]
    """Jumps taken, and not taken back."""
    refused: Int[Array, ""]
    """Jumps not taken (not finite, too little drift, or the guard was against it) or taken back."""
    in_a_row: Int[Array, ""]
    """Jumps refused since the last good one, not for their drift."""
    damping: Float[Array, ""]
    """The fraction of the last jump that was taken; 0: refused."""
    kept: Kept | None
    """None, except for a guard with ``after``."""


POPULATION = axes(NowcastState, shared=("clock",))
"""``in_axes`` and ``out_axes`` of the state under ``jax.vmap``: members share the clock, and so no
step but a jump pays for one.
"""
