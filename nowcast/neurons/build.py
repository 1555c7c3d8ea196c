"""Build the neuron graph of a network from its module, or from a labelled pytree."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from nowcast.guess import walk
from nowcast.neurons.graph import Graph
from nowcast.neurons.layers import Weights, layers_of, module_order
from nowcast.neurons.wiring import wired
from nowcast.ops import flat_guesses, guessed, is_module
from nowcast.types import PyTree


def neuron_graph(
    model_or_params: PyTree, *, labels: PyTree | None = None, heads: int | None = None
) -> Graph:
    """The neuron graph of a network.

    Args:
        model_or_params: A ``flax.nnx`` module, whose layers are known in their order; or any pytree
            of parameters, whose order is found from names and sizes.
        labels: The operation of every leaf (:func:`nowcast.label_ops`). From the module's types, or
            guessed from names and ranks, when left out.
        heads: Heads of each attention, where kernels do not say it: those of Flax's attention do, a
            fused projection of queries, keys and values does not. None: 1, or the ``heads`` or
            ``num_heads`` of the module around it.

    Returns:
        The graph. It knows shapes only, and is the same for all weights of the network.

    Raises:
        UserError: A leaf has no place: it reads a number of neurons that no layer gives, as in
            recurrent cells and where branches are joined end to end. The message names it.

    What becomes an edge:

    ==============  ==============================================================================
    leaf            edges
    ==============  ==============================================================================
    dense layer     from each input to each output; after a convolution, from each of its channels,
                    with the weights of all places
    convolution     from each channel to each channel, with all weights of the kernel; depthwise and
                    grouped ones, within their groups
    bias, norm      from a node of its own to each neuron of the layer before
    embedding       from each token (or place) to each neuron; later ones lead to the same neurons
    attention       to queries and back by the key's weights, to values, from a node for each head,
                    and a residual connection around it
    ==============  ==============================================================================

    A layer beside others whose input and output fit earlier neurons is taken as a shortcut. In a
    part of the network that has an attention, dense layers that lead back to its width have a
    residual connection, as in the published code. Other residual connections leave no weights and
    are not seen.

    Examples:
        >>> import numpy as np
        >>> from nowcast.neurons import neuron_graph
        >>> net = {"fc1": {"kernel": np.zeros((3, 4)), "bias": np.zeros(4)}}
        >>> neuron_graph(net).nodes  # 3 inputs, 4 outputs, and one for the bias
        8

    Source: Knyazev et al., ICLR 2025, §4.1, and the code published with it.
    """
    params, guesses = guessed(model_or_params)
    if labels is not None:
        guesses = flat_guesses(params, labels)
    groups = _groups(model_or_params) if is_module(model_or_params) else {}
    leaves = tuple(
        Weights(
            number,
            named.names,
            tuple(map(int, np.shape(named.value))),
            each.operation,
            groups.get(named.names[:-1]),
        )
        for number, (named, each) in enumerate(zip(walk(params), guesses, strict=True))
    )
    if not is_module(model_or_params):
        return _built(leaves, None, heads or 1)
    order = module_order(model_or_params)
    places = None if order is None else tuple(order.items())
    return _built(leaves, places, heads or _heads(model_or_params))


def graph_of(
    names: Sequence[tuple[str, ...]],
    shapes: Sequence[tuple[int, ...]],
    operations: Sequence[str],
) -> Graph:
    """The graph of a pytree's leaves, by their paths, shapes and operations."""
    each = zip(range(len(names)), names, shapes, operations, strict=True)
    return _built(tuple(Weights(*leaf) for leaf in each), None, 1)


def _groups(module: Any) -> dict[tuple[str, ...], int]:
    """The groups of each convolution, by its path."""
    from flax import nnx

    return {
        tuple(map(str, path)): each.feature_group_count
        for path, each in nnx.iter_modules(module)
        if isinstance(each, nnx.Conv)
    }


def _heads(module: Any) -> tuple[tuple[tuple[str, ...], int], ...]:
    """The heads of each module that says how many it has, by its path."""
    from flax import nnx

    found = {}
    for path, each in nnx.iter_modules(module):
        heads = getattr(each, "num_heads", getattr(each, "heads", None))
        if isinstance(heads, int):
            found[tuple(map(str, path))] = heads
    return tuple(found.items())


@lru_cache(maxsize=32)
def _built(leaves: tuple[Weights, ...], order: Any, heads: Any) -> Graph:
    layers = layers_of(leaves, None if order is None else dict(order))
    blocks, nodes = wired(layers, heads if isinstance(heads, int) else dict(heads))
    return Graph(
        tuple(leaf.path for leaf in leaves),
        tuple(leaf.shape for leaf in leaves),
        tuple(blocks),
        nodes,
        tuple(leaf.number for leaf in leaves if not leaf.shape),
    )
