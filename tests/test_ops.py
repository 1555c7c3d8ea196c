"""Operations: read off a module's type, guessed for a bare pytree, matched by path."""

import io
import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from networks import shapes_only

import nowcast
from collect.models import MODELS


class Everything(nnx.Module):
    """A layer of every kind that has an operation of its own."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.conv1d = nnx.Conv(3, 8, (3,), rngs=rngs)
        self.grouped = nnx.Conv(8, 8, (3, 3), feature_group_count=2, rngs=rngs)
        self.depthwise = nnx.Conv(8, 8, (3, 3), feature_group_count=8, rngs=rngs)
        # A depthwise kernel's shape, and no depthwise kernel.
        self.grey = nnx.Conv(1, 8, (3, 3), rngs=rngs)
        self.up = nnx.ConvTranspose(8, 4, (3, 3), rngs=rngs)
        self.batch_norm = nnx.BatchNorm(8, rngs=rngs)
        self.layer_norm = nnx.LayerNorm(8, rngs=rngs)
        self.group_norm = nnx.GroupNorm(8, num_groups=2, rngs=rngs)
        self.embed = nnx.Embed(10, 4, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(num_heads=2, in_features=8, decode=False, rngs=rngs)
        self.recurrent = nnx.OptimizedLSTMCell(4, 4, rngs=rngs)
        self.layers = nnx.List(
            [nnx.Linear(4, 4, rngs=rngs), nnx.Linear(4, 4, use_bias=False, rngs=rngs)]
        )
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
    # Rank 3, and no convolution.
    assert labels["attention"]["query"] == {
        "kernel": "fc",
        "bias": "bias",
    }
    assert labels["own"] == "other"
    assert "counter" not in labels


def test_an_lstm_cell_is_made_of_fully_connected_layers(model):
    labels = nowcast.label_ops(model)["recurrent"]
    shapes = jax.tree.map(lambda p: p.ndim, params_of(model)["recurrent"])
    assert jax.tree.leaves(labels) == [
        {1: "bias", 2: "fc"}[rank] for rank in jax.tree.leaves(shapes)
    ]
    assert set(jax.tree.leaves(labels)) == {"bias", "fc"}


def test_labels_have_the_structure_of_the_parameters(model):
    assert jax.tree.structure(nowcast.label_ops(model)) == jax.tree.structure(params_of(model))


@pytest.mark.parametrize(
    "name",
    # test_architectures.py counts the operations of the deepest ones
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in ("densenet", "shufflenet_v2")))
        for name in MODELS
    ],
)
def test_every_architecture_of_ours_is_labelled_without_a_guess(name):
    model = shapes_only(name)
    labels, params = nowcast.label_ops(model), params_of(model)
    assert jax.tree.structure(labels) == jax.tree.structure(params)
    assert "other" not in jax.tree.leaves(labels)
    ranks = {"conv": 4, "depthwise_conv": 4, "fc": 2, "embedding": 2, "bias": 1, "norm": 1}
    assert jax.tree.leaves(jax.tree.map(lambda p: p.ndim, params)) == [
        ranks[op] for op in jax.tree.leaves(labels)
    ]


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
        (("attention", "query", "kernel"), (8, 2, 4), "fc"),  # Linen's attention: a head is an axis
        (("attention", "value", "kernel"), (8, 2, 4), "fc"),
        (("attention", "out", "kernel"), (2, 4, 8), "fc"),
        (("attention", "query", "bias"), (2, 4), "bias"),
        (("ScanBlock_0", "Dense_0", "kernel"), (3, 8, 8), "fc"),  # scanned: a layer is an axis
        (("ScanBlock_0", "Dense_0", "bias"), (3, 8), "bias"),
        (("ScanBlock_0", "LayerNorm_0", "bias"), (3, 8), "norm"),
        (("ScanBlock_0", "OptimizedLSTMCell_0", "hf", "kernel"), (3, 8, 8), "fc"),
        (("ConvLSTMCell_0", "hh", "kernel"), (3, 3, 4, 16), "conv"),
        (("DenseGeneral_3", "kernel"), (8, 2, 3), "fc"),
        (("linear_1", "w"), (6, 8, 8), "fc"),
        (("mlp/~/linear_0", "w"), (6, 8, 8), "fc"),  # Haiku, stacked
        (("proj", "kernel"), (2, 4, 8), "fc"),
        (("c_proj", "kernel"), (2, 4, 8), "fc"),
        (("conv_proj", "kernel"), (1, 1, 4, 8), "conv"),
        (("attn", "qkv", "kernel"), (8, 3, 2, 4), "fc"),
        (("attn", "qkv"), (8, 3, 8), "fc"),
        (("mlp_in", "kernel"), (3, 8, 8), "fc"),
        (("mlp", "0", "kernel"), (3, 8, 8), "fc"),
        (("norms", "0", "weight"), (3, 8), "norm"),
        (("cls",), (1, 1, 8), "embedding"),
        (("vit", "cls_token"), (1, 1, 8), "embedding"),
        (("cls", "dense", "kernel"), (4, 8), "fc"),  # the head of a BERT
        (("pos_embed",), (1, 17, 8), "embedding"),
        (("pos_emb",), (1, 17, 8), "embedding"),
        (("gpt", "wpe"), (16, 8), "embedding"),
        (("gpt", "wte"), (2, 50, 8), "embedding"),
        (("DenseBlock_0", "Conv_0", "kernel"), (3, 3, 4, 5), "conv"),
        (("filters",), (3, 3, 4, 5), "conv"),
        (("filters",), (3, 4, 5), "conv"),
        (("layers", "0", "w"), (3, 3, 3, 4, 5), "conv"),
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
    jax.tree.map(
        lambda g, p: np.testing.assert_allclose(g, np.full(p.shape, expected), rtol=1e-4),
        got,
        state,
    )


def test_labels_are_matched_by_path_not_by_order():
    history = {"a": jnp.arange(5.0), "b": jnp.arange(5.0)}

    class ForB(nowcast.Forecaster):
        name = "for_b"

        def can_forecast(self, operation):
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


def test_linens_own_layers_are_labelled_by_their_names():
    class Block(linen.Module):
        @linen.compact
        def __call__(self, x, _):
            x = linen.LayerNorm()(x + linen.MultiHeadDotProductAttention(num_heads=2)(x, x))
            return linen.Dense(8)(x), None

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            cls = self.param("cls", linen.initializers.zeros, (1, 1, 8))
            x = jnp.concatenate([jnp.broadcast_to(cls, (len(x), 1, 8)), x], axis=1)
            stacked = linen.scan(
                Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3
            )
            return stacked()(x, None)[0]

    params = jax.eval_shape(lambda: Net().init(jax.random.key(0), jnp.ones((1, 4, 8))))["params"]
    with_bias = {"kernel": "fc", "bias": "bias"}
    assert nowcast.label_ops(params) == {
        "cls": "embedding",
        "ScanBlock_0": {
            "Dense_0": with_bias,
            "LayerNorm_0": {"scale": "norm", "bias": "norm"},
            "MultiHeadDotProductAttention_0": dict.fromkeys(
                ("query", "key", "value", "out"), with_bias
            ),
        },
    }


def test_lora_and_einsum_are_fully_connected_and_parameters_in_containers_are_other(capsys):
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.lora = nnx.LoRA(3, 2, 4, rngs=rngs)
            self.with_lora = nnx.LoRALinear(3, 4, lora_rank=2, rngs=rngs)
            self.einsum = nnx.Einsum("nta,hab->nthb", (8, 2, 4), (8, 4), rngs=rngs)
            self.w = nnx.data({"a": nnx.Param(jnp.ones((2, 2)))})
            self.several = nnx.List(
                [nnx.Param(jnp.ones(2)), nnx.Linear(2, 2, use_bias=False, rngs=rngs)]
            )

    model, lora = Net(nnx.Rngs(0)), {"lora_a": "fc", "lora_b": "fc"}
    labels = nowcast.label_ops(model)
    assert labels == {
        "lora": lora,
        "with_lora": {"kernel": "fc", "bias": "bias", "lora": lora},
        "einsum": {"kernel": "fc", "bias": "bias"},
        "w": {"a": "other"},
        "several": {0: "other", 1: {"kernel": "fc"}},
    }
    assert jax.tree.structure(labels) == jax.tree.structure(params_of(model))
    nowcast.explain(model)
    out = capsys.readouterr().out
    assert "w/a" in out
    assert "?" not in out  # types tell all


class Own(nnx.Module):
    """Parameters that a module of one's own holds itself."""

    def __init__(self, rngs):
        shapes = {
            "cls": (1, 1, 8),
            "cls_token": (1, 1, 8),
            "pos_embed": (1, 17, 8),
            "wte": (50, 8),
            "wpe": (16, 8),
            "scale": (8,),
            "kernel": (8, 8),
            "filters": (3, 3, 4, 5),
            "bias": (8,),
            "qkv": (8, 3, 8),
            "gain": (8,),
            "w": (4, 4),
        }
        for name, shape in shapes.items():
            setattr(self, name, nnx.Param(jnp.zeros(shape)))
        self.data = nnx.Param(
            {"q": jnp.zeros((2, 2)), "more": [jnp.zeros(2), {"bias": jnp.zeros(3)}]}
        )
        self.einsum = nnx.Einsum("nta,hab->nthb", (8, 2, 4), rngs=rngs)
        self.general = nnx.LinearGeneral(4, (2, 3), rngs=rngs)


def test_parameters_of_a_module_of_ones_own_go_by_their_names(capsys):
    model = Own(nnx.Rngs(0))
    expected = {
        "cls": "embedding",
        "cls_token": "embedding",
        "pos_embed": "embedding",
        "wte": "embedding",
        "wpe": "embedding",
        "scale": "norm",
        "kernel": "fc",
        "filters": "other",
        "bias": "bias",
        "qkv": "fc",
        "gain": "other",
        "w": "other",
        "data": {"q": "other", "more": ["other", {"bias": "bias"}]},
        "einsum": {"kernel": "fc"},
        "general": {"kernel": "fc", "bias": "bias"},
    }
    assert nowcast.label_ops(model) == expected
    assert nowcast.label_ops(nnx.eval_shape(lambda: Own(nnx.Rngs(0)))) == expected
    nowcast.explain(model, nowcast.load("linear"))
    lines = capsys.readouterr().out.splitlines()
    # By its rank alone.
    assert [line.split()[0] for line in lines if "?" in line.split()[2]] == ["kernel"]
    assert "data/more/1/bias" in [line.split()[0] for line in lines]


def test_a_dict_in_one_param_jumps_as_others_do():
    class Net(nnx.Module):
        def __init__(self):
            self.data = nnx.Param({"q": jnp.zeros(2), "more": [jnp.zeros(2)]})

    tx, state = (
        nowcast.Jumps(forecaster=nowcast.load("linear"), every=1),
        nnx.state(Net(), nnx.Param),
    )
    tx = replace(tx, labels=nowcast.label_ops(Net()))
    assert tx.labels == {"data": {"q": "other", "more": ["other"]}}
    for params in (state, nnx.to_pure_dict(state)):
        tx.step(params, tx.init(params))


def test_a_state_has_no_types_and_explain_says_so(capsys):
    state = nnx.state(Own(nnx.Rngs(0)), nnx.Param)
    assert nowcast.label_ops(state)["general"]["kernel"].get_value() == "conv"  # a guess
    nowcast.explain(state)
    out = capsys.readouterr().out
    assert {
        line.split()[2] for line in out.splitlines() if line.startswith(("general/kernel", "cls "))
    } == {
        "conv?",
        "embedding",
    }
    assert "an nnx.State has no types: pass the module for exact labels" in out


def test_explain_prints_on_any_terminal(monkeypatch):
    for encoding, shown in (("ascii", "4x3    fc         -"), ("utf-8", "4×3    fc         —")):
        stream = io.TextIOWrapper(io.BytesIO(), encoding)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", stream)
            nowcast.explain(
                {"naïve": {"kernel": np.zeros((4, 3))}},
                labels={"naïve": {"kernel": "fc"}},
                operations=["bias"],
            )
            stream.flush()
        assert shown in stream.buffer.getvalue().decode(encoding)


def test_equinox_modules_are_labelled_by_their_types():
    eqx = pytest.importorskip("equinox")
    keys = jax.random.split(jax.random.key(0), 8)

    class Net(eqx.Module):
        tok: eqx.nn.Embedding
        body: eqx.nn.Sequential
        heads: eqx.nn.Linear
        attention: eqx.nn.MultiheadAttention
        cell: eqx.nn.GRUCell
        depthwise: eqx.nn.Conv2d

        def __init__(self):
            self.tok = eqx.nn.Embedding(10, 4, key=keys[0])
            layers = [eqx.nn.Conv2d(3, 4, 3, key=keys[1]), eqx.nn.LayerNorm(4), eqx.nn.PReLU()]
            self.body = eqx.nn.Sequential(layers)
            self.heads = eqx.filter_vmap(lambda key: eqx.nn.Linear(4, 4, key=key))(keys)
            self.attention = eqx.nn.MultiheadAttention(2, 4, key=keys[2])
            self.cell = eqx.filter_vmap(lambda key: eqx.nn.GRUCell(4, 4, key=key))(keys)
            self.depthwise = eqx.nn.Conv2d(4, 4, 3, groups=4, key=keys[3])

    labels = nowcast.label_ops(eqx.filter(Net(), eqx.is_inexact_array))
    assert labels.tok.weight == "embedding"
    conv, norm, prelu = labels.body.layers
    assert (conv.weight, conv.bias, norm.weight, norm.bias) == ("conv", "bias", "norm", "norm")
    assert prelu.negative_slope == "other"
    assert (labels.heads.weight, labels.heads.bias) == ("fc", "bias")
    assert labels.attention.query_proj.weight == "fc"
    assert (labels.cell.weight_ih, labels.cell.weight_hh, labels.cell.bias, labels.cell.bias_n) == (
        "fc",
        "fc",
        "bias",
        "bias",
    )
    assert (labels.depthwise.weight, labels.depthwise.bias) == ("depthwise_conv", "bias")
    history = jax.tree.map(lambda p: jnp.stack([p] * 5), eqx.filter(Net(), eqx.is_inexact_array))
    given = nowcast.forecast(nowcast.load("linear"), history, labels=labels)
    assert given.tok.weight.shape == (10, 4)


def test_a_leaf_called_value_keeps_its_name(capsys):
    params = {"attn": {"value": jnp.zeros((4, 2, 4)), "query": jnp.zeros((4, 2, 4))}}
    assert nowcast.label_ops(params) == {"attn": {"query": "fc", "value": "fc"}}
    nowcast.explain(params)
    assert "attn/value " in capsys.readouterr().out
    history = jax.tree.map(lambda p: jnp.stack([p] * 5), params)
    with pytest.raises(nowcast.UserError, match="'attn/value'"):
        nowcast.forecast(nowcast.load("linear"), history, labels={"attn": {"query": "fc"}})
    jumps = nowcast.Jumps(forecaster=nowcast.load("linear"), every=1)
    with pytest.raises(nowcast.UserError, match="leaf 'attn/value' is gone"):
        jumps.step({"attn": {"query": params["attn"]["query"]}}, jumps.init(params))


def test_explain_marks_what_the_rank_alone_tells(capsys):
    params = {
        "Dense_0": {"kernel": np.zeros((4, 3))},
        "w": np.zeros((4, 3)),
        "filters": np.zeros((3, 3, 2, 2)),
    }
    nowcast.explain(
        params | {"gain": np.zeros(3), "temperature": np.zeros(())}, nowcast.load("linear")
    )
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0]: line.split()[2] for line in lines[1:6]} == {
        "Dense_0/kernel": "fc",
        "filters": "conv?",
        "gain": "bias?",
        "temperature": "other",
        "w": "fc?",
    }
    assert lines[-1] == "? guessed from the number of axes alone: pass labels= where it is wrong"
    labels = {"Dense_0": {"kernel": "fc"}, "w": "fc", "filters": "fc"}
    nowcast.explain(params, nowcast.load("linear"), labels=labels)
    assert "?" not in capsys.readouterr().out


def test_nowcast_does_not_import_flax_or_equinox():
    code = (
        "import sys, nowcast; nowcast.label_ops({'w': 1.0}); sys.exit(bool({'flax', 'equinox'} &"
        " set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_parameters_in_linens_boxes_go_by_their_names(capsys):
    def boxed(*shape):
        return linen.Partitioned(jnp.ones(shape), (None,) * len(shape))

    params = {
        "conv1": {"kernel": boxed(3, 3, 2, 4), "bias": boxed(4)},
        "LayerNorm_0": {"scale": boxed(4), "bias": boxed(4)},
        "value": {"kernel": boxed(4, 2, 2)},
    }
    labels = jax.tree.map(
        lambda box: box.value,
        nowcast.label_ops(params),
        is_leaf=lambda node: hasattr(node, "value"),
    )
    assert labels == {
        "conv1": {"kernel": "conv", "bias": "bias"},
        "LayerNorm_0": {"scale": "norm", "bias": "norm"},
        "value": {"kernel": "fc"},
    }
    nowcast.explain(params)
    assert "conv1/kernel " in capsys.readouterr().out
