"""Rate: a small network reads how far a run's learning rate is from its best.

Over four looks the weights moved by d₁ … d₄, and ``G_ij = ⟨dᵢ, dⱼ⟩`` over all of them. From this
matrix the network sees nothing of the size of the weights or of their steps::

    log |dᵢ| beside the mean length          4
    the cosines of dᵢ and dⱼ                 6, on the scale of asinh(cosine / 0.05)
    the drift, on the same scale             1
    the share of the run, and its logarithm  2
    the logarithm of a look's share          1

It has two layers of 16 tanh units. It gives a mean and a deviation of ``log(best rate / rate)``,
fitted to sweeps of learning rates (:mod:`meta_train.rates`). It is of this project's own design;
:func:`nowcast.auto_rate` without a forecaster is its control.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import initializers
from jaxtyping import Array, Float, PRNGKeyArray

from nowcast.drift import mean_cosine
from nowcast.forecasters.gram import features
from nowcast.forecasters.learned import dense
from nowcast.types import PyTree, UserError

WINDOW = 5
"""Looks that a window is of."""
MOVED = WINDOW - 1
UNITS = 16
SCALE = 0.05
"""Cosines are told apart on the scale of ``asinh(cosine / SCALE)``: most finely near 0."""
EARLY = 0.02
"""Earlier shares of a run count as this one."""
EACH = (0.015, 0.1)
"""A look's share of the run counts as one of these at least and at most: others were not seen."""
LOG_DEVIATIONS = (-3.0, 2.0)
"""Between which the logarithm of a deviation lies."""


class Estimate(NamedTuple):
    """What the network says of ``log(best rate / rate)``, in natural logarithms."""

    mean: Float[Array, "N"]
    deviation: Float[Array, "N"]


def on_scale(cosine: Array) -> Array:
    """Cosines on the scale on which the network tells them apart."""
    return jnp.arcsinh(cosine / SCALE)


def inputs(
    gram: Float[Array, "N 4 4"], share: Float[Array, "N"], each: Float[Array, "N"]
) -> Float[Array, "N 14"]:
    """What the network sees of windows: nothing that changes with the size of the weights."""
    seen = features(gram)
    lengths, cosines = seen[:, :MOVED], seen[:, MOVED:] / 2
    drift = jax.vmap(mean_cosine)(gram)[:, None]
    share = jnp.clip(share, EARLY, 1.0)[:, None]
    looks = jnp.log(jnp.clip(each, *EACH))[:, None] + 3.5
    parts = [lengths, on_scale(cosines) / 2, on_scale(drift), share, jnp.log(share) / 2, looks]
    return jnp.concatenate(parts, axis=1)


def init_network(key: PRNGKeyArray) -> PyTree:
    """Fresh parameters; the first answer is 0, with a deviation of 1."""
    shapes = {"first": (MOVED * (MOVED + 1) // 2 + 4, UNITS), "second": (UNITS, UNITS)}
    keys = jax.random.split(key, len(shapes))
    kernels = {
        name: initializers.lecun_normal()(own, shape)
        for own, (name, shape) in zip(keys, shapes.items(), strict=True)
    } | {"estimate": jnp.zeros((UNITS, 2))}
    return {
        name: {"kernel": kernel, "bias": jnp.zeros(kernel.shape[-1])}
        for name, kernel in kernels.items()
    }


def estimate(params: PyTree, seen: Float[Array, "N 14"]) -> Estimate:
    """The network's answer to its :func:`inputs`."""
    hidden = jnp.tanh(dense(params["second"], jnp.tanh(dense(params["first"], seen))))
    mean, log_deviation = dense(params["estimate"], hidden).T
    return Estimate(mean, jnp.exp(jnp.clip(log_deviation, *LOG_DEVIATIONS)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Rate:
    """A meta-trained reader of learning rates, for :func:`nowcast.auto_rate`.

    It forecasts no weights, and so :func:`nowcast.periodic` does not take it.
    """

    name: ClassVar[str] = "rate"
    learned: ClassVar[bool] = True

    params: Mapping[str, PyTree]

    def __post_init__(self) -> None:
        wanted = jax.eval_shape(init_network, jax.random.key(0))
        for path, leaf in jax.tree.flatten_with_path(wanted)[0]:
            layer, kind = (key.key for key in path)
            shape = np.shape(self.params.get(layer, {}).get(kind))
            if shape != leaf.shape:
                raise UserError(f"rate: {layer}/{kind} has shape {shape}, not {leaf.shape}")

    def __repr__(self) -> str:
        return "Rate(…)"

    def __call__(
        self, gram: Float[Array, "N 4 4"], share: Float[Array, "N"], each: Float[Array, "N"]
    ) -> Estimate:
        """How far the rate is from its best.

        Args:
            gram: Inner products of a window's four increments, the oldest first, over all weights.
            share: Of the run, that has passed at the window's end, 0 to 1.
            each: The share of the run that lies between two looks: in a longer run increments are
                less alike at the same rate and the same share.

        Examples:
            >>> import jax, jax.numpy as jnp
            >>> from nowcast.rate_forecaster import Rate, init_network
            >>> rate = Rate(params=init_network(jax.random.key(0)))
            >>> rate(jnp.eye(4)[None], jnp.array([0.2]), jnp.array([0.02])).mean.tolist()
            [0.0]
        """
        return estimate(self.params, inputs(gram, share, each))
