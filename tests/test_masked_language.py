"""The masked language task: halting, attention and losses against NumPy, masks, and its texts."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from made_sets import needs_sets
from omegaconf import OmegaConf
from whole_way import whole_way

import nowcast
from collect.commands.cli import CONFIGS
from collect.config import DataConfig
from collect.data import text, tokens
from collect.models.universal_transformer import UniversalTransformer, halt
from collect.tasks import MaskedLanguage, Task, build, check
from collect.tasks.language import encoded
from collect.tasks.names import names
from evaluate.commands import products
from evaluate.config import EvaluateConfig
from nowcast.types import UserError

SIZES = {"passes": 3, "heads": 2, "width": 8, "context": 6}
POEM = "the cat sat on the mat; the rat sat on the cat.\n" * 12
GIVEN = OmegaConf.to_container(OmegaConf.load(f"{CONFIGS}/task/bert.yaml"))


def made(poem=POEM, **own):
    cut = len(poem) * 3 // 4
    splits = {"train": poem[:cut], "validation": poem[cut:], "test": poem[: len(poem) // 4]}
    poem = tokens.encode(text.Texts("poem", splits, False), "characters")
    return MaskedLanguage(poem, **({"batch_size": 3} | SIZES | own))


def act(chances, states, epsilon=0.01):
    """Graves, 2016: the mean-field state (12) and the ponder cost of one place, by its N and R."""
    most = len(chances)
    reached = [n for n in range(1, most + 1) if sum(chances[:n]) >= 1 - epsilon]
    steps = min([*reached, most])
    remainder = 1 - sum(chances[: steps - 1])
    shares = [*chances[: steps - 1], remainder]
    return sum(p * s for p, s in zip(shares, states, strict=False)), steps + remainder


def test_halting_is_that_of_graves():
    rng = np.random.default_rng(0)
    chances = rng.uniform(size=(5, 40)) ** rng.uniform(0.2, 4, size=40)
    states = rng.normal(size=(5, 40))
    spent, result, cost = jnp.zeros(40), jnp.zeros(40), jnp.zeros(40)
    for number in range(5):
        own = jnp.asarray(chances[number], jnp.float32)
        share, more, spent = halt(spent, own, last=number == 4)
        result, cost = result + share * states[number], cost + more
    expected = [act(list(chances[:, i]), states[:, i]) for i in range(40)]
    np.testing.assert_allclose(result, [one for one, _ in expected], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(cost, [one for _, one in expected], rtol=1e-5)
    assert len({math.floor(one) for _, one in expected}) > 3  # places halt after 1, 2, … passes


def dense(layer, x):
    return x @ layer["kernel"] + layer.get("bias", 0)


def normed(layer, x):
    mean, spread = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(spread + 1e-5) * layer["scale"] + layer["bias"]


def forward(params, numbers, passes, heads):
    """Logits and ponder cost of one window, with every place on its own."""
    x, width = params["token_embedding"]["embedding"][numbers], params["halting"]["kernel"].shape[0]
    states, chances = [], []
    for number in range(passes):
        x = x + params["position_embedding"]["embedding"][: len(numbers)]
        x = x + params["pass_embedding"]["embedding"][number]
        block = params["block"]
        query, key, value = np.split(dense(block["attention"]["qkv"], x), 3, axis=1)
        mixed, each = [], width // heads
        for head in range(heads):
            part = slice(head * each, (head + 1) * each)
            scores = np.exp(query[:, part] @ key[:, part].T / math.sqrt(each))
            mixed.append(scores / scores.sum(1, keepdims=True) @ value[:, part])
        attended = dense(block["attention"]["out"], np.concatenate(mixed, axis=1))
        x = normed(block["attention_norm"], x + attended)
        inner = dense(block["mlp_in"], x)
        inner *= 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
        x = normed(block["mlp_norm"], x + dense(block["mlp_out"], inner))
        states.append(x)
        chances.append(1 / (1 + np.exp(-dense(params["halting"], x)[:, 0])))
    found = [
        act([one[place] for one in chances], [one[place] for one in states])
        for place in range(len(numbers))
    ]
    result = dense(params["projection"], np.stack([one for one, _ in found]))
    return result @ params["token_embedding"]["embedding"].T, np.array([own for _, own in found])


def drawn(task, seed=0):
    """Weights that halt after different numbers of passes."""
    params, _ = task.init(seed)
    rng = np.random.default_rng(seed)
    params = jax.tree.map(
        lambda leaf: np.asarray(leaf) + 0.3 * rng.normal(size=leaf.shape).astype(np.float32), params
    )
    params["halting"]["kernel"] *= 3
    params["halting"]["bias"] -= 2
    return params


def test_the_network_is_that_of_numpy():
    task = made(passes=5)
    params = drawn(task)
    numbers = np.array([1, 4, 2, 0, 9, 12])
    given = jax.tree.map(jnp.asarray, params)
    logits, cost = jax.jit(lambda own, x: nnx.merge(task._definition, own)(x))(given, numbers[None])
    expected, ponder = forward(params, numbers, 5, 2)
    np.testing.assert_allclose(logits[0], expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(cost[0], ponder, rtol=1e-4)
    assert np.ptp(ponder) > 0.2  # places halt after different passes


def test_the_loss_is_the_programs():
    task = made(ponder=0.05, confidence_penalty=0.2, embedding_penalty=0.01)
    params = drawn(task)
    batch = task.batch(task.arrays, jnp.array([0, 9, 40]), jax.random.key(5))
    loss, extra = jax.jit(task.loss)(jax.tree.map(jnp.asarray, params), {}, batch, None)
    each, ponders = [], []
    for seen, own, masked in zip(*map(np.asarray, batch), strict=True):
        logits, cost = forward(params, seen, 3, 2)
        chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        error = -np.log(chances[np.arange(6), own])
        entropy = -(chances * np.log(chances)).sum(1)
        ponders.append(cost)
        if masked.any():
            each.append(np.mean(error[masked]) - 0.2 * np.mean(entropy[masked]))
        else:
            each.append(0.0)
    squares = sum(
        np.sum(one.astype(np.float64) ** 2)
        for one in (params["token_embedding"]["embedding"], params["projection"]["kernel"])
    )
    expected = np.mean(each) + 0.05 * np.mean(ponders) + 0.01 * squares
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert extra == {}


def test_15_percent_are_masked_80_10_10():
    task = made(poem=POEM * 100, context=64, batch_size=200)
    seen, own, masked = map(
        np.asarray, task.batch(task.arrays, jnp.arange(200) * 64, jax.random.key(1))
    )
    letters = len(set(POEM))
    assert masked.mean() == pytest.approx(0.15, abs=0.01)
    np.testing.assert_array_equal(seen[~masked], own[~masked])
    hidden, same = seen[masked] == letters, seen[masked] == own[masked]
    assert hidden.mean() == pytest.approx(0.8, abs=0.03)
    # A letter that is drawn at random may be the true one.
    assert same.mean() == pytest.approx(0.1 + 0.1 / letters, abs=0.03)
    assert set(seen[masked & (seen != own)].tolist()) == {*range(letters + 1)}
    again = task.batch(task.arrays, jnp.arange(200) * 64, jax.random.key(1))
    np.testing.assert_array_equal(again[0], seen)


def test_the_metrics_are_of_masked_tokens_with_masks_that_stay(monkeypatch):
    task, other = made(), made(dropout=0.3)
    params = jax.tree.map(jnp.asarray, drawn(task))
    found = task.evaluate(params, {}, "validation")
    assert found == other.evaluate(params, {}, "validation")
    errors, windows = [], []
    for seen, own, masked in zip(*map(np.asarray, task._kept["validation"]), strict=True):
        logits, _ = forward(jax.tree.map(np.asarray, params), seen, 3, 2)
        logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        each = -logs[np.arange(6), own][masked]
        errors += each.tolist()
        windows += [math.exp(np.mean(each))] if len(each) else []
    assert found["loss"] == pytest.approx(np.mean(errors), rel=1e-3)
    assert found["perplexity"] == pytest.approx(math.exp(np.mean(errors)), rel=1e-3)
    assert found["window_perplexity"] == pytest.approx(np.mean(windows), rel=1e-3)
    monkeypatch.setattr("collect.tasks.masked_language.EVALUATED", 24)
    assert task.evaluate(params, {}, "validation")["loss"] == pytest.approx(found["loss"], rel=1e-5)


def test_dropout_follows_the_key_and_is_off_without_one():
    task = made(dropout=0.3, embedding_dropout=0.6)
    params, extra = task.init(0)
    batch = task.batch(task.arrays, jnp.array([0, 9, 40]), jax.random.key(5))
    loss = jax.jit(task.loss)
    losses = [
        float(loss(params, extra, batch, key)[0])
        for key in (None, None, jax.random.key(0), jax.random.key(0), jax.random.key(1))
    ]
    assert losses[0] == losses[1] != losses[2] == losses[3] != losses[4]


def test_the_full_form_has_the_parameters_of_the_formula():
    sizes = {"passes": 5, "heads": 8, "width": 512, "context": 256}
    module = nnx.eval_shape(lambda: UniversalTransformer(10_257, **sizes, rngs=nnx.Rngs(0)))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))
    width, embedded = 512, (10_257 + 256 + 5) * 512
    block = 4 * width**2 + 8 * width**2 + 5 * width + 4 * width
    assert count == embedded + block + width**2 + width + 1


def test_it_is_a_task_and_every_leaf_has_an_operation(unchecked):
    task = made()
    assert isinstance(task, Task)
    check.check(task, "MaskedLanguage")
    params, extra = task.init(0)
    assert extra == {}
    assert task.labels == nowcast.label_ops(params)
    assert set(jax.tree.leaves(task.labels)) == {"embedding", "fc", "bias", "norm"}
    assert np.asarray(params["halting"]["bias"]).tolist() == pytest.approx([0.1])
    assert 0.04 < np.abs(params["token_embedding"]["embedding"]).max() <= 0.05


def test_its_name_has_the_sizes_that_are_not_the_usual_and_keeps_all_sizes_out():
    task = made()
    assert task.name == "bert_p3_h2_w8_c6-poem"
    own = names({"task": task.name, "task_config": {"_target_": "collect.tasks.MaskedLanguage"}})
    assert {"bert", "bert_p3_h2_w8_c6", "bert-poem"} <= own


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"heads": 3}, "task.heads=3: must divide task.width=8"),
        ({"passes": 0}, "task.passes=0 must be a whole number of passes"),
        ({"dropout": 1.0}, "task.dropout=1.0: must be a share, 0 or more, below 1"),
        ({"ponder": -1}, "task.ponder=-1: must be 0 or more, such as 0.1; 0: none"),
        ({"context": 4000}, "task.context=4000: the train text of poem has"),
        ({"batch_size": 1000}, "batch_size=1000: must be 1 to "),
    ],
)
def test_a_value_out_of_range_is_named_in_one_line(own, said):
    with pytest.raises(UserError) as caught:
        made(**own)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def wikitext(folder, ending=".tokens"):
    folder.mkdir()
    for split, times in (("train", 300), ("valid", 40), ("test", 20)):
        lines = f" = {split} = \n the rat <unk> sat on the mat , the cat too .\n" * times
        (folder / f"wiki.{split}{ending}").write_text(lines, encoding="utf-8")
    return folder


@pytest.mark.parametrize("ending", [".tokens", ".raw"])
def test_a_folder_of_wikitext_is_read_as_its_authors_divide_it(tmp_path, ending):
    found = text.load(str(wikitext(tmp_path / "wikitext-2", ending)))
    assert [found.splits[name].split()[1] for name in ("train", "validation", "test")] == [
        "train",
        "valid",
        "test",
    ]
    (tmp_path / "wikitext-2" / f"wiki.valid{ending}").unlink()
    with pytest.raises(UserError, match=f"holds no wiki.valid{ending}; WikiText-2 is in"):
        text.load(str(tmp_path / "wikitext-2"))


def test_bpe_joins_what_is_frequent_in_the_training_text_and_loses_nothing(tmp_path):
    folder = str(wikitext(tmp_path / "wikitext-2"))
    found = encoded(DataConfig(folder), "bpe")
    again = encoded(DataConfig(folder), "bpe")
    assert found.name == again.name
    assert found.vocabulary < 400  # a small text has few pairs
    for split, numbers in found.splits.items():
        np.testing.assert_array_equal(numbers, again.splits[split])
        assert found.decode(numbers) == text.load(folder).splits[split]
    characters = len(text.load(folder).splits["train"])
    assert len(found.splits["train"]) < characters / 3


def composed(experiment, *more):
    ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)
    products.store()
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        return compose("evaluate", [f"experiment={experiment}", "report=mine", *more])


def test_the_full_experiment_is_the_published_recipe_on_a_folder_of_wikitext(tmp_path):
    folder = wikitext(tmp_path / "wikitext-2")
    found = composed("table5_bert", f"data.name={folder}", "batch_size=2")
    task = build.make(OmegaConf.to_object(found))
    assert task.name.startswith("bert_h8_w512_c256-wikitext_2-")
    assert task.splits == ("validation", "test")
    own = {key: value for key, value in found.task.items() if value != GIVEN[key]}
    assert own == {
        "tokens": "bpe", "heads": 8, "width": 512, "context": 256, "steps_per_epoch": None,
    }  # fmt: skip
    assert (found.task.passes, found.task.confidence_penalty) == (5, 0.1)
    assert (found.task.dropout, found.task.embedding_dropout) == (0.1, 0.6)
    found = composed("table5_bert")
    assert (found.batch_size, found.optimizer.learning_rate) == (32, 2e-4)
    assert (found.arm.cosine.learning_rate, found.arm.cosine.schedule) == ("given", "cosine")
    with pytest.raises(UserError, match=r"'./wikitext-2': is not there; .*wikitext.smerity.com"):
        build.make(OmegaConf.to_object(found))


@needs_sets
@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "name", "pictures"),
    [
        ("task=bert task.heads=2 task.width=8 task.context=16 task.steps_per_epoch=2", "bert", 0),
        ("task=ddim task.widths=[2,3,4,5] task.depth=1 task.judged=8", "ddim", 2),
    ],
)
def test_it_goes_through_all_commands(script, tmp_path, task, name, pictures):
    size = 2_000 if name == "bert" else 32
    data = [
        f"data={'tiny_shakespeare' if name == 'bert' else 'mnist'}",
        f"data.train_size={size}",
        "batch_size=16",
    ]
    experiment = [f"experiment=table5_{name}_small", *task.split()[1:], *data]
    runs, arms, page = whole_way(
        script, tmp_path, f"task={name}", [*task.split(), *data], experiment
    )
    assert [run.weights.shape[0] for run in runs] == [13, 13]
    assert arms == ["naive", "naive_nowcast_safe"]
    assert page.count("data:image/png") == pictures
