"""Bundles: what was saved comes back, and what was damaged is refused in one line."""

import hashlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import random_wnn

import nowcast
from nowcast.bundle import SCHEMA, card_hash, read_card
from nowcast.bundle_folder import PRETRAINED, shipped


@pytest.fixture
def folder(tmp_path):
    """A bundle of random networks."""
    nowcast.save(random_wnn(), tmp_path / "bundle", {"note": "made up"})
    return tmp_path / "bundle"


def forecast(forecaster):
    history = jnp.cumsum(jax.random.normal(jax.random.key(0), (5, 50)), axis=0)
    return [
        nowcast.forecast(forecaster, {"w": history}, labels={"w": op})["w"]
        for op in nowcast.OPERATIONS
    ]


def change_card(folder, **changes):
    card = {k: v for k, v in (read_card(folder) | changes).items() if v is not None}
    (folder / "card.json").write_text(json.dumps(card | {"card_sha256": card_hash(card)}))


def test_a_loaded_bundle_forecasts_the_same_bit_for_bit(folder):
    np.testing.assert_array_equal(forecast(nowcast.load(folder)), forecast(random_wnn()))
    np.testing.assert_array_equal(forecast(nowcast.load(str(folder))), forecast(random_wnn()))


def test_the_card_says_what_the_bundle_is(folder):
    card = json.loads((folder / "card.json").read_text())
    assert card == read_card(folder)
    assert card["schema"] == SCHEMA
    assert (card["forecaster"], card["window"], card["horizon"], card["note"]) == (
        "wnn",
        5,
        5,
        "made up",
    )
    assert card["params_sha256"] == hashlib.sha256((folder / "params.npz").read_bytes()).hexdigest()
    assert card["networks"]["depthwise_conv"] == "conv"
    assert card["networks"]["norm"] is None


def test_saving_what_was_loaded_gives_the_same_parameters(folder, tmp_path):
    nowcast.save(nowcast.load(folder), tmp_path / "again")
    with (
        np.load(folder / "params.npz") as before,
        np.load(tmp_path / "again" / "params.npz") as after,
    ):
        assert sorted(before) == sorted(after)
        for name in before:
            np.testing.assert_array_equal(before[name], after[name])


def test_a_window_and_horizon_of_its_own_come_back(tmp_path):
    wnn = random_wnn()
    nowcast.save(
        type(wnn)(params=wnn.params, horizon=9, networks={"fc": "conv"}), tmp_path / "bundle"
    )
    loaded = nowcast.load(tmp_path / "bundle")
    assert (loaded.window, loaded.horizon, loaded.networks) == (5, 9, {"fc": "conv"})


def truncate(folder):
    content = (folder / "params.npz").read_bytes()[:-100]
    (folder / "params.npz").write_bytes(content)
    change_card(folder, params_sha256=hashlib.sha256(content).hexdigest())


def tamper(folder):
    content = bytearray((folder / "params.npz").read_bytes())
    content[1000] ^= 1
    (folder / "params.npz").write_bytes(bytes(content))


def lose_a_network(folder):
    params = dict(random_wnn().params)
    del params["conv"]["head"]
    flat = {
        "/".join(k.key for k in path): leaf for path, leaf in jax.tree.flatten_with_path(params)[0]
    }
    np.savez(folder / "params.npz", **flat)
    change_card(
        folder, params_sha256=hashlib.sha256((folder / "params.npz").read_bytes()).hexdigest()
    )


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (tamper, "params.npz"),
        (truncate, "params.npz"),
        (lose_a_network, "conv"),
        (lambda folder: (folder / "params.npz").unlink(), "params.npz"),
        (lambda folder: (folder / "card.json").unlink(), "card.json"),
        (lambda folder: (folder / "card.json").write_text('{"schema": '), "card.json"),
        (lambda folder: (folder / "card.json").write_bytes(b"\xff\xfe\x00"), "card.json"),
        (lambda folder: (folder / "card.json").write_text("[]"), "schema None"),
        (lambda folder: change_card(folder, schema="bundle/99"), "'bundle/99'"),
        (lambda folder: change_card(folder, forecaster="crystal_ball"), "'crystal_ball'"),
        (lambda folder: change_card(folder, forecaster=[]), "forecaster=[]"),
        (lambda folder: change_card(folder, corpus=[]), "corpus=[]"),
        (lambda folder: change_card(folder, window=None), "window"),
        (lambda folder: change_card(folder, window="five"), "window='five'"),
        (lambda folder: change_card(folder, window=7), "window"),
        (lambda folder: change_card(folder, networks="conv"), "networks"),
    ],
    ids=[
        "tampered",
        "truncated",
        "a layer less",
        "no parameters",
        "no card",
        "half a card",
        "no text",
        "no object",
        "other schema",
        "unknown forecaster",
        "no name",
        "no corpus",
        "no window",
        "wrong type of window",
        "another window",
        "wrong networks",
    ],
)
def test_a_damaged_bundle_is_refused_in_one_line_with_its_path_and_the_cure(
    folder, harm, said, unchecked
):
    harm(folder)
    with pytest.raises(nowcast.UserError) as caught:
        nowcast.load(folder)
    message = str(caught.value)
    assert said in message
    assert str(folder) in message
    assert message.count("again") + message.count("upgrade") == 1  # one cure, said once
    assert "\n" not in message


@pytest.mark.parametrize("given", ["linaer", "./wnn", Path("wnn")])
@pytest.mark.parametrize(
    ("read", "names"),
    [(nowcast.load, ("gram", "linear", "last_value")), (read_card, ("gram", "wnn"))],
)
def test_an_unknown_name_is_refused_with_the_names_that_exist(read, names, given):
    with pytest.raises(
        nowcast.UserError, match=f"'{given}' is neither a name nor a bundle's folder; .*there are "
    ) as caught:
        read(given)
    for word in names:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "given", ["", "a" * 5000, "a\0b", None, ["wnn"]], ids=["empty", "long", "null", "none", "list"]
)
def test_what_can_be_no_name_is_refused_as_one_that_is_unknown(given, unchecked):
    with pytest.raises(nowcast.UserError, match="is neither a name"):
        nowcast.load(given)


def test_a_kind_that_is_not_shipped_is_said_to_be_fitted():
    with pytest.raises(
        nowcast.UserError, match=r"scripts/meta_train.py forecaster=wnn_multi makes a bundle"
    ):
        nowcast.load("wnn_multi")


def test_a_forecaster_without_parameters_is_not_saved(tmp_path):
    with pytest.raises(nowcast.UserError, match="linear"):
        nowcast.save(nowcast.load("linear"), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("dear")
    with pytest.raises(nowcast.UserError, match="thesis"):
        nowcast.save(random_wnn(), tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "dear"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]


def test_a_file_is_not_overwritten(tmp_path):
    (tmp_path / "bundle").write_text("dear")
    with pytest.raises(nowcast.UserError, match="bundle"):
        nowcast.save(random_wnn(), tmp_path / "bundle")
    assert (tmp_path / "bundle").read_text() == "dear"


def test_a_newer_bundle_replaces_an_older_one_and_leaves_nothing_behind(folder):
    nowcast.save(random_wnn(seed=1), folder)
    np.testing.assert_array_equal(forecast(nowcast.load(folder)), forecast(random_wnn(seed=1)))
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_a_card_that_json_cannot_hold_writes_nothing(tmp_path):
    with pytest.raises(TypeError):
        nowcast.save(random_wnn(), tmp_path / "bundle", {"loss": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("card", ['{"name": "a card of something else"}', None])
def test_a_folder_with_files_of_the_users_is_never_replaced(folder, tmp_path, card):
    target = folder if card is None else tmp_path / "theirs"
    target.mkdir(exist_ok=True)
    if card is not None:
        (target / "card.json").write_text(card)
    (target / "thesis.txt").write_text("precious")
    with pytest.raises(nowcast.UserError, match="choose another path"):
        nowcast.save(nowcast.load(folder), target)
    assert (target / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize(
    "changes",
    [
        {"horizon": 10},
        {"networks": {"conv": "fc", "fc": "conv"}},
        {"note": "better"},
        {"card_sha256": None},
    ],
    ids=str,
)
def test_a_card_that_was_changed_by_hand_is_refused(folder, changes):
    card = json.loads((folder / "card.json").read_text()) | changes
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(nowcast.UserError, match=r"card\.json is not as it was written"):
        nowcast.load(folder)


def test_a_card_that_is_nothing_but_brackets_is_damaged(folder):
    (folder / "card.json").write_text("[" * 100_000)
    with pytest.raises(nowcast.UserError, match=r"card\.json is damaged"):
        nowcast.load(folder)


SHIPPED = ("gram", "introspection", "wnn")


def test_the_reader_of_rates_that_comes_with_the_library_says_how_it_was_made():
    card = read_card("rate")
    assert nowcast.load("rate").name == card["forecaster"] == "rate"
    assert sum(file.stat().st_size for file in (PRETRAINED / "rate").iterdir()) < 1e6
    assert card["command"].endswith("corpus=corpora/sweeps forecaster=rate bundle=bundles/rate")
    parts = ("sweeps", "sweeps_digits", "sweeps_lenet", "sweeps_momentum", "sweeps_text")
    made = {f"python scripts/collect.py experiment={part}" for part in parts}
    assert set(card["corpus"]["commands"]) == made
    assert card["corpus"]["runs"] == 300


@pytest.mark.parametrize("name", SHIPPED)
def test_what_comes_with_the_library_is_small_and_says_how_it_was_made(name):
    assert tuple(shipped()) == tuple(sorted((*SHIPPED, "rate")))
    forecaster, card = nowcast.load(name), read_card(name)
    assert forecaster.name == card["forecaster"] == name
    assert sum(file.stat().st_size for file in (PRETRAINED / name).iterdir()) < 1e6
    assert card["command"].startswith(
        f"python scripts/meta_train.py corpus=corpora/shipped forecaster={name} "
    )
    assert set(card["corpus"]["commands"]) == {
        f"python scripts/collect.py experiment={part}" for part in ("shipped", "shipped_images")
    }
    for operation in ("conv", "fc"):
        rows = card["held_out"][operation][str(card["horizon"])]
        errors = {name: row["normalised"] for name, row in rows.items() if name != "skill"}
        assert min(errors, key=errors.get) == name
    assert any("never jump: norm, embedding, other" in limit for limit in card["limits"])
    assert "/root" not in (PRETRAINED / name / "card.json").read_text()


def test_a_folder_with_a_shipped_name_is_loaded_by_its_path(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder.rename(tmp_path / "gram")
    assert nowcast.load("gram").name == "gram"
    assert nowcast.load("./gram").name == "wnn"
    assert read_card("./gram")["forecaster"] == "wnn"


def test_a_bundle_whose_card_has_the_older_name_of_networks_is_loaded(folder):
    card = json.loads((folder / "card.json").read_text())
    del card["card_sha256"]
    older = {"served_by" if key == "networks" else key: value for key, value in card.items()}
    digest = card_hash(older)
    (folder / "card.json").write_text(json.dumps(older | {"card_sha256": digest}))
    assert read_card(folder) == card | {"card_sha256": digest}
    loaded = nowcast.load(folder)
    assert loaded.networks == card["networks"]
    np.testing.assert_array_equal(forecast(loaded), forecast(random_wnn()))
    (folder / "card.json").write_text(json.dumps(older | {"card_sha256": digest, "served_by": {}}))
    with pytest.raises(nowcast.UserError, match="not as it was written"):
        read_card(folder)
