"""Weight Nowcaster Network (Jang et al., ICML 2023): one small network per operation, one weight at a time.

Layers, per network (9,425 parameters), for a window of 5 snapshots ``x`` and its 4 differences ``dx``; two
streams of the same shape, one for each:

=====================================================  =========  ==========
layer                                                  ``x``      ``dx``
=====================================================  =========  ==========
Dense 5→64 / 4→64, linear: ``u``                       384        320
``h = relu(Dense 64→8 (u))``; ``A, B, C = Dense 8→64``   2,248      2,248
Dense 64→32 on ``A·exp(B·u) + C``, LeakyReLU 0.3       2,080      2,080
concatenate, Dense 64→1, tanh                          65
=====================================================  =========  ==========

Normalisation, per weight: ``s = 2·(max(x) − min(x) + 1e-8 + 1e-5)``, ``X = (x − x₁)/s``.
Forecast: ``x₁ + s·(X_W + network(X, ΔX))``, a residual on the current weight in units of the window's own range;
we compute it as ``x_W + s·network``, the same number without the rounding of going through ``X``.

Departure from the published code: there, a bias's increment is added to its *raw* last value, which takes biases back to
about the start of the window. Here all operations are treated alike, so a zero increment is the identity for all of
them; ``bias="published"`` is the other way.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import initializers
from jaxtyping import Array, Float, PRNGKeyArray

from nowcast.forecasters.base import Forecaster
from nowcast.types import PyTree, UserError

UNITS, HIDDEN, NARROW, SLOPE = 64, 8, 32, 0.3
REGULARISED = ("x_in", "x_out", "dx_in", "dx_out")
SERVES = {
    "conv": "conv", "depthwise_conv": "conv", "fc": "fc", "bias": "bias",
    "norm": None, "embedding": None, "other": None,
}  # fmt: skip
"""Which network serves which operation; None: weights that never jump (the published code skips BatchNorm)."""
BIAS = ("consistent", "published")
"""Where a bias's increment goes: on its last value, as every other weight's, or where the published code puts it."""


def init_network(key: PRNGKeyArray, window: int = 5) -> PyTree:
    """Fresh parameters of one network.

    Regularised layers start from VarianceScaling(0.1, fan_in, uniform), all others from Glorot uniform; biases from 0.
    """
    small = initializers.variance_scaling(0.1, "fan_in", "uniform")
    glorot = initializers.glorot_uniform()
    shapes = {"head": (2 * NARROW, 1)}
    for stream, inputs in (("x", window), ("dx", window - 1)):
        shapes |= {
            f"{stream}_in": (inputs, UNITS),
            f"{stream}_hidden": (UNITS, HIDDEN),
            f"{stream}_out": (UNITS, NARROW),
        }
        shapes |= {f"{stream}_{name}": (HIDDEN, UNITS) for name in "abc"}
    keys = dict(zip(shapes, jax.random.split(key, len(shapes)), strict=True))
    return {
        name: {
            "kernel": (small if name in REGULARISED else glorot)(keys[name], shape),
            "bias": jnp.zeros(shape[-1]),
        }
        for name, shape in shapes.items()
    }


def normalise(window: Float[Array, "N W"]) -> tuple[Float[Array, "N W"], Float[Array, "N"]]:
    """``(X, s)`` of each weight: the window from 0, within ±½, and the unit it is measured in."""
    spread = jnp.max(window, axis=-1) - jnp.min(window, axis=-1)
    scale = 2 * (spread + 1e-8 + 1e-5)
    return (window - window[:, :1]) / scale[:, None], scale


def network(params: PyTree, inputs: Float[Array, "N W"]) -> Float[Array, "N"]:
    """The increment, in units of ``s``, from normalised windows."""

    def dense(name: str, x: Float[Array, "N I"]) -> Float[Array, "N O"]:
        return x @ params[name]["kernel"] + params[name]["bias"][None, :]

    def stream(name: str, x: Float[Array, "N I"]) -> Float[Array, "N O"]:
        u = dense(f"{name}_in", x)
        h = jax.nn.relu(dense(f"{name}_hidden", u))
        activated = dense(f"{name}_a", h) * jnp.exp(dense(f"{name}_b", h) * u) + dense(f"{name}_c", h)
        return jax.nn.leaky_relu(dense(f"{name}_out", activated), SLOPE)

    both = jnp.concatenate([stream("x", inputs), stream("dx", jnp.diff(inputs, axis=-1))], axis=-1)
    return jnp.tanh(dense("head", both)[:, 0])


def penalty(params: PyTree) -> Float[Array, ""]:
    """The regulariser: L1, 1e-6 on the kernels and 0.1 on the biases of the four main layers."""
    kernels = sum((jnp.sum(jnp.abs(params[name]["kernel"])) for name in REGULARISED), start=jnp.zeros([]))
    biases = sum((jnp.sum(jnp.abs(params[name]["bias"])) for name in REGULARISED), start=jnp.zeros([]))
    return 1e-6 * kernels + 0.1 * biases


@dataclass(frozen=True, kw_only=True, eq=False)
class WNN(Forecaster):
    """A meta-trained WNN; ``params`` holds one network per operation."""

    name: ClassVar[str] = "wnn"
    learned: ClassVar[bool] = True

    params: Mapping[str, PyTree]
    served_by: Mapping[str, str | None] = field(default_factory=lambda: dict(SERVES))
    bias: str = BIAS[0]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bias not in BIAS:
            raise UserError(f"wnn: bias={self.bias!r} must be {' or '.join(map(repr, BIAS))}")
        if not isinstance(self.served_by, Mapping) or not set(self.served_by.values()) & set(self.params):
            raise UserError(f"wnn: served_by={self.served_by!r} names none of the networks {', '.join(self.params)}")
        wanted = jax.eval_shape(lambda: init_network(jax.random.key(0), self.window))
        for name, found in self.params.items():
            for path, leaf in jax.tree.flatten_with_path(wanted)[0]:
                layer, kind = (key.key for key in path)
                shape = np.shape(found.get(layer, {}).get(kind))
                if shape != leaf.shape:
                    raise UserError(
                        f"wnn, window={self.window}: {name}/{layer}/{kind} has shape {shape}, not {leaf.shape}"
                    )

    def serves(self, operation: str) -> bool:
        """Whether a network of this bundle serves the operation."""
        return self.served_by.get(operation) in self.params

    def check_horizon(self, horizon: int | None) -> int:
        """A WNN has the one horizon it was fitted to."""
        if horizon not in (None, self.horizon):
            raise UserError(f"horizon={horizon}: this wnn was fitted to forecast {self.horizon} snapshots ahead only")
        return self.horizon

    def leaf(self, history: Float[Array, "W *shape"], operation: str, horizon: int) -> Float[Array, "*shape"]:
        """Forecast one leaf with the network that serves its operation."""
        params = self.params[self.served_by[operation] or ""]
        windows = history.reshape(history.shape[0], -1).T
        inputs, scale = normalise(windows)
        start = windows[:, -1]
        if operation == "bias" and self.bias == "published":
            start = windows[:, 0] + scale * windows[:, -1]
        return (start + scale * network(params, inputs)).reshape(history.shape[1:])
