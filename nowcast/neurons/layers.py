"""A network's leaves as layers, in the order in which they follow one another.

Of a Flax NNX module that is the order in which its attributes were made, as a rule that of its
calls. A pytree has no order of its own (JAX sorts dicts by name, and ``nnx.merge`` attributes):
there, layers go by the numbers in their names, normalisations after the convolution or dense layer
of the same number, and dense layers after convolutions. Beside an attention, the first
normalisation comes before it and the second after it, then the dense layers. Which layer is the
first of all is found by trying (:mod:`nowcast.neurons.wiring`).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nowcast.types import UserError

ATTENTION = ("query", "key", "value", "out")
"""Names of the projections of Flax's attention, of NNX and of Linen."""
SHORTCUTS = ("shortcut", "downsample", "skip")
"""Parts of names of layers that lead around others."""
FUSED = re.compile(r"qkv|c_attn|in_proj\w*", re.IGNORECASE)
"""Names of one dense layer that gives queries, keys and values."""
_AFTER_FUSED = re.compile(r"out\w*|c_proj|proj\w*", re.IGNORECASE)
_PLACES = re.compile(r"pos|wpe", re.IGNORECASE)
_NUMBER = re.compile(r"(\d+)$")


class Weights(NamedTuple):
    """A leaf."""

    number: int
    """In the tree, in JAX's order."""
    names: tuple[str, ...]
    shape: tuple[int, ...]
    operation: str
    groups: int | None = None
    """Of a convolution; None: it is not known, as in a pytree."""

    @property
    def path(self) -> str:
        """Its path as text."""
        return "/".join(self.names)


class Layer(NamedTuple):
    """A matrix of weights and the vectors beside it; or a normalisation, which has vectors only."""

    names: tuple[str, ...]
    matrix: Weights | None
    vectors: list[Weights]


class Attention(NamedTuple):
    """The projections of one attention; of a fused one the first is that of all three."""

    names: tuple[str, ...]
    projections: dict[str, Layer]


def layers_of(
    leaves: Sequence[Weights], order: Mapping[tuple[str, ...], int] | None = None
) -> list[Layer | Attention]:
    """All layers, in order.

    Args:
        leaves: The leaves, in any order; scalars are left out.
        order: The place of each leaf's path where it is known, as of a module.

    Raises:
        UserError: A vector that belongs to none of several matrices beside it.
    """
    parents: dict[tuple[str, ...], list[Weights]] = {}
    for leaf in leaves:
        if leaf.shape:
            *parent, _ = _split(leaf.names)
            parents.setdefault(tuple(parent), []).append(leaf)
    found = [layer for names, own in parents.items() for layer in _layers(names, own)]
    first = {id(layer): min(leaf.number for leaf in _leaves(layer)) for layer in found}
    if order is None:
        convolutional = {
            layer.names[:-1] for layer in found if layer.matrix and "conv" in layer.matrix.operation
        }
        ranks = _beside_attention(found)
        found.sort(key=lambda layer: (_key(layer, convolutional, ranks), first[id(layer)]))
    else:
        found.sort(key=lambda layer: min(order[leaf.names] for leaf in _leaves(layer)))
    return _with_attention(found)


def module_order(module: Any) -> dict[tuple[str, ...], int] | None:
    """The place of each parameter of an NNX module, by the order in which attributes were made.

    None where all attributes are sorted by name, as ``nnx.merge`` leaves them.
    """
    from flax import nnx

    found: dict[tuple[str, ...], int] = {}
    ordered: list[bool] = []

    def visit(node: Any, names: tuple[str, ...]) -> None:
        if isinstance(node, nnx.Variable):
            found[names] = len(found)
        elif isinstance(node, Mapping):
            for name, child in node.items():
                visit(child, (*names, str(name)))
        elif isinstance(node, (nnx.List, list, tuple)):
            for number, child in enumerate(node):
                visit(child, (*names, str(number)))
        elif isinstance(node, nnx.Module):
            inside = [k for k, v in vars(node).items() if isinstance(v, nnx.Variable | nnx.Module)]
            ordered.append(inside != sorted(inside))
            for name, child in vars(node).items():
                visit(child, (*names, str(name)))

    visit(module, ())
    return found if any(ordered) else None


def _split(names: tuple[str, ...]) -> list[str]:
    """The parts of a path, where names may hold paths of their own, as Haiku's and PyTorch's do."""
    return [part for name in names for part in re.split(r"[./]", name) if part]


def _layers(names: tuple[str, ...], own: list[Weights]) -> list[Layer]:
    """The layers of one parent."""
    matrices = [
        leaf
        for leaf in own
        if leaf.operation == "embedding"
        or (len(leaf.shape) > 1 and leaf.operation not in ("bias", "norm"))
    ]
    vectors = [leaf for leaf in own if leaf not in matrices]
    if len(matrices) < 2:
        return [Layer(names, matrices[0] if matrices else None, vectors)]
    found = [Layer((*names, _split(leaf.names)[-1]), leaf, []) for leaf in matrices]
    by_number = {_number(layer.names[-1]): layer for layer in found}
    for vector in vectors:
        number = _number(vector.names[-1])
        if len(by_number) < len(found) or number not in by_number:
            raise UserError(
                f"the neuron graph has no place for leaf {vector.path!r}: it stands beside"
                f" {len(found)} matrices; give each layer a dict of its own, or use wnn_plus,"
                " which needs no graph"
            )
        by_number[number].vectors.append(vector)
    return found


def _with_attention(layers: list[Layer]) -> list[Layer | Attention]:
    """The same, with the projections of each attention as one."""
    by_parent = _by_parent(layers)
    found: list[Layer | Attention] = []
    taken: set[int] = set()
    for layer in layers:
        beside = by_parent.get(layer.names[:-1], {}) if layer.names else {}
        own = _projections(beside)
        if id(layer) in taken:
            continue
        if own and any(layer is each for each in own.values()):
            taken |= {id(each) for each in own.values()}
            found.append(Attention(layer.names[:-1], own))
        else:
            found.append(layer)
    return found


def _by_parent(layers: Sequence[Layer]) -> dict[tuple[str, ...], dict[str, Layer]]:
    found: dict[tuple[str, ...], dict[str, Layer]] = {}
    for layer in layers:
        if layer.names:
            found.setdefault(layer.names[:-1], {})[layer.names[-1]] = layer
    return found


def _beside_attention(layers: Sequence[Layer]) -> dict[tuple[str, ...], int]:
    """The rank of each part of the network that stands beside an attention, by its path."""
    own = {names: beside for names, beside in _by_parent(layers).items() if _projections(beside)}
    ranks: dict[tuple[str, ...], int] = {}
    for attention in filter(None, own):
        block = attention[:-1]
        beside = [layer for layer in layers if layer.names[: len(block)] == block != layer.names]
        norms = {layer.names for layer in beside if layer.names[:-1] == block and not layer.matrix}
        in_order = sorted(norms, key=lambda names: (_number(names[-1]), names))
        ranks |= {names: (0, 2, 4)[min(place, 2)] for place, names in enumerate(in_order)}
        ranks[attention] = 1
        for layer in beside:
            ranks.setdefault(layer.names[: len(block) + 1], 3)
    return ranks


def _projections(beside: Mapping[str, Layer]) -> dict[str, Layer]:
    if all(name in beside for name in ATTENTION):
        return {name: beside[name] for name in ATTENTION}
    fused = [layer for name, layer in beside.items() if FUSED.fullmatch(name) and layer.matrix]
    after = [layer for name, layer in beside.items() if _AFTER_FUSED.fullmatch(name)]
    if len(fused) == len(after) == 1:
        return {"qkv": fused[0], "out": after[0]}
    return {}


def is_around(name: str) -> bool:
    """Whether a layer leads around others, by its name."""
    return any(part in name.lower() for part in SHORTCUTS)


def is_of_places(leaf: Weights) -> bool:
    """Whether an embedding is of positions, not of tokens, by its name."""
    return any(_PLACES.search(name) for name in leaf.names)


def _leaves(layer: Layer) -> list[Weights]:
    return ([layer.matrix] if layer.matrix else []) + layer.vectors


def _number(name: str) -> int:
    found = _NUMBER.search(name)
    return int(found[1]) if found else -1


def _key(
    layer: Layer, convolutional: set[tuple[str, ...]], ranks: Mapping[tuple[str, ...], int]
) -> tuple[Any, ...]:
    """What a pytree's layers are sorted by: embeddings first, then part by part of the path."""
    first = 2
    if layer.matrix is not None and layer.matrix.operation == "embedding":
        first = int(is_of_places(layer.matrix))
    parts: list[Any] = []
    for depth, name in enumerate(layer.names):
        last = depth == len(layer.names) - 1
        dense = last and layer.matrix is not None and layer.matrix.operation == "fc"
        late = dense and layer.names[:-1] in convolutional
        rank = ranks.get(layer.names[: depth + 1], 0)
        norm = last and layer.matrix is None
        parts.append((rank, late, is_around(name), _number(name), norm, name))
    return first, parts
