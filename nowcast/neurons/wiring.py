"""Wire layers into a graph: which neurons each reads, and which it feeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nowcast.neurons.graph import (
    HEAD,
    KEY,
    NORM,
    PLACES,
    QUERY,
    RESIDUAL,
    TOKENS,
    VALUE,
    VECTOR,
    Block,
)
from nowcast.neurons.layers import Attention, Layer, Weights, is_around, is_of_places
from nowcast.neurons.sizes import first, is_embedding, places_read, sizes
from nowcast.neurons.views import Edges, conv, embedding, fc, vector
from nowcast.types import UserError


@dataclass(eq=False)
class Neurons:
    """Neurons that stand side by side: the outputs of a layer."""

    size: int
    convolution: bool = False
    """Whether a convolution feeds them, so that a dense layer may read each at many places."""
    vectors: list[str] = field(default_factory=list)
    """The operations of biases and norms that lead to them; each has a node of its own."""


class Wire(NamedTuple):
    """Edges from neurons to neurons."""

    source: Neurons
    target: Neurons
    edges: Edges
    shift: int = 0
    """The first of the source's neurons that is read."""


class Wiring:
    """Places layers one after another, and remembers how well they fit."""

    def __init__(self, heads: Mapping[tuple[str, ...], int] | int):
        self.heads = heads
        self.neurons: list[Neurons] = []
        self.wires: list[Wire] = []
        self.jumps = 0
        """Layers that do not follow the one before."""
        self.blocks: dict[tuple[str, ...], Neurons] = {}
        """Where the dense layers after an attention begin, by the path around it."""

    @property
    def current(self) -> Neurons | None:
        """The neurons of the layer before."""
        return self.neurons[-1] if self.neurons else None

    def fits(self, layer: Layer | Attention) -> bool:
        """Whether the layer follows the one before, or leads around it."""
        if not self.neurons or is_embedding(layer):
            return True
        read, gives = sizes(layer)
        if not read:
            return any(each.size == gives for each in self.neurons)
        current = self.neurons[-1]
        if any(map(is_around, layer.names)) and gives == current.size and self._earlier(read):
            return True
        return self._times(layer, current) > 0

    def fits_earlier(self, layer: Layer | Attention) -> bool:
        """Whether the layer reads what an earlier layer gives."""
        return self._earlier(sizes(layer)[0]) is not None

    def place(self, layer: Layer | Attention) -> None:
        """Add the layer's neurons and edges."""
        if isinstance(layer, Attention):
            self._attention(layer)
        elif layer.matrix is None:
            gives = sizes(layer)[1]
            like = [each for each in reversed(self.neurons) if each.size == gives]
            free = [each for each in like if "norm" not in each.vectors]
            self._vectors(layer.vectors, (free or like or [self._add(gives)])[0])
        elif layer.matrix.operation == "embedding":
            self._embedding(layer)
        else:
            self._matrix(layer)

    def _times(self, layer: Layer | Attention, source: Neurons) -> int:
        """As :func:`places_read`, but not by groups if the layer fits an earlier one without."""
        read, _ = sizes(layer)
        leaf = layer.matrix if isinstance(layer, Layer) else None
        may_have_groups = leaf and leaf.operation == "conv" and leaf.groups is None
        if may_have_groups and read != source.size and self._earlier(read):
            return 0
        return places_read(layer, source.size, convolution=source.convolution)

    def _earlier(self, size: int) -> Neurons | None:
        return next((each for each in reversed(self.neurons) if each.size == size), None)

    def _add(self, size: int, *, convolution: bool = False) -> Neurons:
        self.neurons.append(Neurons(size, convolution))
        return self.neurons[-1]

    def _vectors(self, vectors: Sequence[Weights], target: Neurons) -> None:
        for leaf in vectors:
            if math.prod(leaf.shape) != target.size:
                raise Unplaced(leaf, f"it has {leaf.shape}, and its layer {target.size} neurons")
            target.vectors.append(leaf.operation)
            is_scale = leaf.operation == "norm" and leaf.names[-1] not in ("bias", "beta", "b")
            edges = vector(leaf, NORM if is_scale else VECTOR)
            self.wires.append(Wire(target, target, edges, -len(target.vectors)))

    def _embedding(self, layer: Layer) -> None:
        assert layer.matrix is not None
        edges = embedding(layer.matrix, PLACES if is_of_places(layer.matrix) else TOKENS)
        places, width = edges.rows, edges.columns
        target = self._earlier(width)
        source = Neurons(places)
        self.neurons.insert(max(len(self.neurons) - 1, 0), source)
        self.wires.append(Wire(source, target or self._add(width), edges))
        self._vectors(layer.vectors, self.wires[-1].target)

    def _matrix(self, layer: Layer) -> None:
        leaf = layer.matrix
        assert leaf is not None
        read, gives = sizes(layer)
        source = self.current or self._add(read)
        times = self._times(layer, source)
        shortcut = False
        if not times:
            found = self._earlier(read)
            if found is None:
                raise Unplaced(leaf, f"it reads {read} neurons, and no layer before it has so many")
            shortcut = gives == source.size
            self.jumps += not shortcut
            times, target, source = 1, source, found
        if not shortcut:
            target = self._add(gives, convolution="conv" in leaf.operation)
        # A pytree does not say that a convolution is grouped: other wirings are better guesses.
        self.jumps += leaf.operation == "conv" and leaf.groups is None and read != source.size
        made = conv(leaf, source.size) if "conv" in leaf.operation else fc(leaf, times)
        self.wires += [Wire(source, target, edges) for edges in made]
        self._vectors(layer.vectors, target)
        begun = self.blocks.get(layer.names[:-1])
        if begun is not None and begun.size == gives and source is not begun:
            self.wires.append(Wire(begun, target, Edges.each(RESIDUAL, gives)))
            self.blocks[layer.names[:-1]] = target

    def _attention(self, layer: Attention) -> None:
        own, (read, gives) = layer.projections, sizes(layer)
        source = self.current or self._add(read)
        if source.size != read:
            source = self._earlier(read) or self._add(read)
            self.jumps += 1
        matrices = {name: each.matrix for name, each in own.items() if each.matrix is not None}
        last = matrices["out"]
        inner = int(np.prod(last.shape)) // gives
        heads = self._heads(layer, matrices)
        if inner % heads:
            raise Unplaced(
                last, f"it reads {inner} neurons, which are no multiple of {heads} heads"
            )
        queries, of_heads, values = self._add(inner), self._add(heads), self._add(inner)
        target = self._add(gives)
        for place, (name, kind) in enumerate((("query", QUERY), ("key", KEY), ("value", VALUE))):
            leaf = matrices.get(name, matrices.get("qkv"))
            part = None if name in matrices else (place, 3)
            to = values if name == "value" else queries
            for edges in fc(leaf, 1, kind, inputs=read, part=part):  # type: ignore[arg-type]
                wire = Wire(source, to, edges)
                self.wires.append(wire if name != "key" else Wire(to, source, edges.turned()))
            for each in own.get(name, own.get("qkv")).vectors:  # type: ignore[union-attr]
                to.vectors.append(each.operation)
                edges = vector(each, VECTOR, part)
                self.wires.append(Wire(to, to, edges, -len(to.vectors)))
        for to in (queries, values):
            self.wires.append(Wire(of_heads, to, Edges.heads(HEAD, heads, inner)))
        self.wires += [Wire(values, target, edges) for edges in fc(last, 1, inputs=inner)]
        self._vectors(own["out"].vectors, target)
        if source.size == gives:
            self.wires.append(Wire(source, target, Edges.each(RESIDUAL, gives)))
            self.blocks[layer.names[:-1]] = self.blocks[layer.names] = target

    def _heads(self, layer: Attention, matrices: Mapping[str, Weights]) -> int:
        """How many heads an attention has."""
        if "query" in matrices and len(matrices["query"].shape) == 3:
            return matrices["query"].shape[1]
        return self.heads if isinstance(self.heads, int) else self.heads.get(layer.names, 1)

    def numbered(self) -> tuple[list[Block], int]:
        """The blocks, with the numbers of their nodes: a layer's vectors, then its neurons."""
        begins, count = {}, 0
        for each in self.neurons:
            count += len(each.vectors)
            begins[id(each)] = count
            count += each.size
        blocks = []
        for source, target, edges, shift in self.wires:
            # Vectors lie before the neurons: the first one first.
            node = begins[id(source)] + (0 if shift >= 0 else -len(source.vectors) - shift - 1)
            sources = edges.sources + node
            targets = begins[id(target)] + np.arange(edges.columns)
            blocks.append(Block(edges.kind, sources, targets, edges.view, edges.features))
        return blocks, count


class Unplaced(Exception):
    """A leaf that has no place, and why."""

    def __init__(self, leaf: Weights, why: str):
        super().__init__(why)
        self.leaf, self.why = leaf, why


def wired(
    layers: Sequence[Layer | Attention], heads: Mapping[tuple[str, ...], int] | int
) -> tuple[list[Block], int]:
    """The blocks of all layers, and the number of neurons.

    Each layer is tried as the first, and the wiring in which the fewest layers do not follow the
    one before is taken, of equal ones that with the first layer in order.
    """
    if not layers:
        raise UserError(
            "the neuron graph has no place for the network: it has no layer; pass its"
            " parameters, or use wnn_plus, which needs no graph"
        )
    best: Wiring | None = None
    failed: Unplaced | None = None
    starts = [n for n, layer in enumerate(layers) if sizes(layer)[0] or not n]
    embeddings = [n for n in starts if is_embedding(layers[n])]
    for start in [*embeddings[:1], *starts]:
        try:
            found = _tried([layers[start], *layers[:start], *layers[start + 1 :]], heads)
        except Unplaced as error:
            failed = failed or error
            continue
        if best is None or found.jumps < best.jumps:
            best = found
        if not best.jumps:
            break
    if best is None:
        assert failed is not None
        raise UserError(
            f"the neuron graph has no place for leaf {failed.leaf.path!r} of shape"
            f" {failed.leaf.shape}: {failed.why}; use wnn_plus, which needs no graph"
        )
    return best.numbered()


def _tried(
    layers: Sequence[Layer | Attention], heads: Mapping[tuple[str, ...], int] | int
) -> Wiring:
    wiring, waiting = Wiring(heads), list(layers)
    while waiting:
        ready = next((layer for layer in waiting if wiring.fits(layer)), None)
        ready = ready or next((layer for layer in waiting if wiring.fits_earlier(layer)), None)
        if ready is None:
            read, gives = sizes(waiting[0])
            what = f"reads {read} neurons" if read else f"belongs to {gives} neurons"
            raise Unplaced(first(waiting[0]), f"it {what}, and no layer before it has so many")
        wiring.place(ready)
        waiting.remove(ready)
    return wiring
