"""How many neurons a layer reads and feeds."""

import math

import numpy as np

from nowcast.neurons.layers import Attention, Layer, Weights


def sizes(layer: Layer | Attention) -> tuple[int, int]:
    """How many neurons a layer reads, and how many it feeds; a normalisation reads none."""
    if isinstance(layer, Attention):
        out = layer.projections["out"].matrix
        into = layer.projections.get("query", layer.projections.get("qkv"))
        assert out is not None
        assert into is not None
        assert into.matrix is not None
        return into.matrix.shape[0], out.shape[-1]
    leaf = layer.matrix
    if leaf is None:
        return 0, math.prod(layer.vectors[0].shape)
    if leaf.operation == "depthwise_conv":
        return leaf.shape[-1] // max(leaf.shape[-2], 1), leaf.shape[-1]
    if leaf.operation == "embedding":
        return int(np.prod(leaf.shape[:-1])), leaf.shape[-1]
    return leaf.shape[-2] * (leaf.groups or 1), leaf.shape[-1]


def places_read(layer: Layer | Attention, size: int, *, convolution: bool) -> int:
    """How many places of each of ``size`` neurons the layer reads; 0: it does not fit.

    More than one only after a ``convolution``, whose image a dense layer reads flattened.
    """
    read, gives = sizes(layer)
    if isinstance(layer, Layer) and layer.matrix is not None:
        leaf = layer.matrix
        if leaf.operation == "depthwise_conv":
            return int(gives % size == 0 and leaf.shape[-2] == 1)
        if leaf.operation == "conv" and leaf.groups is None:
            return int(size % read == 0 and gives % (size // read) == 0)
        if leaf.operation == "fc" and convolution and read % size == 0:
            return read // size
    return int(read == size)


def is_embedding(layer: Layer | Attention) -> bool:
    """Whether it is a table of vectors."""
    return (
        isinstance(layer, Layer)
        and layer.matrix is not None
        and layer.matrix.operation == "embedding"
    )


def first(layer: Layer | Attention) -> Weights:
    """A leaf of the layer, its matrix if it has one."""
    if isinstance(layer, Attention):
        return first(next(iter(layer.projections.values())))
    return layer.matrix or layer.vectors[0]
