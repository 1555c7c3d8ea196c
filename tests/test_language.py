"""The language task: its model against NumPy, its batches against the text, its tokens back and
forth.
"""

import dataclasses
import json
import math
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from made_sets import SETS, needs_sets
from omegaconf import OmegaConf

import nowcast
from collect.config import CollectConfig, DataConfig
from collect.data import text, tokens
from collect.models.gpt import GPT, Attention
from collect.models.layers import dropped
from collect.tasks import Language, Task, build, check
from collect.tasks.language import family
from nowcast.types import UserError

ROOT = Path(__file__).resolve().parent.parent
SIZES = {"layers": 2, "heads": 2, "width": 8, "context": 6}
POEM = "the cat sat on the mat; the rat sat on the cat.\n" * 12


def made(batch_size=3, poem=POEM, **sizes):
    cut = len(poem) * 3 // 4
    splits = {"train": poem[:cut], "validation": poem[cut:], "test": poem[: len(poem) // 4]}
    return Language(
        tokens.encode(text.Texts("poem", splits, False), "characters"),
        batch_size=batch_size,
        **(SIZES | sizes),
    )


def net(**more):
    return GPT(11, **(SIZES | more), rngs=nnx.Rngs(0))


def drawn(length=6, vocabulary=11):
    return jnp.asarray(np.random.default_rng(0).integers(0, vocabulary, (2, length)))


def test_sizes_that_are_not_the_usual_are_part_of_the_name(tmp_path):
    assert made(layers=2, heads=4, width=64, context=64, poem=100 * POEM).name == "gpt-poem"
    sized = made(layers=4, heads=2, width=16, context=8)
    assert sized.name == "gpt_l4_h2_w16_c8-poem"
    assert (family(sized.name), family("gpt-poem"), family("lenet_w2-x")) == (
        "gpt-poem",
        "gpt-poem",
        "lenet_w2-x",
    )


def test_attention_is_that_of_numpy():
    layer = Attention(8, 2, 0.5, nnx.Rngs(1))
    x = np.random.default_rng(1).normal(size=(1, 5, 8)).astype(np.float32)
    query, key, value = np.split(x[0] @ np.asarray(layer.qkv.kernel[...]), 3, axis=1)
    together = []
    for head in (slice(0, 4), slice(4, 8)):
        rows = []
        for place in range(5):
            # The root of 4, a head's width.
            weights = np.exp(query[place, head] @ key[: place + 1, head].T / 2)
            rows.append(weights / weights.sum() @ value[: place + 1, head])
        together.append(rows)
    expected = np.concatenate(together, axis=1) @ np.asarray(layer.out.kernel[...])
    np.testing.assert_allclose(layer(jnp.asarray(x))[0], expected, rtol=1e-4, atol=1e-5)


def test_later_tokens_do_not_change_earlier_logits():
    model, one = net(), drawn()
    other = one.at[:, 4].set((one[:, 4] + 1) % 11)
    np.testing.assert_allclose(model(one)[:, :4], model(other)[:, :4], rtol=1e-5, atol=1e-6)
    assert float(jnp.abs(model(one)[:, 4:] - model(other)[:, 4:]).max()) > 1e-4


def count(module):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def test_the_parameters_are_those_of_the_formula_and_gpt_2_small_has_its_own():
    layers, width, context = SIZES["layers"], SIZES["width"], SIZES["context"]
    assert (
        count(net()) == (11 + context) * width + layers * (12 * width**2 + 13 * width) + 2 * width
    )
    sizes = {"layers": 12, "heads": 12, "width": 768, "context": 1024}
    # Hugging Face's count.
    assert count(nnx.eval_shape(lambda: GPT(50_257, **sizes, rngs=nnx.Rngs(0)))) == 124_439_808


def test_every_leaf_has_an_operation_by_its_module_and_by_its_name():
    task = made()
    params, extra = task.init(0)
    assert task.labels == nowcast.label_ops(params)
    assert set(jax.tree.leaves(task.labels)) == {"embedding", "fc", "bias", "norm"}
    assert extra == {}


def test_it_is_a_task(unchecked):
    task = made(dropout=0.5)
    assert isinstance(task, Task)
    check.check(task, "Language")


def test_the_loss_of_a_start_is_that_of_guessing_and_perplexity_is_its_exponential():
    task = made()
    measured = task.evaluate(*task.init(0), "validation")
    letters = len(set(POEM))
    assert measured["loss"] == pytest.approx(math.log(letters), rel=0.02)
    assert measured["perplexity"] == pytest.approx(math.exp(measured["loss"]))


def test_a_split_is_evaluated_whole_whatever_is_evaluated_at_once(monkeypatch):
    task = made()
    params, extra = task.init(0)
    whole = task.evaluate(params, extra, "validation")["loss"]
    batch = task.batch(
        task._data["validation"], np.arange((len(task._data["validation"]) - 1) // 6) * 6
    )
    assert whole == pytest.approx(float(task.loss(params, extra, batch)[0]), rel=1e-5)
    monkeypatch.setattr("collect.tasks.language.EVALUATED", 24)
    assert task.evaluate(params, extra, "validation")["loss"] == pytest.approx(whole, rel=1e-5)


def test_a_pass_reads_tokens_once_and_batches_follow_from_seed_and_epoch():
    task = made(batch_size=4)
    order = task.order(3, 2)
    np.testing.assert_array_equal(order, task.order(3, 2))
    assert order.shape == (task.steps_per_epoch, 4)
    begins = np.sort(order.ravel())
    assert np.all(np.diff(begins) % 6 == 0)
    assert len(set(begins.tolist())) == len(begins)
    assert begins[-1] + 6 < len(task.arrays)
    # Where windows begin differs.
    assert len({task.order(3, epoch).min() % 6 for epoch in range(9)}) > 1
    assert not np.array_equal(order, task.order(4, 2))
    windows = task.batch(task.arrays, jnp.asarray(order[0]))
    np.testing.assert_array_equal(
        windows[1], np.asarray(task.arrays)[order[0, 1] : order[0, 1] + 7]
    )


def test_steps_are_the_same_however_long_an_epoch_is():
    whole, short = made(batch_size=4), made(batch_size=4, steps_per_epoch=5)
    steps = np.concatenate([whole.order(0, epoch) for epoch in range(5)])
    np.testing.assert_array_equal(
        np.concatenate([short.order(0, epoch) for epoch in range(7)]), steps[:35]
    )


def test_a_text_of_one_window_trains():
    task = Language(
        tokens.Tokens("tiny", 3, dict.fromkeys(("train", "test"), np.arange(7) % 3), str),
        batch_size=1,
        **SIZES,
    )
    assert (task.steps_per_epoch, task.splits) == (1, ("test",))
    np.testing.assert_array_equal(task.order(0, 0), [[0]])


def test_dropout_follows_from_the_key_and_only_training_has_it():
    x = jnp.ones((100, 100))
    kept = dropped(x, 0.25, jax.random.key(0))
    assert set(np.unique(kept).tolist()) == {0.0, np.float32(1 / 0.75)}
    assert float(kept.mean()) == pytest.approx(1, abs=0.03)
    task = made(dropout=0.5)
    params, extra = task.init(0)
    batch = task.batch(task.arrays, jnp.asarray(task.order(0, 0)[0]))
    one, same, other = (
        float(task.loss(params, extra, batch, jax.random.key(k))[0]) for k in (0, 0, 1)
    )
    assert one == same != other
    assert float(task.loss(params, extra, batch)[0]) == pytest.approx(
        float(made().loss(params, extra, batch)[0])
    )


@pytest.mark.parametrize(("batch_size", "parts"), [(8, 4), (9, 3), (7, 1), (2, 1)])
def test_a_batch_in_parts_has_the_loss_and_the_gradients_of_the_whole(
    monkeypatch, batch_size, parts
):
    monkeypatch.setattr("collect.tasks.language.CACHED", {"cpu": 18})  # three windows of six tokens
    task = made(batch_size)
    assert task.batch_size // task._part == parts
    params, extra = task.init(3)
    batch = task.batch(task.arrays, jnp.asarray(task.order(0, 0)[0]))

    def whole(params):
        return jnp.mean(task._errors(params, batch, None))

    found = jax.jit(jax.value_and_grad(lambda params: 2 * task.loss(params, extra, batch)[0]))(
        params
    )
    value, grads = jax.jit(jax.value_and_grad(whole))(params)
    np.testing.assert_allclose(found[0], 2 * value, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(task.loss)(params, extra, batch)[0], value, rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, 2 * b, rtol=1e-4, atol=1e-6), found[1], grads
    )


def test_characters_and_bytes_decode_back_and_unknown_ones_are_one_more():
    texts = text.Texts(
        "words", {"train": "naïve 实 words", "validation": "naïve z", "test": "wz?"}, False
    )
    encoded = tokens.encode(texts, "characters")
    assert encoded.vocabulary == len(set("naïve 实 words")) + 1
    assert encoded.decode(encoded.splits["train"]) == "naïve 实 words"
    assert encoded.decode(encoded.splits["test"]) == "w" + 2 * tokens.UNKNOWN
    encoded = tokens.encode(texts, "bytes", train_size=7)
    assert (encoded.vocabulary, encoded.decode(encoded.splits["train"])) == (256, "naïve ")
    assert encoded.splits["train"].dtype == np.uint8


@pytest.fixture
def tokenizer(tmp_path):
    """The file of a tokenizer of letters and their pairs, made for a text."""
    from tokenizers import Tokenizer, models, trainers

    own = Tokenizer(models.BPE(unk_token="?"))
    own.train_from_iterator(
        [POEM], trainers.BpeTrainer(vocab_size=40, special_tokens=["?"], show_progress=False)
    )
    own.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_a_tokenizers_file_gives_fewer_tokens_than_characters_and_is_refused_where_it_does_not_fit(
    tokenizer,
):
    vocabulary = json.loads(tokenizer.read_text())["model"]["vocab"]
    texts = text.Texts("poem", {"train": POEM, "test": POEM}, False)
    encoded = tokens.encode(texts, str(tokenizer))
    assert encoded.vocabulary == len(vocabulary)
    assert len(encoded.splits["train"]) < len(POEM) / 1.5
    pieces = {number: piece for piece, number in vocabulary.items()}
    assert "".join(pieces[number] for number in encoded.splits["train"].tolist()) == POEM
    assert encoded.name.startswith("poem-")
    with pytest.raises(UserError, match="does not fit other: it knows 0 % of the characters"):
        tokens.encode(
            text.Texts("other", {"train": "实在实在", "test": "实"}, False), str(tokenizer)
        )


def test_a_tokenizer_without_its_package_says_what_to_install(tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UserError, match=r"pip install 'weight-nowcaster\[language\]'"):
        tokens.encode(text.Texts("poem", {"train": POEM}, False), str(tokenizer))


def test_a_folder_is_read_in_the_order_of_its_paths_and_other_files_are_another_task(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.txt").write_text("z" * 199)
    (tmp_path / "a.txt").write_text("y" * 200)
    (tmp_path / "c.md").write_text("no")
    (tmp_path / ".hidden.txt").write_text("no")
    found = text.load(str(tmp_path))
    assert found.splits == {
        "train": "y" * 200 + "\n" + "z" * 159,
        "validation": "z" * 20,
        "test": "z" * 20,
    }
    assert text.load(str(tmp_path), validation=False).splits.keys() == {"train", "test"}
    one = tokens.encode(found, "bytes").name
    (tmp_path / "a.txt").write_text("x" * 200)
    other = tokens.encode(text.load(str(tmp_path)), "bytes").name
    assert one.rpartition("-")[0] == other.rpartition("-")[0]
    assert one != other


def config(data, **task):
    return CollectConfig(corpus="c", task={"_target_": "collect.tasks.Language", **task}, data=data)


@needs_sets
def test_tiny_shakespeare_has_the_tokens_that_karpathy_counts():
    task = build.make(config(DataConfig("tiny_shakespeare", dir=str(SETS)), context=64))
    assert {split: len(numbers) for split, numbers in task._data.items()} == {
        "train": 1_003_854, "validation": 55_770, "test": 55_770,
    }  # fmt: skip
    # 65 characters.
    assert count(task._start.module) == (65 + 64) * 64 + 2 * (12 * 64**2 + 13 * 64) + 128
    assert task.name == "gpt-tiny_shakespeare"


@needs_sets
def test_a_set_without_text_is_refused():
    with pytest.raises(
        UserError,
        match=r"no text; that takes a feature text \(Text\), and it has .*image \(Image\)",
    ):
        text.load("mnist", directory=str(SETS))


def test_a_size_that_is_no_number_is_refused(unchecked):
    with pytest.raises(UserError, match=r"task\.layers='two' must be a whole number of blocks"):
        build.make(config(DataConfig("tiny_shakespeare"), layers="two"))


def test_the_files_of_the_group_are_the_tasks_own_defaults(tmp_path):
    (tmp_path / "one.txt").write_text(POEM)
    data = DataConfig(str(tmp_path))
    given = OmegaConf.to_container(OmegaConf.load(ROOT / "configs/task/gpt.yaml"))
    described = build.described(config(data, **given))
    assert described == {
        "task_config": given,
        "data": {"name": tmp_path.name, "train_size": None},
    }
    assert (
        build.make(
            dataclasses.replace(config(data, **given | {"context": 4}), batch_size=2)
        ).steps_per_epoch
        == 50
    )
