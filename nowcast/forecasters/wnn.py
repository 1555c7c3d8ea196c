"""Weight Nowcaster Network (Jang et al., ICML 2023): a small network per operation.

It forecasts one weight at a time.

Layers, per network (9,425 parameters), for a window of 5 snapshots ``x`` and its 4 differences
``dx``; two streams of the same shape, one for each:

=====================================================  =========  ==========
layer                                                  ``x``      ``dx``
=====================================================  =========  ==========
Dense 5→64 / 4→64, linear: ``u``                       384        320
``h = relu(Dense 64→8 (u))``; ``A, B, C = Dense 8→64``   2,248      2,248
Dense 64→32 on ``A·exp(B·u) + C``, LeakyReLU 0.3       2,080      2,080
concatenate, Dense 64→1, tanh                          65
=====================================================  =========  ==========

Normalisation, per weight: ``s = 2·(max(x) − min(x) + 1e-8 + 1e-5)``, ``X = (x − x₁)/s``. Forecast:
``x₁ + s·(X_W + network(X, ΔX))``, a residual on the current weight in units of the window's own
range. We compute it as ``x_W + s·network``: the same number, without rounding in ``X``.

Departure from the published code: there, a bias's increment is added to its *raw* last value, which
takes biases back to about the start of the window. Here all operations are treated alike, so a zero
increment is the identity for all of them; ``bias="published"`` is the other way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jaxtyping import Array, Float, PRNGKeyArray

from nowcast.forecasters.base import Horizon
from nowcast.forecasters.learned import Learned, Normalised, dense
from nowcast.types import PyTree, UserError

UNITS, HIDDEN, NARROW, SLOPE = 64, 8, 32, 0.3
REGULARISED = ("x_in", "x_out", "dx_in", "dx_out")
BIAS = ("consistent", "published")
"""Where a bias's increment is added: to its last value, as for every other weight, or where the
published code adds it.
"""


def init_network(key: PRNGKeyArray, window: int = 5, outputs: int = 1) -> PyTree:
    """Fresh parameters of one network.

    Regularised layers start from VarianceScaling(0.1, fan_in, uniform), all others from Glorot
    uniform; biases from 0.
    """
    small = initializers.variance_scaling(0.1, "fan_in", "uniform")
    glorot = initializers.glorot_uniform()
    shapes = {"head": (2 * NARROW, outputs)}
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


def normalise(windows: Float[Array, "N W"]) -> Normalised:
    """Each window from 0, within ±½.

    Outputs count from the window's last value, in the unit ``s`` that the window is measured in.
    """
    spread = jnp.max(windows, axis=-1) - jnp.min(windows, axis=-1)
    scale = 2 * (spread + 1e-8 + 1e-5)
    return Normalised((windows - windows[:, :1]) / scale[:, None], windows[:, -1], scale)


def features(params: PyTree, inputs: Float[Array, "N W"]) -> Float[Array, "N O"]:
    """The last layer, before its tanh."""

    def stream(name: str, x: Float[Array, "N I"]) -> Float[Array, "N O"]:
        to_u, to_h, a, b, c, out = (
            params[f"{name}_{layer}"] for layer in ("in", "hidden", "a", "b", "c", "out")
        )
        u, h = dense(to_u, x), jax.nn.relu(dense(_joined(to_u, to_h), x))
        activated = dense(a, h) * jnp.exp(dense(b, h) * u)
        return jax.nn.leaky_relu(activated @ out["kernel"] + dense(_joined(c, out), h), SLOPE)

    both = jnp.concatenate([stream("x", inputs), stream("dx", jnp.diff(inputs, axis=-1))], axis=-1)
    return dense(params["head"], both)


def _joined(first: Mapping[str, Array], second: Mapping[str, Array]) -> dict[str, Array]:
    """Join two layers without a nonlinearity between into one: a fit is five times as fast."""
    return {
        "kernel": first["kernel"] @ second["kernel"],
        "bias": first["bias"] @ second["kernel"] + second["bias"],
    }


def network(params: PyTree, inputs: Float[Array, "N W"]) -> Float[Array, "N 1"]:
    """The increment, in units of ``s``, from normalised windows."""
    return jnp.tanh(features(params, inputs))


def penalty(params: PyTree) -> Float[Array, ""]:
    """The regulariser: L1, 1e-6 on the kernels and 0.1 on the biases of the four main layers."""
    kernels = sum(
        (jnp.sum(jnp.abs(params[name]["kernel"])) for name in REGULARISED), start=jnp.zeros([])
    )
    biases = sum(
        (jnp.sum(jnp.abs(params[name]["bias"])) for name in REGULARISED), start=jnp.zeros([])
    )
    return 1e-6 * kernels + 0.1 * biases


@dataclass(frozen=True, kw_only=True, eq=False)
class WNN(Learned):
    """A meta-trained WNN."""

    name: ClassVar[str] = "wnn"
    limit: ClassVar[float] = 1.0  # of the tanh
    bias: str = BIAS[0]
    init_network = staticmethod(init_network)
    normalise = staticmethod(normalise)
    network = staticmethod(network)
    penalty = staticmethod(penalty)

    def __post_init__(self) -> None:
        if self.bias not in BIAS:
            raise UserError(f"wnn: bias={self.bias!r} must be {' or '.join(map(repr, BIAS))}")
        super().__post_init__()

    def leaf(
        self, history: Float[Array, "W *shape"], operation: str, horizon: Horizon
    ) -> Float[Array, "*shape"]:
        """Forecast one leaf with the network of its operation."""
        forecast = super().leaf(history, operation, horizon)
        if operation != "bias" or self.bias == "consistent":
            return forecast
        scale = normalise(history.reshape(history.shape[0], -1).T).scale.reshape(history.shape[1:])
        return forecast - history[-1] + history[0] + scale * history[-1]
