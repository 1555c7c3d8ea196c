"""The edges of one leaf, with rows and columns counted from 0."""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from nowcast.neurons.graph import CONV, FC, LARGEST, View
from nowcast.neurons.layers import Weights


@dataclass(frozen=True, eq=False)
class Edges:
    """Edges before their neurons have numbers."""

    kind: int
    sources: Int[np.ndarray, "R C"]
    columns: int
    view: View | None = None
    features: int = 1

    @property
    def rows(self) -> int:
        """R."""
        return len(self.sources)

    @staticmethod
    def each(kind: int, size: int) -> "Edges":
        """A fixed edge from each neuron to the one of the same number."""
        return Edges(kind, np.arange(size)[None], size)

    @staticmethod
    def heads(kind: int, heads: int, size: int) -> "Edges":
        """A fixed edge from each head to each of its neurons."""
        return Edges(kind, np.repeat(np.arange(heads), size // heads)[None], size)

    def turned(self) -> "Edges":
        """The same edges, from the columns to the rows."""
        assert self.view is not None
        rows, columns, features = self.view.axes
        view = self.view._replace(axes=(columns, rows, features))
        return replace(self, sources=np.arange(self.columns)[:, None], columns=self.rows, view=view)


def vector(leaf: Weights, kind: int, part: tuple[int, int] | None = None) -> Edges:
    """Edges of a bias or a norm's vector, from one node; ``part`` (number, of how many) of it."""
    size = math.prod(leaf.shape)
    number, count = part or (0, 1)
    view = View(leaf.number, (count, size // count, 1), _parts(number, number + 1), (0, 1, 2))
    return Edges(kind, np.zeros((1, 1), int), size // count, view)


def embedding(leaf: Weights, kind: int) -> Edges:
    """Edges of a table, from each of its rows; of a single vector, from one node."""
    rows, columns = math.prod(leaf.shape[:-1]), leaf.shape[-1]
    view = View(leaf.number, (rows, columns, 1), _parts(), (0, 1, 2))
    return Edges(kind, np.arange(rows)[:, None], columns, view)


def fc(
    leaf: Weights,
    times: int,
    kind: int = FC,
    inputs: int | None = None,
    part: tuple[int, int] | None = None,
) -> list[Edges]:
    """Edges of a dense layer.

    Args:
        leaf: Its kernel; the last axes are outputs, the first ones inputs.
        times: How many inputs come from each neuron: the places of an image, flattened row by row
            with channels last.
        kind: Of the edges.
        inputs: How many inputs there are; None: the size of the last axis but one.
        part: Which of how many equal parts of the outputs is meant, as of a fused projection.
    """
    inputs = leaf.shape[-2] if inputs is None else inputs
    outputs = math.prod(leaf.shape) // inputs
    if part is not None:
        number, count = part
        shape = (inputs, count, outputs // count)
        # The axis of parts, of which one is taken, stands for the weights of an edge.
        view = View(leaf.number, shape, _parts(number, number + 1, axis=1), (0, 2, 1))
        return [Edges(kind, np.arange(inputs)[:, None], outputs // count, view)]
    rows = inputs // times
    return _split(leaf, (times, rows, outputs), kind, np.arange(rows)[:, None], outputs)


def conv(leaf: Weights, channels: int) -> list[Edges]:
    """Edges of a convolution's kernel ``(*places, inputs of a group, outputs)``."""
    *places, inputs, outputs = leaf.shape
    groups = channels // inputs
    group = np.arange(outputs) // (outputs // groups)
    sources = np.arange(inputs)[:, None] + (inputs * group[None] if groups > 1 else 0)
    return _split(leaf, (math.prod(places), inputs, outputs), CONV, sources, outputs)


def _split(
    leaf: Weights,
    shape: tuple[int, int, int],
    kind: int,
    sources: Int[np.ndarray, "R C"],
    columns: int,
) -> list[Edges]:
    """Edges of a leaf (weights of an edge, rows, columns), with nine weights an edge at most."""
    return [
        Edges(
            kind,
            sources,
            columns,
            View(leaf.number, shape, _parts(first, min(first + LARGEST, shape[0])), (1, 2, 0)),
            min(LARGEST, shape[0] - first),
        )
        for first in range(0, shape[0], LARGEST)
    ]


def _parts(begin: int | None = None, end: int | None = None, axis: int = 0) -> tuple[slice, ...]:
    """All of three axes, but for this range of one."""
    return tuple(slice(begin, end) if a == axis else slice(None) for a in range(3))
