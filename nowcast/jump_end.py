"""Compute where a jump ends: the forecast of each leaf, with the options applied."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nowcast import history as window_of
from nowcast.forecasters.base import Forecaster, Horizon, by_pieces
from nowcast.guess import walk
from nowcast.history import History
from nowcast.types import PyTree


def leaves_after_jump(
    jump: Callable[..., Array],
    out: PyTree,
    base: PyTree | None,
    history: History,
    labels: list[str],
) -> PyTree:
    """``out`` after the jump, leaf by leaf.

    Args:
        jump: :func:`leaf_after_jump` with its forecaster and options.
        out: The newest snapshot, or the update that leads to it.
        base: What the update is to be added to; None for a snapshot.
        history: The window but for its newest snapshot.
        labels: The operation of each leaf.

    Returns:
        As ``out``. Leaves without a history never jump and stay unchanged.
    """
    bases = () if base is None else (base,)

    def leaf(out: Array, label: str, first: Any, *rest: Any) -> Array:
        if window_of.absent(first):
            return out
        count = len(history.moved)
        return jump(label, out, rest[count:], first, *rest[:count])

    of_leaves = jax.tree.unflatten(jax.tree.structure(out), labels)
    return jax.tree.map(leaf, out, of_leaves, history.first, *history.moved, *bases)


def leaf_after_jump(
    forecaster: Forecaster,
    operation: str,
    out: Float[Array, "*shape"],
    base: tuple[Float[Array, "*shape"], ...],
    *kept: Float[Array, "*shape"],
    horizon: Horizon,
    damping: float,
) -> Float[Array, "*shape"]:
    """One leaf after the jump.

    Args:
        forecaster: What forecasts it.
        operation: Of the leaf.
        out: The newest snapshot, or the update that leads to it.
        base: What an update is to be added to; nothing for a snapshot.
        kept: The window but for its newest snapshot, as :class:`nowcast.history.History` keeps it.
        horizon: Snapshots past the newest.
        damping: The fraction of the jump to take.

    Returns:
        As ``out``: a snapshot or an update.
    """

    def piece(out: Array, *parts: Array) -> Array:
        kept, base = parts[: len(parts) - based], parts[len(parts) - based :]
        window = window_of.window(forecaster.window, _newest(out, base), *kept)
        return _moved(out, base, window, forecaster.leaf(window, operation, horizon), damping)

    based = len(base)
    return by_pieces(forecaster, piece, (out, *kept, *base), out)


def network_after_jump(
    forecaster: Forecaster,
    out: PyTree,
    base: PyTree | None,
    history: History,
    labels: list[str],
    *,
    horizon: Horizon,
    damping: float,
) -> PyTree:
    """``out`` after the jump of a forecaster that needs all leaves at once.

    A leaf that never jumps has no history: the forecaster sees a window that does not change.
    """
    leaves, treedef = jax.tree.flatten(out)
    trees: Any = (history.first, *history.moved)
    flat: list[list[Any]] = [treedef.flatten_up_to(tree) for tree in trees]  # type: ignore[attr-defined]
    kept = list(zip(*flat, strict=True))
    bases: list[Any] = [()] * len(leaves)
    if base is not None:
        bases = [(each,) for each in jax.tree.leaves(base)]
    windows = []
    for leaf, own, parts in zip(leaves, bases, kept, strict=True):
        newest, never_jumps = _newest(leaf, own), window_of.absent(parts[0])
        if never_jumps:
            parts = (newest, *[jnp.zeros_like(newest)] * (forecaster.window - 2))
        windows.append(window_of.window(forecaster.window, newest, *parts))
    names = [named.names for named in walk(out)]
    forecasts = forecaster.network_of_leaves(windows, names, labels, horizon)
    after = [
        leaf if window_of.absent(parts[0]) else _moved(leaf, own, window, forecast, damping)
        for leaf, own, parts, window, forecast in zip(
            leaves, bases, kept, windows, forecasts, strict=True
        )
    ]
    return jax.tree.unflatten(treedef, after)


def _newest(out: Array, base: tuple[Array, ...]) -> Array:
    """The newest snapshot: what an update leads to, or ``out`` itself."""
    return (base[0] + out).astype(base[0].dtype) if base else out


def _moved(
    out: Array, base: tuple[Array, ...], window: Array, forecast: Array, damping: float
) -> Array:
    """The end of a jump to a forecast, as ``out``: a snapshot or an update."""
    end = forecast if damping == 1 else window[-1] + damping * (forecast - window[-1])
    # Frozen weights stay frozen, whatever a network forecasts for them.
    unmoved = jnp.all(window == window[-1:], axis=0)
    moved = end - base[0].astype(end.dtype) if base else end
    return jnp.where(unmoved, out, moved.astype(out.dtype))
