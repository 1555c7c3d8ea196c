"""Transfer: public weights of PVTv2 in the layouts of PyTorch and Keras, against a rendering of the
network in PyTorch's layout; runs that begin from a file or a corpus; what is refused.
"""

import json

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

import nowcast
from collect import corpus
from collect.config import (
    AugmentConfig,
    CollectConfig,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
)
from collect.models.pvt_v2 import STAGES, PVTv2
from collect.models.pvt_v2_weights import translated
from collect.population import collect_population
from collect.tasks import Transfer, weights
from collect.tasks.transfer import HEAD
from nowcast.ops import path_name

SIZES = [round(heads * 32 / 8) for heads, _, _ in STAGES]  # of width 1/8


def of_pytorch(sizes=SIZES, seed=0):
    """Random weights by the names and with the axes of timm's program."""
    rng, made = np.random.default_rng(seed), {}

    def add(name, *shape, scale=0.3):
        made[f"{name}.weight"] = scale * rng.normal(size=shape).astype(np.float32)
        made[f"{name}.bias"] = 0.1 * rng.normal(size=shape[0]).astype(np.float32)

    def norm(name, size):
        add(name, size)
        made[f"{name}.weight"] += 1

    inputs = 3
    for stage, ((_, factor, shrink), size) in enumerate(zip(STAGES, sizes, strict=True)):
        patches = f"stages.{stage}.downsample" if stage else "patch_embed"
        kernel = 3 if stage else 7
        add(f"{patches}.proj", size, inputs, kernel, kernel)
        norm(f"{patches}.norm", size)
        for block in range(2):
            at = f"stages.{stage}.blocks.{block}"
            for name in ("norm1", "norm2"):
                norm(f"{at}.{name}", size)
            add(f"{at}.attn.q", size, size)
            add(f"{at}.attn.kv", 2 * size, size)
            add(f"{at}.attn.proj", size, size)
            if shrink > 1:
                add(f"{at}.attn.sr", size, size, shrink, shrink)
                norm(f"{at}.attn.norm", size)
            add(f"{at}.mlp.fc1", factor * size, size)
            add(f"{at}.mlp.dwconv", factor * size, 1, 3, 3)
            add(f"{at}.mlp.fc2", size, factor * size)
        norm(f"stages.{stage}.norm", size)
        inputs = size
    add("head", 7, inputs)
    return made


def rendered(weights, x):
    """The logits, computed as the authors' program does: NCHW images, tokens (B, N, C)."""

    def conv(x, name, stride, pad, groups=1):
        y = jax.lax.conv_general_dilated(
            x,
            weights[f"{name}.weight"],
            (stride, stride),
            [(pad, pad)] * 2,
            dimension_numbers=("NCHW", "OIHW", "NCHW"),
            feature_group_count=groups,
        )
        return np.asarray(y) + weights[f"{name}.bias"][:, None, None]

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x, name, epsilon=1e-6):
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(var + epsilon) * weights[f"{name}.weight"] + weights[
            f"{name}.bias"
        ]

    def tokens(x):
        return np.asarray(x).reshape(*x.shape[:2], -1).swapaxes(1, 2)

    def image(x, height, width):
        return x.swapaxes(1, 2).reshape(len(x), -1, height, width)

    for stage, (heads, _, shrink) in enumerate(STAGES):
        patches = f"stages.{stage}.downsample" if stage else "patch_embed"
        x = conv(x, f"{patches}.proj", *((2, 1) if stage else (4, 3)))
        height, width = x.shape[2:]
        x = norm(tokens(x), f"{patches}.norm", 1e-5)
        batch, count, size = x.shape
        for block in range(2):
            at = f"stages.{stage}.blocks.{block}"
            y = norm(x, f"{at}.norm1")
            q = linear(y, f"{at}.attn.q").reshape(batch, count, heads, -1).transpose(0, 2, 1, 3)
            if shrink > 1:
                y = tokens(conv(image(y, height, width), f"{at}.attn.sr", shrink, 0))
                y = norm(y, f"{at}.attn.norm", 1e-5)
            kv = linear(y, f"{at}.attn.kv").reshape(batch, -1, 2, heads, size // heads)
            k, v = kv.transpose(2, 0, 3, 1, 4)
            logits = q @ k.swapaxes(-2, -1) * (size // heads) ** -0.5
            share = np.exp(logits - logits.max(-1, keepdims=True))
            y = (share / share.sum(-1, keepdims=True)) @ v
            x = x + linear(y.swapaxes(1, 2).reshape(batch, count, size), f"{at}.attn.proj")
            y = linear(norm(x, f"{at}.norm2"), f"{at}.mlp.fc1")
            y = image(y, height, width)
            y = tokens(conv(y, f"{at}.mlp.dwconv", 1, 1, groups=y.shape[1]))
            y = np.asarray(jax.nn.gelu(jnp.asarray(y), approximate=False))
            x = x + linear(y, f"{at}.mlp.fc2")
        x = image(norm(x, f"stages.{stage}.norm"), height, width)
    return linear(x.mean((2, 3)), "head")


def nested(flat):
    tree = {}
    for name, array in flat.items():
        *parents, last = name.split("/")
        inside = tree
        for part in parents:
            inside = inside.setdefault(int(part) if part.isdigit() else part, {})
        inside[last] = array
    return tree


def of_keras(made):
    """The same weights by the names and with the axes of tfimm's file."""
    found = {}
    for name, array in made.items():
        *parts, kind = name.split(".")
        path = "/".join(parts)
        if path.startswith("patch_embed"):
            path = path.replace("patch_embed", "patch_embed1")
        for stage in range(4):
            path = path.replace(f"stages/{stage}/downsample", f"patch_embed{stage + 1}")
            path = path.replace(f"stages/{stage}/blocks/", f"block{stage + 1}/")
            path = path.replace(f"stages/{stage}/norm", f"norm{stage + 1}")
        path = path.replace("mlp/dwconv", "mlp/dwconv/dwconv")
        if "norm" in parts[-1]:
            kind = {"weight": "gamma", "bias": "beta"}[kind]
        elif kind == "weight":
            kind = "depthwise_kernel" if path.endswith("dwconv") else "kernel"
            array = array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)
            array = array.swapaxes(2, 3) if kind == "depthwise_kernel" else array
        layer = "/".join(path.split("/")[: 2 if path.startswith("block") else 1])
        found[f"{layer}/pyramid_vision_transformer_v2/{path}/{kind}:0"] = array
    return found


@pytest.mark.slow
def test_public_weights_give_the_logits_of_the_authors_program():
    made = of_pytorch()
    definition, fresh, rest = nnx.split(
        PVTv2((64, 96, 3), 7, width=1 / 8, rngs=nnx.Rngs(0)), nnx.Param, ...
    )
    params = nested({name: jnp.asarray(one) for name, one in translated(made).items()})
    want = {
        path_name(path): leaf.shape
        for path, leaf in jax.tree.leaves_with_path(nnx.to_pure_dict(fresh))
    }
    assert {path_name(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(params)} == want
    x = np.random.default_rng(1).normal(size=(2, 64, 96, 3)).astype(np.float32)
    got = jax.jit(lambda x: nnx.merge(definition, params, rest)(x))(x)
    np.testing.assert_allclose(got, rendered(made, x.transpose(0, 3, 1, 2)), rtol=2e-3, atol=2e-3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same weights in three files: of timm, of the authors with their names, of Keras."""
    folder, made = tmp_path_factory.mktemp("weights"), of_pytorch()
    save_file(
        {name: np.ascontiguousarray(one) for name, one in made.items()}, folder / "timm.safetensors"
    )
    authors = {}
    for name, array in made.items():
        name = name.replace("patch_embed.", "patch_embed1.").replace(
            "mlp.dwconv", "mlp.dwconv.dwconv"
        )
        for stage in range(4):
            name = name.replace(f"stages.{stage}.downsample", f"patch_embed{stage + 1}")
            name = name.replace(f"stages.{stage}.blocks", f"block{stage + 1}")
            name = name.replace(f"stages.{stage}.norm", f"norm{stage + 1}")
        authors[name] = array
    np.savez(folder / "authors.npz", **authors)
    with h5py.File(folder / "keras.h5", "w") as file:
        for name, array in of_keras(made).items():
            file[name] = array
    return folder


def test_the_files_of_three_programs_are_the_same_weights(files):
    found = [
        weights.read(str(files / name), "pvt_v2", None, None)
        for name in ("timm.safetensors", "authors.npz", "keras.h5")
    ]
    assert len(found[0]) == len(of_pytorch())
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name, array in other.items():
            np.testing.assert_array_equal(array, found[0][name], err_msg=name)


def task_of(path, classes=(5, 6, 7), width=0.1, **keys):
    given = ModelConfig("mlp", width=width), DataConfig("digits", classes=[*classes])
    return Transfer.configured(*given, AugmentConfig(), 32, weights=str(path), **keys)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A corpus of one run of an MLP on five classes of the digits."""
    path = str(tmp_path_factory.mktemp("pretrained") / "corpus")
    own = {
        "model": ModelConfig("mlp", width=0.1),
        "data": DataConfig("digits", classes=[*range(5)]),
    }
    collect_population(CollectConfig(corpus=path, runs=1, epochs=3, **own))
    return path


def by_name(params):
    return {path_name(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(params)}


def test_runs_begin_with_the_last_weights_of_a_corpus_and_a_head_of_their_seed(pretrained):
    task = task_of(pretrained)
    [run] = corpus.open(pretrained).runs
    last = np.asarray(run.weights[len(run.weights) - 1])
    wanted = {leaf.path: last[leaf.scalars].reshape(leaf.shape) for leaf in run.leaves}
    zero, one = (by_name(task.init(seed)[0]) for seed in (0, 1))
    assert zero.keys() == wanted.keys()
    for name, array in zero.items():
        if name.startswith(HEAD):
            assert array.shape[-1] == 3
        else:
            np.testing.assert_array_equal(array, wanted[name])
            np.testing.assert_array_equal(array, one[name])
    assert np.abs(zero["head/kernel"] - one["head/kernel"]).max() > 0
    assert task.name.startswith("mlp-digits-5to7-from_")


def test_a_file_of_the_same_weights_is_the_same_task(pretrained, tmp_path):
    task = task_of(pretrained)
    np.savez(tmp_path / "own.npz", **by_name(task.init(0)[0]))
    assert task_of(tmp_path / "own.npz").name == task.name
    changed = by_name(task.init(0)[0])
    name = next(name for name in changed if not name.startswith(HEAD))
    np.savez(tmp_path / "other.npz", **changed | {name: changed[name] + 1})
    assert task_of(tmp_path / "other.npz").name != task.name


def test_weights_of_another_network_name_the_first_that_differs(pretrained, tmp_path):
    own = by_name(task_of(pretrained).init(0)[0])
    first, second = [name for name in own if not name.startswith(HEAD)][:2]
    wide = own[first].shape
    for change, said in [
        ({first: np.zeros((9, 9), np.float32)}, rf"{first} has shape \(9, 9\), and this network's"),
        ({second: None}, f"has no {second}, of shape"),
        ({"more/kernel": np.zeros(2, np.float32)}, "more/kernel is no weight of this network"),
    ]:
        arrays = {name: array for name, array in (own | change).items() if array is not None}
        np.savez(tmp_path / "other.npz", **arrays)
        with pytest.raises(
            nowcast.UserError, match=rf"task\.weights=.*other\.npz: {said}"
        ) as caught:
            task_of(tmp_path / "other.npz")
        assert "\n" not in str(caught.value)
    assert own[first].shape == wide
    with pytest.raises(
        nowcast.UserError, match=r"has shape .*; give weights of this model and width"
    ):
        task_of(pretrained, width=0.2)


def test_what_cannot_be_begun_with_is_refused_in_one_line(pretrained, tmp_path):
    (tmp_path / "broken.safetensors").write_text("no weights")
    (tmp_path / "notes.txt").write_text("no weights")
    both = str(tmp_path / "two")
    for rate in (1e-2, 1e-3):
        own = {"model": ModelConfig("mlp", width=0.1), "data": DataConfig("digits")}
        own["optimizer"] = OptimizerConfig(learning_rate=rate)
        collect_population(CollectConfig(corpus=both, runs=1, epochs=1, **own))
    for path, keys, said in [
        ("nothing.npz", {}, "nothing.npz: is not there; give a corpus, or a file of weights: .saf"),
        (
            "nothing",
            {"made_by": "table5_pretraining"},
            "make it: python scripts/collect.py experiment=table5_pretraining corpus=nothing",
        ),
        (tmp_path / "broken.safetensors", {}, "task.weights: .* cannot be read .*; copy it anew$"),
        (tmp_path / "notes.txt", {}, "is of no kind that can be read; there are .safetensors, "),
        (both, {}, "has 2 finished runs .*, and task.run names none; give task.run=NAME"),
        (both, {"run": "mine"}, "task.run=mine: is no run of .*, which has mlp-digits-adam-seed0"),
    ]:
        with pytest.raises(nowcast.UserError, match=said) as caught:
            task_of(path, **keys)
        assert "\n" not in str(caught.value)


def test_a_run_that_holds_a_part_of_its_weights_is_refused(tmp_path):
    own = {"model": ModelConfig("mlp", width=0.1), "data": DataConfig("digits")}
    config = CollectConfig(corpus=str(tmp_path / "part"), runs=1, epochs=1, sample=8, **own)
    collect_population(config)
    with pytest.raises(nowcast.UserError, match="holds a part of its weights; collect it without"):
        task_of(tmp_path / "part")


@pytest.mark.slow
def test_it_goes_through_all_commands(script, tmp_path):
    model = ("model=mlp", "model.width=0.1", "data=digits")
    transfer = ("task=transfer", "task.weights=corpora/first", *model, "data.classes=[5,6,7,8,9]")
    for name, *given in (
        ("collect", *model, "data.classes=[0,1,2,3,4]", "runs=1", "corpus=corpora/first"),
        ("collect", *transfer, "runs=2", "epochs=12", "corpus=corpora/second"),
        (
            "meta_train",
            "corpus=corpora/second",
            "forecaster=wnn",
            "steps=20",
            "bundle=bundles/mine",
        ),
        (
            *("evaluate", *transfer, "forecaster=bundles/mine", "arm=[constant,constant_nowcast]"),
            *("arm.constant_nowcast.jump.skip=[fc*/bias]", "seeds=2", "epochs=7"),
            *("protocol=paper", "target_value=0.2", "workers=1", "report=reports/mine"),
        ),
    ):
        done = script(name, *given, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "reports/mine/results.json").read_text())
    assert results["about"]["more"]["task_config"]["weights"] == "corpora/first"
    assert results["arms"][1]["settings"]["jump"]["skip"] == ["fc*/bias"]
