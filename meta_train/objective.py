"""The objective of a fit: each weight's L1 error, or a leaf's squared error.

The L1 error is in units of the network's output.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from meta_train import leaves
from nowcast.forecasters import Learned
from nowcast.forecasters.gram import coefficients
from nowcast.types import PyTree


def error(
    kind: type[Learned], params: PyTree, rows: Float[Array, "N columns"], window: int
) -> Float[Array, ""]:
    """Mean error of one network over the targets that exist.

    Args:
        kind: The forecaster.
        params: The network's.
        rows: Windows with their targets (:mod:`meta_train.windows`), or the inner products of
            leaves (:mod:`meta_train.leaves`), as the forecaster needs.
        window: Snapshots of a window.
    """
    each, there = (
        _squared(params, rows, window) if kind.leaves else _absolute(kind, params, rows, window)
    )
    return jnp.sum(jnp.where(there, each, 0)) / jnp.maximum(jnp.sum(there), 1)


def examples(
    kind: type[Learned], windows: Float[Array, "N columns"], window: int
) -> tuple[Float[Array, "N I"], Float[Array, "N outputs"]]:
    """``(network inputs, wanted outputs)`` of windows that are followed by their targets.

    Behind the targets is the forecaster's ``context``. NaN stands for a missing target. Outputs are
    clipped to what the network can give (±1 for WNN's tanh). Under an L1 loss this changes no
    gradient, but a few weights that did not move and then did (their unit is 2e-5) no longer
    dominate the mean.
    """
    end = windows.shape[1] - len(kind.context)
    known = jnp.concatenate([windows[:, :window], windows[:, end:]], axis=1)
    inputs, base, scale = kind.normalise(known)
    target = (windows[:, window:end] - base[:, None]) / scale[:, None]
    return inputs, jnp.clip(target, -kind.limit, kind.limit)


def squared(
    mix: Float[Array, "N H D"],
    gram: Float[Array, "N D D"],
    along: Float[Array, "N H D"],
    square: Float[Array, "N H"],
) -> Float[Array, "N H"]:
    """The relative squared error of a leaf whose forecast is this mix of its increments.

    It is divided by the squares of the leaf's movement and of its increments, added. Staying has an
    error of 1 where the leaf moves far, and less where it stays about where it is. NaN where there
    is no target. The inner products are those of :func:`meta_train.leaves.split`.
    """
    wrong = (
        square - 2 * jnp.sum(mix * along, axis=-1) + jnp.einsum("nhi,nij,nhj->nh", mix, gram, mix)
    )
    return wrong / (square + gram.shape[-1])


def losses(
    kind: type[Learned], params: PyTree, rows: Float[Array, "K N columns"], window: int
) -> Float[Array, "K"]:
    """Error plus regulariser of each of K networks.

    Their gradients are independent, so the sum trains each on its own.
    """
    return jnp.stack(
        [
            error(kind, own, some, window) + kind.penalty(own)
            for own, some in zip(apart(params, len(rows)), rows, strict=True)
        ]
    )


def apart(params: PyTree, count: int) -> list[PyTree]:
    """The parameters of each of ``count`` networks, which lie along the first axis.

    Looping over networks is faster than vmap on CPUs.
    """
    return [jax.tree.map(lambda p, k=k: p[k], params) for k in range(count)]


def _absolute(
    kind: type[Learned], params: PyTree, windows: Float[Array, "N columns"], window: int
) -> tuple[Float[Array, "N outputs"], Bool[Array, "N outputs"]]:
    """Absolute errors, and where there are targets."""
    inputs, target = examples(kind, windows, window)
    there = jnp.isfinite(target)
    return jnp.abs(kind.network(params, inputs) - jnp.where(there, target, 0)), there


def _squared(
    params: PyTree, rows: Float[Array, "N columns"], window: int
) -> tuple[Float[Array, "N H"], Bool[Array, "N H"]]:
    gram, along, square = leaves.split(rows, window)
    there = jnp.isfinite(square)
    along, square = jnp.where(there[..., None], along, 0), jnp.where(there, square, 0)
    return squared(coefficients(params, gram), gram, along, square), there
