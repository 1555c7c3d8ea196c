"""Operations: read off a module's type, guessed for a bare pytree, matched by path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import nowcast
from collect.models import MODELS


class Everything(nnx.Module):
    """A layer of every kind that has an operation of its own."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.conv1d = nnx.Conv(3, 8, (3,), rngs=rngs)
        self.grouped = nnx.Conv(8, 8, (3, 3), feature_group_count=2, rngs=rngs)
        self.depthwise = nnx.Conv(8, 8, (3, 3), feature_group_count=8, rngs=rngs)
        self.grey = nnx.Conv(1, 8, (3, 3), rngs=rngs)  # a depthwise kernel's shape, and no depthwise kernel
        self.up = nnx.ConvTranspose(8, 4, (3, 3), rngs=rngs)
        self.batch_norm = nnx.BatchNorm(8, rngs=rngs)
        self.layer_norm = nnx.LayerNorm(8, rngs=rngs)
        self.group_norm = nnx.GroupNorm(8, num_groups=2, rngs=rngs)
        self.embed = nnx.Embed(10, 4, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(num_heads=2, in_features=8, decode=False, rngs=rngs)
        self.recurrent = nnx.OptimizedLSTMCell(4, 4, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs), nnx.Linear(4, 4, use_bias=False, rngs=rngs)])
        self.own = nnx.Param(jnp.zeros((3, 3)))
        self.counter = nnx.Variable(jnp.zeros(()))


@pytest.fixture(scope="module")
def model():
    return Everything(nnx.Rngs(0))


def params_of(model):
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def test_labels_by_the_type_of_the_module(model):
    labels = nowcast.label_ops(model)
    conv, norm = {"kernel": "conv", "bias": "bias"}, {"scale": "norm", "bias": "norm"}
    for name in ("conv", "conv1d", "grouped", "grey", "up"):
        assert labels[name] == conv, name
    assert labels["depthwise"] == {"kernel": "depthwise_conv", "bias": "bias"}
    for name in ("batch_norm", "layer_norm", "group_norm"):
        assert labels[name] == norm, name
    assert labels["embed"] == {"embedding": "embedding"}
    assert labels["layers"] == {0: {"kernel": "fc", "bias": "bias"}, 1: {"kernel": "fc"}}
    assert labels["attention"]["query"] == {"kernel": "fc", "bias": "bias"}  # rank 3, and no convolution
    assert labels["own"] == "other"
    assert "counter" not in labels


def test_an_lstm_cell_is_made_of_fully_connected_layers(model):
    labels = nowcast.label_ops(model)["recurrent"]
    shapes = jax.tree.map(lambda p: p.ndim, params_of(model)["recurrent"])
    assert jax.tree.leaves(labels) == [{1: "bias", 2: "fc"}[rank] for rank in jax.tree.leaves(shapes)]
    assert set(jax.tree.leaves(labels)) == {"bias", "fc"}


def test_labels_have_the_structure_of_the_parameters(model):
    assert jax.tree.structure(nowcast.label_ops(model)) == jax.tree.structure(params_of(model))


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_of_ours_is_labelled_without_a_guess(name):
    model = nnx.eval_shape(lambda: MODELS[name]((32, 32, 3), 10, rngs=nnx.Rngs(0)))
    labels, params = nowcast.label_ops(model), params_of(model)
    assert jax.tree.structure(labels) == jax.tree.structure(params)
    assert "other" not in jax.tree.leaves(labels)
    ranks = {"conv": 4, "depthwise_conv": 4, "fc": 2, "embedding": 2, "bias": 1, "norm": 1}
    assert jax.tree.leaves(jax.tree.map(lambda p: p.ndim, params)) == [ranks[op] for op in jax.tree.leaves(labels)]


@pytest.mark.parametrize(
    ("path", "shape", "expected"),
    [
        (("Embed_0", "embedding"), (10, 4), "embedding"),
        (("wte", "kernel"), (10, 4), "embedding"),
        (("BatchNorm_0", "bias"), (4,), "norm"),
        (("bn1", "weight"), (4,), "norm"),
        (("ln_f", "w"), (4,), "norm"),
        (("block", "scale"), (4,), "norm"),
        (("block", "gamma"), (1, 4), "norm"),
        (("Dense_0", "bias"), (4,), "bias"),
        (("Dense_0", "b"), (1, 4), "bias"),
        (("anything", "v"), (4,), "bias"),
        (("Dense_0", "kernel"), (4, 5), "fc"),
        (("Conv_0", "kernel"), (3, 4, 5), "conv"),
        (("Conv_0", "kernel"), (3, 3, 4, 5), "conv"),
        (("Conv_0", "kernel"), (3, 3, 3, 4, 5), "conv"),
        (("depthwise", "kernel"), (3, 3, 1, 32), "depthwise_conv"),
        (("conv_dw", "kernel"), (3, 3, 1, 32), "depthwise_conv"),
        (("Conv_0", "kernel"), (3, 3, 1, 32), "conv"),
        (("temperature",), (), "other"),
        (("odd", "kernel"), (2, 2, 2, 2, 2, 2), "other"),
        (("abnormal", "kernel"), (4, 5), "fc"),  # not every "norm" in a name is a normalisation
    ],
)  # fmt: skip
def test_guesses_for_a_bare_pytree(path, shape, expected):
    tree = np.zeros(shape)
    for part in reversed(path):
        tree = {part: tree}
    assert jax.tree.leaves(nowcast.label_ops(tree)) == [expected]


def test_a_window_in_front_does_not_change_the_guess():
    history = {"w": jnp.arange(5.0)[:, None] * jnp.ones((1, 3)), "t": jnp.arange(5.0)}
    got = nowcast.forecast(nowcast.load("linear"), history)
    np.testing.assert_allclose(got["w"], 9)
    np.testing.assert_allclose(got["t"], 9)


def test_an_nnx_state_of_variables_takes_the_labels_of_its_module(model):
    state = nnx.state(model, nnx.Param)
    history = jax.tree.map(lambda p: jnp.stack([jnp.zeros_like(p)] * 4 + [jnp.ones_like(p)]), state)
    got = nowcast.forecast(nowcast.load("linear"), history, labels=nowcast.label_ops(model))
    assert jax.tree.structure(got) == jax.tree.structure(state)
    expected = np.polyval(np.polyfit(range(5), [0, 0, 0, 0, 1], 1), 9)
    jax.tree.map(lambda g, p: np.testing.assert_allclose(g, np.full(p.shape, expected), rtol=1e-4), got, state)


def test_labels_are_matched_by_path_not_by_order():
    history = {"a": jnp.arange(5.0), "b": jnp.arange(5.0)}

    class ForB(nowcast.Forecaster):
        name = "for_b"

        def serves(self, operation):
            return operation == "fc"

        def leaf(self, history, operation, horizon):
            return history[-1] + 100

    got = nowcast.forecast(ForB(), history, labels={"b": "fc", "a": "norm"})
    assert (got["a"], got["b"]) == (4, 104)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"head": {"kernel": "fc"}}, "'head/bias'"),
        ({"head": {"kernel": "fc", "bias": "biass"}}, "'biass' of leaf 'head/bias'"),
        ({"tail": {"kernel": "fc", "bias": "bias"}}, "'head/"),
        ("fc", "'head/"),
    ],
)
def test_labels_that_do_not_fit_are_refused_with_the_leaf(labels, said):
    history = {"head": {"kernel": jnp.zeros((5, 2, 2)), "bias": jnp.zeros((5, 2))}}
    with pytest.raises(nowcast.UserError) as caught:
        nowcast.forecast(nowcast.load("linear"), history, labels=labels)
    assert said in str(caught.value)
