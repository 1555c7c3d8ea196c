"""Estimate BatchNorm's running statistics after a jump: they describe the weights before it."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from nowcast.arrays import wide
from nowcast.ops import path_name
from nowcast.types import PyTree, UserError


def reestimate(
    forward: Callable[[PyTree, Any], PyTree], statistics: PyTree, batches: Iterable[Any]
) -> PyTree:
    """Estimate the running statistics of the weights as they are now, as means over batches.

    Training does not read the running statistics, so a run needs no new ones: they catch up within
    some ten steps (a momentum of 0.9) to some hundred (0.99). Before an evaluation, or a
    checkpoint, right after a jump, estimate them anew.

    Args:
        forward: One forward pass in training mode: ``(statistics, batch) -> new statistics``, with
            the weights as they are now. Any moving average ``m·old + (1 − m)·batch``, whatever its
            ``m``, in whatever framework.
        statistics: Of the model; what is not floating point (counters, random keys) is returned
            unchanged.
        batches: A few hundred examples in all are enough.

    Raises:
        UserError: No batch was given; a statistic does not move (its layer is in evaluation mode,
            or ``m`` is 1).

    Examples:
        >>> import jax.numpy as jnp, nowcast
        >>> forward = lambda old, batch: {"mean": 0.99 * old["mean"] + 0.01 * batch.mean(axis=0)}
        >>> batches = [jnp.array([[1.0], [3.0]]), jnp.array([[5.0], [7.0]])]
        >>> new = nowcast.reestimate(forward, {"mean": jnp.zeros(1)}, batches)
        >>> round(new["mean"][0].item(), 3)
        4.0

    Source: as after weight averaging (Izmailov et al., UAI 2018, §3.2); "precise BatchNorm" (Wu and
    Johnson, 2021, §3).
    """

    def run(tree: PyTree, batch: Any) -> PyTree:
        # Some modules write into the tree that they get.
        own = jax.tree.map(lambda leaf: leaf, tree)
        return forward(own, batch)

    def single(leaf: Any) -> Any:
        return jnp.zeros_like(leaf, wide(leaf.dtype)) if _moves(leaf) else leaf

    zeros = jax.tree.map(single, statistics)
    share, total, count = None, None, 0
    for batch in batches:
        seen = run(zeros, batch)  # (1 − m) · batch
        # 1 − m, from the change of values that are large enough for rounding not to matter.
        if share is None:
            other = jax.tree.map(
                lambda leaf: 1 + 100 * jnp.abs(leaf) if _moves(leaf) else leaf, seen
            )
            share = jax.tree.map(
                lambda o, new, old: 1 - (new - old) / o if _moves(o) else o,
                other,
                run(other, batch),
                seen,
            )
        total = (
            seen
            if total is None
            else jax.tree.map(lambda a, b: a + b if _moves(a) else a, total, seen)
        )
        count += 1
    if share is None:
        raise UserError("reestimate: no batch was given; a few hundred training examples do")
    for path, leaf in jax.tree.flatten_with_path(share)[0]:
        if _moves(leaf) and bool(jnp.any(leaf < 1e-6)):
            raise UserError(
                f"reestimate: {path_name(path)!r} does not move as an average does; forward must"
                " run the model in training mode, and counters must be whole numbers, or left out"
            )
    return jax.tree.map(
        lambda old, summed, part: (
            (summed / (part * count)).astype(old.dtype) if _moves(old) else old
        ),
        statistics,
        total,
        share,
    )


def _moves(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating)
