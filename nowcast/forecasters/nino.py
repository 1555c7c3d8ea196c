"""NiNo (Knyazev et al., ICLR 2025): a graph network over neurons, with many horizons.

The network to forecast is a graph: its neurons are nodes, its weights are edges
(:mod:`nowcast.neurons`). Edges begin with the window of their weights, scaled by leaf as in
WNN+ (:mod:`nowcast.forecasters.wnn_plus`), and a vector for their kind; nodes begin with their
positions in the graph. Two rounds of messages follow, of 128 units ::

    e₀ = edges(window) + kinds[kind]                x₀ = nodes(position)
    message   = (S e) · pair(x_target, x_source) + T e          for each edge
    x_new     = silu(out(node(x, mean of the messages that arrive)))
    e_new     = last(silu(E e + A x_source + B x_target))

After them an edge's ``hidden`` and ``out`` give the residual of each of its weights for every
horizon: the forecast is ``x_W + d·residual_h``, with ``d`` the deviation of the leaf's window.

Departures from the published code:

- Its third round changes nodes only, and nothing reads them: that round is left out.
- Layers without a nonlinearity between are multiplied into one, messages are summed before what
  can wait for the sum, and a pair's product is one of nodes, not of edges. That gives the same
  numbers to rounding, with a fifth of the work.
- Kernels with more than nine weights an edge make several edges. There they cannot be read.
- A zero residual is the identity, as in WNN+.
- Token embeddings have no vectors of their own (the published ``nino_no_posw.pt`` has none).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from nowcast.forecasters.base import Horizon
from nowcast.forecasters.learned import Learned
from nowcast.forecasters.wnn_plus import EPSILON, TYPES, drawn, scale_of
from nowcast.neurons.build import graph_of, neuron_graph
from nowcast.neurons.graph import LARGEST, Graph, View
from nowcast.neurons.messages import Messages
from nowcast.neurons.positions import COUNT
from nowcast.split import parts_of
from nowcast.types import OPERATIONS, PyTree, UserError

UNITS = 128
ROUNDS = 2


def init_network(key: PRNGKeyArray, window: int, outputs: int, units: int = UNITS) -> PyTree:
    """Fresh parameters: kernels and the table from a normal of deviation 0.02, biases 0."""
    shapes = {"types": (TYPES, units), "nodes": (COUNT, units), "edges": (LARGEST * window, units)}
    for number in range(ROUNDS):
        shapes |= {
            f"message{number}": (units, 2 * units),
            f"pair{number}": (2 * units, units),
            f"node{number}": (2 * units, units),
            f"out{number}": (units, units),
            **{f"{what}{number}": (units, units) for what in ("edge", "source", "target", "last")},
        }
    shapes |= {"hidden": (units, units), "out": (units, LARGEST * outputs)}
    return drawn(key, shapes)


@dataclass(frozen=True, kw_only=True, eq=False)
class NiNo(Learned):
    """The NiNo of its authors; ``forecast(horizon=…)`` chooses one of its horizons.

    The graph is that of the parameters, found from names and sizes
    (:func:`nowcast.neuron_graph`). :meth:`on` takes it from a module instead, whose
    layers have an order and whose attention has heads.

    Examples:
        >>> import jax, jax.numpy as jnp, nowcast
        >>> from nowcast.forecasters import NiNo
        >>> forecaster = NiNo(params={"all": NiNo.init_network(jax.random.key(0), 5, 40)})
        >>> history = {"fc1": {"kernel": jnp.ones((5, 3, 2)), "bias": jnp.zeros((5, 2))}}
        >>> nowcast.forecast(forecaster, history, horizon=20)["fc1"]["kernel"].shape
        (3, 2)
    """

    name: ClassVar[str] = "nino"
    elementwise: ClassVar[bool] = False
    whole: ClassVar[bool] = True
    many: ClassVar[bool] = True
    mapping: ClassVar[Mapping[str, str | None]] = dict.fromkeys(OPERATIONS, "all")
    weight_decay: ClassVar[float] = 1e-2
    clip: ClassVar[float | None] = 5.0
    horizon: int = 40
    graph: Graph | None = field(default=None, metadata={"saved": False}, repr=False)
    init_network = staticmethod(init_network)

    def __post_init__(self) -> None:
        super().__post_init__()
        if set(self.params) != {"all"}:
            raise UserError(
                f"nino: it has one network, 'all', for all operations, and not"
                f" {', '.join(self.params)}; leave networks out, or give only null there"
            )

    def on(
        self, model_or_params: PyTree, *, labels: PyTree | None = None, heads: int | None = None
    ) -> "NiNo":
        """The same forecaster for this network, with its graph.

        Args:
            model_or_params: As for :func:`nowcast.neuron_graph`.
            labels: As there.
            heads: As there.
        """
        return replace(self, graph=neuron_graph(model_or_params, labels=labels, heads=heads))

    def network_of_leaves(
        self,
        windows: Sequence[Float[Array, "W *_"]],
        names: Sequence[tuple[str, ...]],
        operations: Sequence[str],
        horizon: Horizon,
    ) -> list[Array]:
        """Forecast all leaves of a network at once.

        Args:
            windows: The window of each leaf, oldest snapshot first, in JAX's order of leaves.
            names: The path of each.
            operations: The operation of each.
            horizon: Snapshots past the last one.

        Returns:
            The forecast of each leaf. Scalars keep their last value.

        Raises:
            UserError: The graph cannot be built, or is of another network; leaves are split over
                devices.
        """
        graph = self.graph
        if graph is None:
            graph = graph_of(names, [window.shape[1:] for window in windows], operations)
        graph.check(["/".join(each) for each in names], windows, leading=1)
        if any(parts_of(window[-1], self.name) > 1 for window in windows):
            raise UserError(
                "nino needs whole leaves, and these are split over devices inside shard_map; use"
                " wnn_plus, or jump outside"
            )
        forecastable = tuple(map(self.can_forecast, operations))
        number = jnp.clip(jnp.asarray(horizon, jnp.int32), 1, self.longest) - 1
        return _forecast(self.params["all"], list(windows), number, graph, forecastable)

    def check_network(
        self, names: Sequence[tuple[str, ...]], leaves: Sequence[Any], operations: Sequence[str]
    ) -> None:
        """Refuse a network whose graph cannot be built, or is not the forecaster's."""
        shapes = [tuple(leaf.shape) for leaf in leaves]
        graph = self.graph or graph_of(names, shapes, operations)
        graph.check(["/".join(each) for each in names], leaves)

    def leaf(
        self, history: Float[Array, "W *shape"], operation: str, horizon: Horizon
    ) -> Float[Array, "*shape"]:
        """Refuse one leaf: NiNo needs the whole network."""
        raise UserError("nino forecasts a whole network: call nowcast.forecast with all its leaves")


@partial(jax.jit, static_argnames=("graph", "forecastable"))
def _forecast(
    params: PyTree,
    windows: list[Float[Array, "W *_"]],
    number: Int[Array, ""],
    graph: Graph,
    forecastable: tuple[bool, ...],
) -> list[Array]:
    """The forecast of each leaf, for the horizon of this number from 0.

    It is compiled once for all horizons. The other leaves keep their last value.
    """
    there = [window[-1] for window in windows]
    for view, residual, deviation in _residuals(params, windows, number, graph, forecastable):
        now = view.of(windows[view.leaf])[-1]
        there[view.leaf] = view.put(there[view.leaf], now + deviation * residual)
    return there


def absolute_error(
    params: PyTree,
    windows: list[Float[Array, "W *_"]],
    targets: list[Float[Array, "H *_"]],
    graph: Graph,
    forecastable: tuple[bool, ...],
) -> Float[Array, ""]:
    """The mean error over all weights and horizons, in units of each leaf's deviation.

    This is what meta-training minimises (Knyazev et al., §4.3). A leaf that does not move at all in
    its window has no unit, and does not count.

    Args:
        params: The parameters.
        windows: The window of each leaf.
        targets: The values of each leaf 1, 2, …, H snapshots after its window's last, H the number
            of the network's horizons; NaN where there is none.
        graph: The neuron graph of these leaves.
        forecastable: Which leaves count.
    """
    total, count = jnp.zeros([]), jnp.zeros([])
    for view, residuals, deviation in _residuals(params, windows, None, graph, forecastable):
        moved = view.of(targets[view.leaf]) - view.of(windows[view.leaf])[-1:]
        there = jnp.isfinite(moved) & (deviation > EPSILON)
        unit = jnp.where(deviation > EPSILON, deviation, 1)
        wrong = jnp.abs(residuals - jnp.where(there, moved, 0) / unit)
        total += jnp.sum(jnp.where(there, wrong, 0))
        count += jnp.sum(there)
    return total / jnp.maximum(count, 1)


def _residuals(
    params: PyTree,
    windows: list[Float[Array, "W *_"]],
    number: Int[Array, ""] | None,
    graph: Graph,
    forecastable: tuple[bool, ...],
) -> Iterator[tuple[View, Float[Array, "*H R C F"], Float[Array, ""]]]:
    """The residuals of each block of weights that can be forecast, and its leaf's deviation.

    ``number`` is the horizon's, from 0; None: the residuals of all horizons, along a first axis.
    """
    dtype = jnp.result_type(*windows)
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    scales = [scale_of(window, NiNo.name) for window in windows]
    scaled = [
        (window - mean) / (deviation + EPSILON)
        for window, (mean, deviation) in zip(windows, scales, strict=True)
    ]
    messages = Messages(graph, params, len(windows[0]))
    if number is None:
        every = jnp.arange(params["out"]["bias"].shape[-1] // LARGEST)
        residuals = jax.vmap(lambda each: messages.residuals(scaled, each))(every)
    else:
        residuals = messages.residuals(scaled, number)
    for block, residual in zip(graph.blocks, residuals, strict=True):
        if block.view is not None and residual is not None and forecastable[block.view.leaf]:
            yield block.view, residual, scales[block.view.leaf][1]
