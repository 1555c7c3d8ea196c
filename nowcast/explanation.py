"""Show what nowcasting would do to a model: a table of its leaves."""

import math
from collections.abc import Collection
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from nowcast import history as window_of
from nowcast.checks import check_weights
from nowcast.forecasters.base import Forecaster, check_forecaster
from nowcast.forecasters.learned import NETWORKS, Learned
from nowcast.guess import walk
from nowcast.ops import flat_guesses, guessed, is_state
from nowcast.text import align, printable
from nowcast.types import PyTree

MARK = "?"
"""Stands behind an operation that follows from the number of axes alone."""
HEAD = ("leaf", "shape", "operation", "network", "history")


def explain(
    model_or_params: PyTree,
    forecaster: Forecaster | None = None,
    *,
    labels: PyTree | None = None,
    operations: Collection[str] | None = None,
    history_dtype: Any = None,
) -> None:
    """Print a table of a model's leaves, and the sums.

    Each row has the leaf, its shape, its operation, the network that will forecast it, and the
    bytes of its history.

    A ``?`` behind an operation says that it was guessed from the number of axes alone, because no
    name or type told more: pass ``labels`` where it is wrong. Pass a ``flax.nnx`` module itself,
    not its ``nnx.State``, which has names and no types.

    Args:
        model_or_params: A ``flax.nnx`` module, or any pytree of parameters.
        forecaster: Which one; a WNN with the usual mapping when left out, and the table says so.
        labels: The operation of every leaf. From the module's types, or guessed from names and
            ranks, when left out.
        operations: As for :func:`nowcast.periodic`.
        history_dtype: As there.

    Raises:
        UserError: What :func:`nowcast.periodic` would refuse.

    Examples:
        >>> import nowcast, numpy as np
        >>> params = {"dense": {"kernel": np.zeros((4, 3)), "bias": np.zeros(3)}}
        >>> nowcast.explain(params, nowcast.load("linear"))
        leaf          shape  operation  network  history
        dense/bias    3      bias       linear      48 B
        dense/kernel  4×3    fc         linear     192 B
        15 of 15 weights jump; their history takes 240 B
    """
    params, guesses = guessed(model_or_params)
    check_weights(params)
    if labels is not None:
        guesses = flat_guesses(params, labels)
    if forecaster is not None:
        check_forecaster(forecaster)
    rows, jumping, total, held = [], 0, 0, 0
    for named, (operation, by_rank) in zip(walk(params), guesses, strict=True):
        leaf = named.value
        network = (
            _network(forecaster, operation)
            if operations is None or operation in operations
            else None
        )
        shape, size = jnp.shape(leaf), math.prod(jnp.shape(leaf))
        window = forecaster.window if forecaster else 5
        kept = jax.eval_shape(
            partial(window_of.empty, [leaf], [bool(network)], window - 2, history_dtype)
        )
        history = sum(part.size * part.dtype.itemsize for part in jax.tree.leaves(kept))
        total, jumping, held = total + size, jumping + (size if network else 0), held + history
        sizes = "×".join(map(str, shape)) or "scalar"
        rows.append(
            (
                "/".join(named.names),
                sizes,
                operation + MARK * by_rank,
                network or "—",
                _bytes(history),
            )
        )
    print(printable("\n".join(align([HEAD, *rows], left=len(HEAD) - 1))))
    by = "" if forecaster else " with a WNN (pass another forecaster to see its table)"
    print(f"{jumping:,} of {total:,} weights jump{by}; their history takes {_bytes(held)}")
    if any(label.by_rank for label in guesses):
        exact = (
            "; an nnx.State has no types: pass the module for exact labels"
            if is_state(model_or_params)
            else ""
        )
        print(
            f"{MARK} guessed from the number of axes alone: pass labels= where it is wrong{exact}"
        )


def _network(forecaster: Forecaster | None, operation: str) -> str | None:
    if forecaster is None:
        return NETWORKS[operation]
    if not forecaster.can_forecast(operation):
        return None
    return forecaster.network_of(operation) if isinstance(forecaster, Learned) else forecaster.name


def _bytes(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.4g} {unit}"
        number /= 1024
    return f"{number:.4g} GiB"
