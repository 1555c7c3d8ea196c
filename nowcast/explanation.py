"""What nowcasting would do to a model: a table of its leaves."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from nowcast.forecasters.base import Forecaster
from nowcast.forecasters.learned import SERVES, Learned
from nowcast.ops import flat_labels, label_ops, path_name
from nowcast.types import PyTree

HEAD = ("leaf", "shape", "operation", "network", "history")


def explain(model_or_params: PyTree, forecaster: Forecaster | None = None, *, labels: PyTree | None = None) -> None:
    """Print a table: leaf, shape, operation, the network that will serve it, bytes of history; and the sums.

    Args:
        model_or_params: A ``flax.nnx`` module, or any pytree of parameters.
        forecaster: Which one; a WNN of the usual mapping when left out.
        labels: The operation of every leaf. From the module's types, or guessed from names and ranks, when left out.

    Example:
        >>> import nowcast, numpy as np
        >>> nowcast.explain({"dense": {"kernel": np.zeros((4, 3)), "bias": np.zeros(3)}}, nowcast.load("linear"))
        leaf          shape  operation  network  history
        dense/bias    3      bias       linear      48 B
        dense/kernel  4×3    fc         linear     192 B
        15 of 15 weights jump; their history takes 240 B
    """
    params = model_or_params
    if isinstance(model_or_params, nnx.Module):
        params = nnx.to_pure_dict(nnx.state(model_or_params, nnx.Param))
        labels = label_ops(model_or_params) if labels is None else labels
    window = forecaster.window if forecaster else 5
    rows, jumping, total, kept = [], 0, 0, 0
    for (path, leaf), operation in zip(jax.tree.flatten_with_path(params)[0], flat_labels(params, labels), strict=True):
        shape, size = jnp.shape(leaf), math.prod(jnp.shape(leaf))
        network = _network(forecaster, operation)
        history = (window - 1) * size * jnp.asarray(leaf).dtype.itemsize if network else 0
        total, jumping, kept = total + size, jumping + (size if network else 0), kept + history
        rows.append(
            (path_name(path), "×".join(map(str, shape)) or "scalar", operation, network or "—", _bytes(history))
        )
    widths = [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]
    for row in (HEAD, *rows):
        *words, last = row
        print(
            "  ".join(
                [*(word.ljust(width) for word, width in zip(words, widths, strict=False)), last.rjust(widths[-1])]
            )
        )
    print(f"{jumping:,} of {total:,} weights jump; their history takes {_bytes(kept)}")


def _network(forecaster: Forecaster | None, operation: str) -> str | None:
    if forecaster is None:
        return SERVES[operation]
    if not forecaster.serves(operation):
        return None
    return forecaster.serving(operation) if isinstance(forecaster, Learned) else forecaster.name


def _bytes(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.4g} {unit}"
        number /= 1024
    return f"{number:.4g} GiB"
