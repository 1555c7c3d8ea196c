"""NiNo's rounds of messages, block by block.

A block's edges are ``(R, C, units)``, which is 128 times the memory of its weights: large blocks
are taken some columns at a time, and edges are computed anew in each round, from their weights and
from the neurons' vectors.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nowcast.forecasters.learned import dense
from nowcast.neurons.graph import ITSELF, LARGEST, Block, Graph
from nowcast.types import PyTree

AT_ONCE = 2**13
"""Edges of a block that are computed at once."""


class Layer(NamedTuple):
    """A fully connected layer."""

    kernel: Float[Array, "I O"]
    bias: Float[Array, "O"]

    def __call__(self, x: Float[Array, "*n I"]) -> Float[Array, "*n O"]:
        """The layer's output."""
        y = jnp.dot(x, self.kernel)
        return y + self.bias.reshape(*[1] * (y.ndim - 1), -1)

    def then(self, kernel: Float[Array, "O Q"], bias: Float[Array, "Q"]) -> "Layer":
        """This layer and the next one as one, as no nonlinearity stands between."""
        return Layer(self.kernel @ kernel, self.bias @ kernel + bias)


class Round(NamedTuple):
    """The nodes' part in a new vector of each edge: ``silu(from(e) + sources + targets)``."""

    edge: dict[str, Array]
    sources: Float[Array, "P units"]
    targets: Float[Array, "P units"]
    last: Layer


class Messages:
    """NiNo's network on one graph.

    Args:
        graph: Its graph.
        params: The parameters (:func:`nowcast.forecasters.nino.init_network`).
        window: Snapshots of a window.
    """

    def __init__(self, graph: Graph, params: PyTree, window: int):
        self.graph, self.params, self.window = graph, params, window
        self.units = params["types"]["kernel"].shape[-1]

    def residuals(
        self, scaled: Sequence[Float[Array, "W *_"]], number: Any
    ) -> list[Float[Array, "R C F"] | None]:
        """The residuals of each block's weights, for the horizon of this number from 0.

        None for blocks without weights. ``scaled`` are the leaves' windows.
        """
        blocks = self.graph.blocks
        windows = [None if b.view is None else b.view.of(scaled[b.view.leaf]) for b in blocks]
        rounds: list[Round] = []
        nodes = dense(self.params["nodes"], jnp.asarray(self.graph.positions))
        for place in range(2):
            nodes = self._nodes(place, nodes, windows, rounds)
            to_source, to_target = (self.params[f"{name}{place}"] for name in ("source", "target"))
            last = self.params[f"last{place}"]
            rounds.append(
                Round(
                    self.params[f"edge{place}"],
                    dense(to_source, nodes),
                    dense(to_target, nodes),
                    Layer(last["kernel"], last["bias"]),
                )
            )
        hidden, out = self.params["hidden"], self.params["out"]
        kernel = jnp.take(out["kernel"].reshape(self.units, LARGEST, -1), number, axis=-1)
        bias = jnp.take(out["bias"].reshape(LARGEST, -1), number, axis=-1)

        def residual(block: Block) -> Callable[[Array, Array, Layer], Array]:
            weights = Layer(kernel[:, : block.features], bias[: block.features])

            def of(e: Array, sources: Array, begin: Layer) -> Array:
                return weights(jax.nn.silu(begin.then(hidden["kernel"], hidden["bias"])(e)))

            return of

        return [
            None
            if window is None
            else self._columns(block, window, rounds, residual(block), block.features, sums=False)
            for block, window in zip(blocks, windows, strict=True)
        ]

    def _nodes(
        self,
        place: int,
        nodes: Float[Array, "P units"],
        windows: Sequence[Any],
        rounds: Sequence[Round],
    ) -> Float[Array, "P units"]:
        """The nodes' vectors after a round."""
        message, pair = self.params[f"message{place}"], self.params[f"pair{place}"]
        at_target = jnp.dot(nodes, pair["kernel"][: self.units]) + pair["bias"][None]
        at_source = jnp.dot(nodes, pair["kernel"][self.units :])
        scale, shift = (
            (message["kernel"][:, part], message["bias"][part])
            for part in (slice(None, self.units), slice(self.units, None))
        )

        def arriving(sources: Array) -> Callable[[Array, Array, Layer], Array]:
            def of(e: Array, chosen: Array, begin: Layer) -> Array:
                """The sums over rows: of the scaled sources, and of the vectors themselves."""
                scaled = begin.then(*scale)(e) * sources[chosen]
                total = jnp.sum(e, axis=0)
                return jnp.concatenate([jnp.sum(scaled, axis=0), total], axis=-1)

            return of

        total = jnp.zeros((len(nodes), self.units), nodes.dtype)
        for block, window in zip(self.graph.blocks, windows, strict=True):
            begin = self._begin(block.kind, rounds)
            found = self._columns(block, window, rounds, arriving(at_source), None, sums=True)
            summed, own = found[:, : self.units], found[:, self.units :]
            counted = Layer(begin.kernel[: own.shape[-1]], block.rows * begin.bias)
            scales = counted.then(scale[0], block.rows * scale[1])(own)
            shifts = counted.then(shift[0], block.rows * shift[1])(own)
            arrived = summed + scales * at_target[block.targets] + shifts
            total = total.at[block.targets].add(arrived)
        total = total + self._from_itself(nodes, rounds, scale, shift, at_target + at_source)
        mean = total / jnp.asarray(self.graph.incoming)[:, None]
        both = jnp.concatenate([nodes, mean], axis=-1)
        return jax.nn.silu(
            dense(self.params[f"out{place}"], dense(self.params[f"node{place}"], both))
        )

    def _from_itself(
        self,
        nodes: Array,
        rounds: Sequence[Round],
        scale: tuple[Array, Array],
        shift: tuple[Array, Array],
        pair: Float[Array, "P units"],
    ) -> Float[Array, "P units"]:
        """The message of each neuron to itself, along an edge whose weight is 2 at all times."""
        features = jnp.full((1, self.window), 2.0, nodes.dtype)
        e, begin = self._vectors(features, ITSELF, rounds, lambda sides: sides)
        return begin.then(*scale)(e) * pair + begin.then(*shift)(e)

    def _begin(self, kind: int, rounds: Sequence[Round]) -> Layer:
        """The layer that gives the edges' vectors from what :meth:`_vectors` returns."""
        if rounds:
            return rounds[-1].last
        edges = self.params["edges"]
        return Layer(edges["kernel"], edges["bias"] + self.params["types"]["kernel"][kind])

    def _vectors(
        self,
        features: Float[Array, "*n I"],
        kind: int,
        rounds: Sequence[Round],
        side: Callable[[Array], Array],
        other: Callable[[Array], Array] | None = None,
    ) -> tuple[Array, Layer]:
        """What the edges' vectors are made of, and the layer that makes them.

        ``side`` and ``other`` choose the sources' and the targets' rows of the nodes' vectors.
        """
        e = features
        begin = self._begin(kind, ())
        begin = Layer(begin.kernel[: features.shape[-1]], begin.bias)
        for each in rounds:
            into = begin.then(each.edge["kernel"], each.edge["bias"])
            e = jax.nn.silu(into(e) + side(each.sources) + (other or side)(each.targets))
            begin = each.last
        return e, begin

    def _columns(
        self,
        block: Block,
        window: Any,
        rounds: Sequence[Round],
        work: Callable[[Array, Array, Layer], Array],
        features: int | None,
        *,
        sums: bool,
    ) -> Array:
        """``work`` on all of a block's edges, some columns at a time.

        ``work`` takes what the edges' vectors are made of, ``(R, C, I)``, the numbers of their
        sources, and the layer that makes the vectors. It returns ``(C, …)`` if ``sums``, else ``(R,
        C, features)``.
        """
        sources, targets = jnp.asarray(block.sources), jnp.asarray(block.targets)
        rows, columns = block.rows, len(block.targets)

        def some(window: Any, sources: Array, targets: Array) -> Array:
            if window is None:
                e = jnp.ones((rows, len(targets), self.window), self.params["nodes"]["bias"].dtype)
            else:  # the weights of an edge, each with its window
                e = jnp.moveaxis(window, 0, -1).reshape(rows, len(targets), -1)
            chosen = sources  # (R or 1, C or 1)
            e, begin = self._vectors(
                e, block.kind, rounds, lambda x: x[chosen], lambda x: x[targets][None]
            )
            return work(e, chosen, begin)

        some = jax.checkpoint(some)  # a fit computes the edges' vectors anew: they would not fit
        width = max(1, AT_ONCE // rows)
        if columns <= width:
            return some(window, sources, targets)
        axis = 0 if sums else 1
        shape = jax.eval_shape(some, window, sources, targets)
        every = sources.shape[1] > 1

        def one(number: Array, result: Array) -> Array:
            first = jnp.minimum(number * width, columns - width)  # the last ones overlap

            def cut(x: Array, axis: int) -> Array:
                return jax.lax.dynamic_slice_in_dim(x, first, width, axis)

            part = some(
                None if window is None else cut(window, 2),
                cut(sources, 1) if every else sources,
                cut(targets, 0),
            )
            return jax.lax.dynamic_update_slice_in_dim(result, part, first, axis)

        count = -(-columns // width)
        return jax.lax.fori_loop(0, count, one, jnp.zeros(shape.shape, shape.dtype))
