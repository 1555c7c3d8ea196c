"""``nowcast.advise``: what snapshots say of a run's learning rate, an average and a decay."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nowcast.advice_rules import DRIFTLESS, NOISY, Rate, best_average, now, rate_of, turning
from nowcast.advice_table import shipped
from nowcast.memory import USUAL
from nowcast.movement import BAND, WINDOW, Movement, measure, products, windows
from nowcast.ops import flat_labels, path_name
from nowcast.types import PyTree, UserError, real, whole

DIFFERS = 0.25
"""A leaf differs from the whole model when its drift is this far from the whole model's."""
FEWEST = 0.01
"""A leaf with less than this share of the squared movement does not count as different."""


class LeafMovement(NamedTuple):
    """How one leaf moves in the last windows."""

    name: str
    operation: str
    drift: float
    neighbours: float
    noise: float
    share: float
    """Its share of the last increment's squared length."""
    differs: bool
    """Whether its drift is far from the whole model's, by more than chance."""


@dataclass(frozen=True)
class Advice:
    """What :func:`advise` found; ``str`` makes a sentence of it."""

    rate: Rate
    """Where the rate is, relative to its best; ``unclear`` where the movement has faded away."""
    factor: tuple[float, float]
    """The best rate divided by the rate: 8 of 10 runs of the calibration lie between these two."""
    likely: float
    """The median of these runs."""
    drift: float
    """Mean cosine of increments that are two or more snapshots apart."""
    neighbours: float
    """Mean cosine of increments that follow one another."""
    noise: float
    """The share of the last increment's squared length outside the common direction."""
    length: float
    """The last increment's length, as a share of the longest in the history."""
    average: int
    """Snapshots at the end whose mean is nearest to the run's centre; 1: the last itself."""
    decay: bool
    """Whether it would pay to decay the rate now."""
    leaves: tuple[LeafMovement, ...]
    movement: Movement
    """Drift, neighbours and noise in each window, the oldest first."""
    every: int | None = None
    """Steps between snapshots, if they were given."""

    @property
    def differ(self) -> tuple[str, ...]:
        """Names of the leaves that move differently from the whole model."""
        return tuple(leaf.name for leaf in self.leaves if leaf.differs)

    def __str__(self) -> str:
        pays = self._pays()
        if self.rate in ("far below", "below"):
            pays = ["try nowcast.auto_rate"]
        return f"{self._where()}{'; ' if pays else ''}{' and '.join(pays)}."

    def _where(self) -> str:
        """Where the rate is, in words."""
        low, high = (f"{end:.2g}" for end in self.factor)
        if self.rate == "unclear":
            return (
                f"The increments have shrunk to {self.length:.0%} of the longest, as in a run that "
                "fits all of its examples; they do not tell how far the rate is from its best"
            )
        if self.rate == "near":
            return f"The learning rate is near its best, which is {low} to {high} times as high"
        if self.rate == "above":
            return f"The learning rate is above its best, which is {low} to {high} times as high"
        range_ = f"{low} to {high}" if self.factor[0] >= 1 else f"up to {high}"
        return f"The learning rate is {self.rate} its best: {range_} times higher would be nearer"

    def _pays(self) -> list[str]:
        """What would pay now."""
        found = []
        if self.average > 1:
            steps = f", {(self.average - 1) * self.every} steps," if self.every else ""
            found.append(f"evaluate the mean of the last {self.average} snapshots{steps}")
        if self.decay:
            found.append("decay the rate when the run is to end")
        return found


def advise(
    history: PyTree,
    *,
    labels: PyTree | None = None,
    every: int | None = None,
    share: float | None = None,
) -> Advice:
    """Say how far a run's learning rate is from its best, and if an average or a decay pays now.

    The drift, the mean cosine of increments two or more snapshots apart, is near 1 where the rate
    is far below its best, and near 0 at its best. A table from runs of several tasks at known rates
    turns the drift into an interval of factors. Source: the measurements in this project's
    ``docs/learning_rate.md``.

    Args:
        history: Pytree of snapshots, leaves ``(S, *shape)``, oldest first, evenly spaced, S ≥ 5.
            With all snapshots of a run, a movement that fades away is recognised.
        labels: The operation of every leaf (:func:`nowcast.label_ops`), for ``Advice.leaves``.
            Guessed when left out.
        every: Optimizer steps between two snapshots. From 20 on, Adam's momentum is not taken for
            drift.
        share: The share of the run that has passed at the last snapshot, 0 to 1: the interval
            becomes narrower. None: unknown.

    Returns:
        An :class:`Advice`; ``print`` shows one sentence.

    Raises:
        UserError: Fewer than 5 snapshots, leaves of different lengths, values that are not finite,
            or no movement.

    Examples:
        >>> import numpy as np, nowcast
        >>> straight = np.arange(6.0)[:, None] * np.ones((6, 100))
        >>> advice = nowcast.advise({"kernel": straight})
        >>> advice.rate, advice.average
        ('far below', 1)
    """
    names, leaves = _checked(history)
    if every is not None and whole("every", every, "optimizer steps") < USUAL:
        warnings.warn(
            f"every={every} is below the {USUAL} steps that Adam remembers: momentum alone looks "
            f"like drift; take snapshots {USUAL} steps apart or more",
            stacklevel=2,
        )
    operations = flat_labels(history, labels, leading_axes=1)
    each = np.stack([products(leaf) for leaf in leaves], axis=1)
    sizes = [leaf[0].size for leaf in leaves]
    return of_products(each, names, operations, sizes, every=every, share=share)


def of_products(
    each: Float[np.ndarray, "D L 4"],
    names: Sequence[str],
    operations: Sequence[str],
    sizes: Sequence[int],
    *,
    every: int | None = None,
    share: float | None = None,
) -> Advice:
    """:func:`advise` from inner products alone, as :func:`nowcast.movement.products` gives them.

    Args:
        each: Of the D increments of L leaves.
        names: Of the leaves.
        operations: Of the leaves.
        sizes: How many scalars each leaf has.
        every: As in :func:`advise`.
        share: As there.

    Raises:
        UserError: As there.
    """
    if share is not None:
        rule = "must be the share of the run that has passed, 0 to 1, such as 0.2"
        if not 0 <= real("share", share, rule) <= 1:
            raise UserError(f"share={share} {rule}")
    together = each.sum(axis=1)
    _check_moves(together)
    movement = measure(windows(together))
    drift, neighbours, noise = now(movement)
    last = each[-1, :, 0] / max(together[-1, 0], np.finfo(np.float64).tiny)
    length = float(np.sqrt(together[-1, 0] / together[:, 0].max()))
    described = zip(names, operations, sizes, last, strict=True)
    effective = turning(drift, neighbours)
    factor = shipped().factor(effective, share)
    return Advice(
        rate=rate_of(factor, length),
        factor=(factor.low, factor.high),
        likely=factor.likely,
        drift=drift,
        neighbours=neighbours,
        noise=noise,
        length=length,
        average=best_average(effective, len(each) + 1),
        decay=noise >= NOISY and drift <= DRIFTLESS,
        leaves=tuple(
            _leaf(each[:, i], (name, operation), size, float(part), drift)
            for i, (name, operation, size, part) in enumerate(described)
        ),
        movement=movement,
        every=every,
    )


def _leaf(
    own: Float[np.ndarray, "D 4"], who: tuple[str, str], size: int, share: float, whole_drift: float
) -> LeafMovement:
    drift, neighbours, noise = now(measure(windows(own)))
    by_chance = 3 / np.sqrt(max(size, 1))
    differs = share >= FEWEST and abs(drift - whole_drift) > max(DIFFERS, by_chance)
    return LeafMovement(*who, drift, neighbours, noise, share, bool(differs))


def _checked(history: PyTree) -> tuple[list[str], list[np.ndarray]]:
    """Names and arrays of the leaves."""
    names: list[str] = []
    leaves: list[np.ndarray] = []
    for path, leaf in jax.tree.flatten_with_path(history)[0]:
        name = path_name(path)
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            kind = type(leaf).__name__
            raise UserError(f"leaf {name!r} is a {kind}; give arrays of snapshots, (S, *shape)")
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise UserError(f"leaf {name!r} is {leaf.dtype}; leave out what is not a weight")
        if not leaf.shape or (leaves and leaf.shape[0] != len(leaves[0])):
            there = f", and {names[0]!r} {leaves[0].shape}" if leaves else ""
            cure = "give (S, *shape), the same S for all leaves"
            raise UserError(f"leaf {name!r} has shape {leaf.shape}{there}; {cure}")
        check_many(f"leaf {name!r}", leaf.shape[0])
        names.append(name)
        leaves.append(np.asarray(leaf))
        bad = ~np.isfinite(leaves[-1].reshape(len(leaf), -1)).all(axis=1)
        if bad.any():
            first = int(np.argmax(bad))
            raise UserError(f"leaf {name!r} is not finite in snapshot {first}; end before it")
    if not leaves:
        raise UserError("history holds no array; give a pytree of snapshots, leaves (S, *shape)")
    return names, leaves


def check_many(who: str, snapshots: int) -> None:
    """Refuse fewer snapshots than a window has."""
    if snapshots < WINDOW:
        needed = f"advice needs {WINDOW} or more; record more of them"
        raise UserError(f"{who} has {snapshots} snapshots, and {needed}")


def _check_moves(together: Float[np.ndarray, "D 4"]) -> None:
    """Refuse increments too large to multiply, and windows in which nothing moves."""
    if not np.isfinite(together[:, 0]).all():
        raise UserError("the increments are too large to multiply; end before they grow")
    if not together[-BAND:, 0].any():
        raise UserError(f"the last {WINDOW} snapshots are the same; give a run that trains")
