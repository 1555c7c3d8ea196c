"""A neuron graph, as blocks of edges.

Notation, for a block of edges from R neurons to C neurons:

=============  ==================================================================
``R``, ``C``   rows (neurons that are read) and columns (neurons that are fed)
``F``          weights of one edge: 9 for a 3×3 convolution, 1 for a dense layer
``P``          nodes of the whole graph
=============  ==================================================================
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from nowcast.neurons.positions import eigenvectors
from nowcast.types import UserError

FC, VECTOR, CONV, NORM, TOKENS, PLACES, QUERY, KEY, VALUE, RESIDUAL, HEAD, ITSELF = (
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13,
)  # fmt: skip
"""Kinds of edges, by their numbers in the published code; VECTOR: biases, and all that is left."""
LARGEST = 9
"""Weights of one edge, at most; the larger kernels of convolutions make several edges."""


class View(NamedTuple):
    """Which weights of a leaf a block holds, and in which order."""

    leaf: int
    """The leaf's number in the tree."""
    shape: tuple[int, ...]
    """The leaf is reshaped to it."""
    part: tuple[slice, ...]
    """What is taken of each axis."""
    axes: tuple[int, int, int]
    """The axes that are the block's R, C and F."""

    def of(self, window: Float[Array, "W *shape"]) -> Float[Array, "W R C F"]:
        """The block's weights in a leaf's window."""
        taken = window.reshape(len(window), *self.shape)[:, *self.part]
        return jnp.transpose(taken, (0, *(axis + 1 for axis in self.axes)))

    def put(self, leaf: Float[Array, "*shape"], values: Float[Array, "R C F"]) -> Array:
        """The leaf with the block's weights replaced by these."""
        back = [self.axes.index(axis) for axis in range(3)]
        there = leaf.reshape(self.shape).at[self.part].set(jnp.transpose(values, back))
        return there.reshape(leaf.shape)


class Block(NamedTuple):
    """Edges from R neurons to C neurons that belong to one leaf, or to none."""

    kind: int
    sources: Int[np.ndarray, "R C"]
    """The node that each edge comes from; either axis has length 1 where it does not matter."""
    targets: Int[np.ndarray, "C"]
    """The node that each column's edges lead to."""
    view: View | None
    """None: fixed edges of weight 1, of a residual connection or an attention head."""
    features: int = 1
    """F."""

    @property
    def rows(self) -> int:
        """R: how many edges lead to each target."""
        if self.view is None:
            return len(self.sources)
        axis = self.view.axes[0]
        return len(range(*self.view.part[axis].indices(self.view.shape[axis])))


@dataclass(frozen=True, eq=False)
class Graph:
    """The neuron graph of a network.

    Args:
        names: The path of every leaf of the network, in JAX's order.
        shapes: The leaves' shapes.
        blocks: All edges but those from each neuron to itself.
        nodes: How many neurons there are; each bias and each norm vector has a node of its own.
        left: The numbers of leaves that have no place: scalars, which keep their last value.
        given: Positions of the neurons; None: they are computed where they are needed.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    blocks: tuple[Block, ...]
    nodes: int
    left: tuple[int, ...] = ()
    given: Float[np.ndarray, "P 8"] | None = None

    @cached_property
    def incoming(self) -> Float[np.ndarray, "P"]:
        """How many edges lead to each neuron, its own among them."""
        count = np.ones(self.nodes, np.float32)
        for block in self.blocks:
            count[block.targets] += block.rows
        return count

    @cached_property
    def positions(self) -> Float[np.ndarray, "P 8"]:
        """Each neuron's place in the graph: eight eigenvectors of its Laplacian."""
        if self.given is not None:
            return self.given
        return eigenvectors([(b.sources, b.targets) for b in self.blocks], self.nodes)

    def check(self, names: Sequence[str], leaves: Sequence[Any], leading: int = 0) -> None:
        """Refuse the leaves of another network, and name the first that differs."""
        shapes = tuple(tuple(np.shape(leaf)[leading:]) for leaf in leaves)
        for name, own, shape, wanted in zip(names, self.names, shapes, self.shapes, strict=False):
            if (name, shape) != (own, wanted):
                raise UserError(
                    f"leaf {name!r} of shape {shape} is {own!r} of shape {wanted} in the neuron"
                    " graph; make the graph of this network: forecaster.on(model)"
                )
        if len(names) != len(self.names):
            raise UserError(
                f"the network has {len(names)} leaves and the neuron graph {len(self.names)};"
                " make the graph of this network: forecaster.on(model)"
            )
