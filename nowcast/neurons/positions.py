"""Where a neuron lies in the graph: eigenvectors of the graph's Laplacian.

``L = I − D^−½ A D^−½``, with ``A`` the graph without directions, weights and self-loops, and ``D``
its degrees. The features are the eigenvectors of the smallest eigenvalues but the first.

An eigenvector's sign is arbitrary, and so is the basis where eigenvalues are equal: here the entry
with the largest absolute value is positive, and the published code draws signs at random. A network
of few layers has fewer than eight eigenvalues below 1; the rest are of the eigenvalue 1, whose
space has as many dimensions as there are neurons, and no order.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

COUNT = 8
SMALL = 1500
"""Nodes up to which all eigenvectors are computed; of larger graphs only those that are needed."""
Edges = tuple[np.ndarray, np.ndarray]


def eigenvectors(blocks: Sequence[Edges], nodes: int) -> Float[np.ndarray, "P 8"]:
    """The positions of all neurons; columns of zeros where there are fewer than 9 neurons.

    Args:
        blocks: For each block of edges, the sources (R, C) and the targets (C,).
        nodes: How many neurons there are.

    Source: Dwivedi et al., "Benchmarking Graph Neural Networks", §3; Knyazev et al., §4.2.
    """
    count = min(COUNT + 1, nodes)
    if nodes <= SMALL:
        matrix = np.zeros((nodes, nodes))
        for sources, targets in blocks:
            matrix[sources, targets[None, :]] = matrix[targets[None, :], sources] = 1
        np.fill_diagonal(matrix, 0)
        root = 1 / np.sqrt(np.maximum(matrix.sum(axis=0), 1))
        _, vectors = np.linalg.eigh(np.eye(nodes) - root[:, None] * matrix * root)
        vectors = vectors[:, 1:count]
    else:
        from scipy.sparse.linalg import LinearOperator, eigsh  # which JAX itself needs

        # Where neurons have two blocks between them, the one in which all meet all counts.
        full_last = sorted(blocks, key=lambda block: block[0].shape[1] == 1)
        distinct = list({_pair(block): block for block in full_last}.values())
        root = 1 / np.sqrt(np.maximum(_times(distinct, np.ones(nodes)), 1))
        step = LinearOperator(
            (nodes, nodes), lambda x: root * _times(distinct, root * x.ravel()), dtype=float
        )
        start = np.random.default_rng(0).normal(size=nodes)
        values, vectors = eigsh(step, k=count, which="LA", v0=start, tol=1e-6)
        vectors = vectors[:, np.argsort(-values)[1:]]
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.sign(vectors[largest, np.arange(vectors.shape[1])])
    wide = np.zeros((nodes, COUNT), np.float32)
    wide[:, : vectors.shape[1]] = vectors
    return wide


def _pair(block: Edges) -> tuple[bytes, bytes]:
    """The same for blocks between the same neurons, whatever their direction."""
    sources, targets = (np.unique(part).tobytes() for part in block)
    return (sources, targets) if sources <= targets else (targets, sources)


def _times(blocks: Sequence[Edges], x: Float[np.ndarray, "P"]) -> Float[np.ndarray, "P"]:
    """The product of the graph's matrix with ``x``, without the matrix."""
    found = np.zeros_like(x)
    for sources, targets in blocks:
        if sources.shape[1] == 1:  # each source leads to each target
            found[targets] += x[sources].sum()
            found[sources[:, 0]] += x[targets].sum()
        else:
            wide = np.broadcast_to(targets[None, :], sources.shape)
            np.add.at(found, wide, x[sources])
            np.add.at(found, sources, x[wide])
    return found
