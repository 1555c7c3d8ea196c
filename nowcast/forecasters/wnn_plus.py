"""WNN+ (Knyazev et al., ICLR 2025, §5): one small network for all weights, with many horizons.

It is NiNo without the graph: it forecasts one weight at a time. Beside a weight's window it knows
the weight's operation, and the mean and deviation of the whole leaf in the window.

Layers (57,384 parameters with 128 units, 5,160 with 32):

=====================================================  ==========
layer                                                  parameters
=====================================================  ==========
``in``: Dense 5→128, linear                            768
``types``: a vector of 128 for each of 15 operations   1,920
``hidden1``, ``2``, ``3``: Dense 128→128, SiLU         49,536
``out``: Dense 128→40, linear                          5,160
=====================================================  ==========

Scaling, per leaf: with ``m`` the mean and ``d`` the deviation (with n − 1) of all the leaf's
numbers in the window, the network reads ``X = (x − m)/(d + 1e-6)``. Forecast, ``h`` snapshots past
the last: ``x_W + d·network(X, operation)_h``, a residual on the current weight.

Departures from the published code:

- There the residual is added to ``X_W``, and the sum is scaled back by ``d`` and not by ``d +
  1e-6``. So even a zero residual moves a weight by a millionth of its distance from the mean. Here
  a zero residual is the identity.
- The published code tells operations from names of PyTorch's modules. Here the operation is the
  leaf's label (:func:`nowcast.label_ops`): every leaf of a norm layer counts as its scale, every
  embedding as one of tokens, and the projections of an attention layer as fully connected.
- Scalars of no axes are forecast like other weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from nowcast.chunks import chunked
from nowcast.forecasters.base import Horizon
from nowcast.forecasters.learned import Learned, Normalised, dense
from nowcast.split import parts_of, total
from nowcast.types import OPERATIONS, PyTree, whole

UNITS = 128
EPSILON = 1e-6
"""Added to a deviation before anything is divided by it."""
TYPES = 15
"""Rows of the table of operations; the published one has them all, and these are used here:"""
TYPE = {
    "fc": 1, "bias": 2, "other": 2, "conv": 3, "depthwise_conv": 3, "norm": 4, "embedding": 5,
}  # fmt: skip
HIDDEN = ("hidden1", "hidden2", "hidden3")


def init_network(key: PRNGKeyArray, window: int, outputs: int, units: int = UNITS) -> PyTree:
    """Fresh parameters: kernels and the table from a normal of deviation 0.02, biases 0."""
    shapes = {
        "in": (window, units),
        "types": (TYPES, units),
        **dict.fromkeys(HIDDEN, (units, units)),
        "out": (units, outputs),
    }
    return drawn(key, shapes)


def drawn(key: PRNGKeyArray, shapes: Mapping[str, tuple[int, int]]) -> PyTree:
    """Fresh layers of these kernels; ``types`` is a table, and has no bias."""
    keys = dict(zip(shapes, jax.random.split(key, len(shapes)), strict=True))
    made = {
        name: {"kernel": 0.02 * jax.random.normal(keys[name], shape), "bias": jnp.zeros(shape[-1])}
        for name, shape in shapes.items()
    }
    del made["types"]["bias"]
    return made


def normalise(windows: Float[Array, "N W_and_3"]) -> Normalised:
    """The network's inputs from windows, each followed by its leaf's mean, deviation and operation.

    The operation is its number in :data:`nowcast.types.OPERATIONS`. The inputs are the scaled
    window, and the row of the table of operations.
    """
    values, mean, deviation, operation = windows[:, :-3], *jnp.split(windows[:, -3:], 3, axis=1)
    of_types = jnp.asarray([TYPE[each] for each in OPERATIONS], values.dtype)
    kind = of_types[jnp.clip(operation, 0, len(OPERATIONS) - 1).astype(jnp.int32)]
    scaled = (values - mean) / (deviation + EPSILON)
    return Normalised(jnp.concatenate([scaled, kind], axis=1), values[:, -1], deviation[:, 0])


def network(params: PyTree, inputs: Float[Array, "N W_and_1"]) -> Float[Array, "N outputs"]:
    """The residuals of all horizons, in units of the deviation."""
    x = dense(params["in"], inputs[:, :-1])
    x = x + params["types"]["kernel"][inputs[:, -1].astype(jnp.int32)]
    for name in HIDDEN:
        x = jax.nn.silu(dense(params[name], x))
    return dense(params["out"], x)


def scale_of(
    history: Float[Array, "W *shape"], what: str
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The mean and the deviation (with n − 1) of all numbers of a leaf's window.

    ``what`` needs them, and is named where a leaf that is split over devices cannot be summed.
    """
    count = history.size * parts_of(history[-1], what)
    mean = total(jnp.sum(history), history[-1], what) / count
    square = total(jnp.sum(jnp.square(history - mean)), history[-1], what)
    return mean, jnp.sqrt(square / max(count - 1, 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class WNNPlus(Learned):
    """A meta-trained WNN+; ``forecast(horizon=…)`` chooses one of its horizons.

    Examples:
        >>> import jax, jax.numpy as jnp, nowcast
        >>> from nowcast.forecasters import WNNPlus
        >>> fresh = WNNPlus.init_network(jax.random.key(0), 5, 40)
        >>> forecaster = WNNPlus(params={"all": fresh})
        >>> history = {"kernel": jnp.arange(30.0).reshape(5, 3, 2)}
        >>> nowcast.forecast(forecaster, history, horizon=20)["kernel"].shape
        (3, 2)
    """

    name: ClassVar[str] = "wnn_plus"
    elementwise: ClassVar[bool] = False
    many: ClassVar[bool] = True
    mapping: ClassVar[Mapping[str, str | None]] = dict.fromkeys(OPERATIONS, "all")
    context: ClassVar[tuple[str, ...]] = ("mean", "deviation", "operation")
    weight_decay: ClassVar[float] = 1e-2
    clip: ClassVar[float | None] = 5.0
    horizon: int = 40
    units: int = UNITS
    """Units of each hidden layer."""
    init_network = staticmethod(init_network)
    normalise = staticmethod(normalise)
    network = staticmethod(network)

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", whole("wnn_plus: units", self.units, "units"))
        super().__post_init__()

    def fresh(self, key: PRNGKeyArray) -> PyTree:
        """Fresh parameters of a network of this size."""
        return init_network(key, self.window, self.outputs, self.units)

    def leaf(
        self, history: Float[Array, "W *shape"], operation: str, horizon: Horizon
    ) -> Float[Array, "*shape"]:
        """Forecast one leaf, which must be there as a whole: its scale is needed."""
        mean, deviation = scale_of(history, self.name)
        params = jax.tree.map(
            lambda p: p.astype(history.dtype), self.params[self.network_of(operation) or ""]
        )
        layers = _folded(params, TYPE[operation], jnp.clip(horizon, 1, self.longest) - 1)

        def piece(history: Float[Array, "W *shape"]) -> Float[Array, "*shape"]:
            x = jnp.tensordot((history - mean) / (deviation + EPSILON), layers[0]["kernel"], (0, 0))
            x = x + _wide(layers[0]["bias"], x)
            for layer in layers[1:]:
                x = jnp.dot(jax.nn.silu(x), layer["kernel"])
                x = x + _wide(layer["bias"], x)
            return history[-1] + deviation * x[..., 0]

        return chunked(piece, (history,), history[-1])


def _folded(params: PyTree, kind: int, horizon: Any) -> list[dict[str, Array]]:
    """The layers for one operation and one horizon.

    The first hidden layer follows ``in`` without a nonlinearity between, so the two are one: that
    saves a third of the work.
    """
    first, into = params[HIDDEN[0]], params["in"]
    start = (into["bias"] + params["types"]["kernel"][kind]) @ first["kernel"] + first["bias"]
    column = {name: jnp.take(p, horizon, axis=-1)[..., None] for name, p in params["out"].items()}
    joined = {"kernel": into["kernel"] @ first["kernel"], "bias": start}
    return [joined, *(params[name] for name in HIDDEN[1:]), column]


def _wide(bias: Float[Array, "O"], x: Array) -> Array:
    """A bias with axes of length 1 in front, as many as ``x`` has."""
    return bias.reshape(*[1] * (x.ndim - 1), -1)
