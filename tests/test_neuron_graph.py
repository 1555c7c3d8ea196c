"""A network's neuron graph: every weight is an edge, where the network multiplies by it."""

from collections import Counter

import jax
import numpy as np
import pytest
from flax import linen, nnx
from networks import shapes_only

import nowcast
from collect.models.gpt import GPT
from nowcast.neurons import neuron_graph
from nowcast.neurons.positions import eigenvectors


def edges(graph):
    """``(source, target, kind)`` of every edge."""
    found = []
    for block in graph.blocks:
        shape = (block.rows, len(block.targets))
        both = (np.broadcast_to(part, shape).ravel() for part in (block.sources, block.targets))
        found += [(int(s), int(t), block.kind) for s, t in zip(*both, strict=True)]
    return found


def zeros(**shapes):
    return jax.tree.map(np.zeros, shapes, is_leaf=lambda node: isinstance(node, tuple))


def kinds(graph):
    return [(b.kind, b.rows, len(b.targets), b.features) for b in graph.blocks]


def test_a_dense_network_is_its_drawing():
    graph = neuron_graph(zeros(fc1={"kernel": (2, 3), "bias": (3,)}, fc2={"kernel": (3, 1)}))
    # Inputs 0 and 1, the bias 2, hidden 3 to 5, and the output 6.
    hidden = [(s, t, 1) for s in (0, 1) for t in (3, 4, 5)]
    expected = [*hidden, *((2, t, 2) for t in (3, 4, 5)), *((s, 6, 1) for s in (3, 4, 5))]
    assert sorted(edges(graph)) == sorted(expected)
    assert graph.nodes == 7
    np.testing.assert_array_equal(graph.incoming, [1, 1, 1, 4, 4, 4, 4])


def test_a_convolutional_network_has_norms_flat_images_and_kernels_of_many_weights():
    net = zeros(
        conv1={"kernel": (5, 5, 1, 4), "bias": (4,)},
        bn1={"scale": (4,), "bias": (4,)},
        conv2={"kernel": (3, 3, 4, 6)},
        fc1={"kernel": (4 * 6, 10)},
    )
    assert kinds(neuron_graph(net)) == [
        *((3, 1, 4, f) for f in (9, 9, 7)),  # 25 weights an edge: three edges
        (2, 1, 4, 1),
        (2, 1, 4, 1),
        (4, 1, 4, 1),
        (3, 4, 6, 9),
        (1, 6, 10, 4),  # an image of four places, flattened
    ]


def test_a_view_takes_the_weights_of_its_edges_and_puts_them_back():
    net = {"conv1": {"kernel": np.zeros((3, 3, 2, 4))}, "fc": {"kernel": np.zeros((8, 5))}}
    conv, fc = neuron_graph(net).blocks
    kernel = np.arange(72.0, dtype=np.float32).reshape(1, 3, 3, 2, 4)
    taken = np.asarray(conv.view.of(jax.numpy.asarray(kernel)))[0]
    assert taken[1, 2].tolist() == kernel[0, :, :, 1, 2].ravel().tolist()
    weights = np.arange(40.0, dtype=np.float32).reshape(1, 8, 5)
    taken = np.asarray(fc.view.of(jax.numpy.asarray(weights)))[0]
    assert taken[3, 2].tolist() == [weights[0, 3, 2], weights[0, 4 + 3, 2]]  # channels are last
    back = fc.view.put(jax.numpy.zeros((8, 5)), jax.numpy.asarray(taken))
    np.testing.assert_array_equal(back, weights[0])


def test_depthwise_and_grouped_convolutions_stay_within_their_groups():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.start = nnx.Conv(3, 4, (1, 1), use_bias=False, rngs=rngs)
            self.depthwise = nnx.Conv(
                4, 8, (3, 3), feature_group_count=4, use_bias=False, rngs=rngs
            )
            self.grouped = nnx.Conv(8, 6, (1, 1), feature_group_count=2, use_bias=False, rngs=rngs)

    found = edges(neuron_graph(nnx.eval_shape(lambda: Net(nnx.Rngs(0)))))
    # Neurons: 3 inputs, 4, 8 and 6.
    assert {(s, t) for s, t, _ in found if 7 <= t < 15} == {(3 + i // 2, 7 + i) for i in range(8)}
    assert {(s, t) for s, t, _ in found if t >= 15} == {
        (7 + 4 * (o // 3) + i, 15 + o) for o in range(6) for i in range(4)
    }


def test_a_shortcut_leads_around_and_depth_does_not_matter():
    net = {
        "stem": {"kernel": (3, 3, 3, 4)},
        "block_10": {"conv1": {"kernel": (3, 3, 8, 8)}, "bn1": {"scale": (8,)}},
        "block_2": {
            "conv1": {"kernel": (3, 3, 4, 8)},
            "conv2": {"kernel": (3, 3, 8, 8)},
            "shortcut": {"kernel": (1, 1, 4, 8)},
        },
        "head": {"kernel": (8, 10)},
    }
    graph = neuron_graph(zeros(**net))
    # 3 inputs; 4 of the stem; 8, 8 and 8 of the blocks, with a norm before the last; 10 outputs.
    pairs = [(int(b.sources.min()), int(b.targets.min()), len(b.targets)) for b in graph.blocks]
    assert pairs == [
        *[(0, 3, 4), (3, 7, 8), (7, 15, 8), (3, 15, 8)],
        *[(15, 24, 8), (23, 24, 8), (24, 32, 10)],
    ]


def gpt(**settings):
    return GPT(11, layers=1, heads=2, width=4, context=6, rngs=nnx.Rngs(0), **settings)


@pytest.mark.parametrize("how", ["module", "merged", "params"])
def test_a_transformer_has_attention_heads_and_residuals(how):
    model = gpt()
    if how == "merged":  # its attributes are sorted by name
        model = nnx.merge(*nnx.split(model))
    if how == "params":
        model = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    graph = neuron_graph(model, heads=2)
    assert kinds(graph) == [
        (5, 11, 4, 1),  # tokens
        (6, 6, 4, 1),  # places, to the same neurons
        *[(2, 1, 4, 1), (4, 1, 4, 1)],  # the first norm
        *[(7, 4, 4, 1), (2, 1, 4, 1), (8, 4, 4, 1), (2, 1, 4, 1), (9, 4, 4, 1), (2, 1, 4, 1)],
        *[(11, 1, 4, 1), (11, 1, 4, 1)],  # heads, to queries and values
        *[(1, 4, 4, 1), (2, 1, 4, 1), (10, 1, 4, 1)],  # the output and the residual
        *[(2, 1, 4, 1), (4, 1, 4, 1)],  # the second norm
        *[(1, 4, 16, 1), (2, 1, 16, 1), (1, 16, 4, 1), (2, 1, 4, 1), (10, 1, 4, 1)],
        *[(2, 1, 4, 1), (4, 1, 4, 1)],
    ]
    query, key = (next(b for b in graph.blocks if b.kind == kind) for kind in (7, 8))
    # The key's edges lead back from the neurons that the query's lead to.
    np.testing.assert_array_equal(query.targets, key.sources[:, 0])
    np.testing.assert_array_equal(query.sources[:, 0], key.targets)
    assert sum(b.rows * len(b.targets) * b.features for b in graph.blocks if b.view) == sum(
        leaf.size for leaf in jax.tree.leaves(nnx.state(gpt(), nnx.Param))
    )


class LinenBlock(linen.Module):
    """A transformer's block in Linen."""

    @linen.compact
    def __call__(self, x):
        x = x + linen.MultiHeadDotProductAttention(num_heads=2)(linen.LayerNorm()(x))
        return x + linen.Dense(4)(jax.nn.gelu(linen.Dense(16)(linen.LayerNorm()(x))))


def test_attention_of_linen_and_of_nnx_are_the_same():
    x = np.zeros((1, 3, 4), np.float32)
    params = linen.unbox(LinenBlock().init(jax.random.key(0), x))["params"]
    found = Counter(b.kind for b in neuron_graph(params).blocks)
    assert found == Counter({1: 3, 2: 8, 4: 2, 7: 1, 8: 1, 9: 1, 10: 2, 11: 2})
    attention = nnx.MultiHeadAttention(num_heads=2, in_features=4, decode=False, rngs=nnx.Rngs(0))
    alone = neuron_graph(attention)
    inside = neuron_graph({"attention": params["MultiHeadDotProductAttention_0"]})
    assert kinds(alone) == kinds(inside)
    # 4 inputs, the biases of queries and keys, 4 neurons of both, and the heads 10 and 11.
    heads = [b for b in alone.blocks if b.kind == 11]
    assert [b.sources[0].tolist() for b in heads] == [[10, 10, 11, 11]] * 2


WIRED = ["mlp", "lenet", "vanilla_cnn", "vgg", "nino_cnn", "mobilenet_v2", "resnet", "resnet18"]


@pytest.mark.parametrize("name", WIRED)
def test_every_weight_of_an_architecture_is_the_weight_of_one_edge(name):
    model = shapes_only(name)
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    for net in (model, params):
        graph = neuron_graph(net)
        held = Counter()
        for block in graph.blocks:
            held[block.view.leaf] += block.rows * len(block.targets) * block.features
        assert held == {n: leaf.size for n, leaf in enumerate(jax.tree.leaves(params))}
        # Nothing stands apart, and every neuron has a number of its own.
        seen = {node for s, t, _ in edges(graph) for node in (s, t)} if name != "vgg" else None
        assert seen in (None, set(range(graph.nodes)))


NO_PLACE = {
    "shufflenet_v2": (lambda: shapes_only("shufflenet_v2"), "kernel"),
    "lstm": (lambda: shapes_only("lstm"), "cell/dense_i/kernel"),
    "vector": (lambda: zeros(fc={"kernel": (2, 3)}, other={"scale": (7,)}), "other/scale"),
    "several": (lambda: zeros(net={"w1": (2, 3), "w2": (3, 4), "b": (4,)}), "net/b"),
    "branch": (lambda: zeros(a={"kernel": (2, 3)}, b={"kernel": (5, 4)}), "b/kernel"),
    "bias": (lambda: zeros(a={"kernel": (2, 3), "bias": (2,)}), "a/bias"),
    "nothing": (dict, "the network"),
}


@pytest.mark.parametrize(
    "what",
    [pytest.param(what, marks=[pytest.mark.slow] * (what == "shufflenet_v2")) for what in NO_PLACE],
)
def test_what_has_no_place_is_named_in_one_line(what):
    make, named = NO_PLACE[what]
    with pytest.raises(nowcast.UserError, match="the neuron graph has no place for") as caught:
        neuron_graph(make())
    assert named in str(caught.value)
    assert "wnn_plus, which needs no graph" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_matrices_beside_one_another_have_the_vectors_of_their_numbers():
    net = zeros(w1=(2, 3), b1=(3,), w2=(3, 4), b2=(4,))
    assert kinds(neuron_graph(net)) == [(1, 2, 3, 1), (2, 1, 3, 1), (1, 3, 4, 1), (2, 1, 4, 1)]
    flat = zeros(**{"fc.0.weight": (2, 3), "fc.0.bias": (3,), "fc.2.weight": (3, 4)})
    assert kinds(neuron_graph(flat)) == [(1, 2, 3, 1), (2, 1, 3, 1), (1, 3, 4, 1)]


def laplacian(blocks, nodes):
    matrix = np.zeros((nodes, nodes))
    for sources, targets in blocks:
        matrix[sources, targets[None]] = matrix[targets[None], sources] = 1
    np.fill_diagonal(matrix, 0)
    root = 1 / np.sqrt(matrix.sum(axis=0))
    return np.eye(nodes) - root[:, None] * matrix * root


@pytest.mark.parametrize("large", [False, True])
def test_positions_are_eigenvectors_of_the_smallest_eigenvalues_but_the_first(monkeypatch, large):
    if large:
        monkeypatch.setattr("nowcast.neurons.positions.SMALL", 0)
    for net in (gpt(), shapes_only("resnet")):
        graph = neuron_graph(net)
        blocks = [(b.sources, b.targets) for b in graph.blocks]
        matrix = laplacian(blocks, graph.nodes)
        got = eigenvectors(blocks, graph.nodes).astype(float)
        values = np.diag(got.T @ matrix @ got)
        np.testing.assert_allclose(got.T @ got, np.eye(8), atol=1e-4)
        np.testing.assert_allclose(matrix @ got, got * values, atol=1e-3)
        np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix)[1:9], atol=1e-4)
        assert (got.max(axis=0) >= -got.min(axis=0) - 1e-6).all()
