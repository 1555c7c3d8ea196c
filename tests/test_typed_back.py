"""What a command prints as the next one comes through the shell and Hydra as it went in."""

import io
import shlex
import subprocess

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

import nowcast
from collect.commands import typed as typed_back
from collect.config import CollectConfig
from meta_train.commands.meta_train import show
from meta_train.config import MetaTrainConfig

VALUES = [
    "corpora/mine",
    "lr=0.1/y",
    "a b",
    "naïve",
    "a,b",
    "run#1",
    "~me",
    "a[b",
    "a(b",
    "a{b",
    "实",
    "a'b",
    'a"b',
    "a\\",
    "a\\'b",
    'a\\"b',
    "$HOME",
    "${nope}",
    "null",
    "true",
    "3",
    "1_000",
    "1e3",
    " a",
    "a ",
    "[a,b]",
    "choice(a,b)",
    "a;b&c!",
    "gs://b/c",
    "-x",
    "",
]


@pytest.mark.parametrize("value", VALUES)
def test_an_argument_that_is_printed_is_read_as_it_was(value):
    [typed] = shlex.split(typed_back.argument("corpus", value))
    override = OverridesParser.create().parse_override(typed)
    assert not override.is_sweep_override()
    assert override.key_or_group == "corpus"
    assert OmegaConf.create({"corpus": override.value()}).corpus == value


def test_what_needs_no_quotes_has_none():
    assert typed_back.argument("corpus", "corpora/mine-2.v3") == "corpus=corpora/mine-2.v3"


@pytest.mark.parametrize("value", ["é实", "naïve's\\a", 'a "é" b', "é1", "corpora/mine", "$é`!"])
@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_on_a_terminal_that_is_not_utf_8_bash_reads_the_right_bytes(monkeypatch, encoding, value):
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    typed = typed_back.argument("corpus", value)
    assert typed.isascii()
    read = subprocess.run(
        ["bash", "-c", f"printf %s {typed}"], env={"LC_ALL": "C"}, capture_output=True, check=True
    )
    assert OverridesParser.create().parse_override(read.stdout.decode("utf-8")).value() == value


@pytest.mark.parametrize(
    ("schema", "typed", "read"),
    [
        (CollectConfig, "corpus=2024_01", "2024_01"),
        (CollectConfig, "corpus=1e3", "1e3"),
        (CollectConfig, "++corpus=true", "true"),
        (MetaTrainConfig, "corpus=2024_01", "2024_01"),
        (MetaTrainConfig, "bundle=1.10", "1.10"),
        (CollectConfig, "data.dir=1_0", "1_0"),
        (CollectConfig, "data.dir=null", None),
        (CollectConfig, "epochs=1_0", 10),
        (MetaTrainConfig, "processes=2", 2),
        (CollectConfig, "model.width=1_0", 10),
        (CollectConfig, "corpus=mine", "mine"),
        (CollectConfig, "nothing=1_0", 10),
    ],
)
def test_a_number_is_a_text_where_a_text_is_meant(schema, typed, read):
    assert (
        OverridesParser.create().parse_override(typed_back.as_text(typed, schema)).value() == read
    )


@pytest.mark.parametrize("name", ["lr=0.1/y", "naïve"])
def test_the_next_command_reads_the_corpus_that_this_one_read(script, corpus_path, tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to(corpus_path)
    first = script(
        "inspect_corpus", f'corpus="{name}"', f"pictures={tmp_path / 'pictures'}", cwd=tmp_path
    )
    assert first.returncode == 0, first.stderr
    said = first.stdout.splitlines()[-1].removeprefix("next: ")
    _, command, *arguments = shlex.split(said)
    assert command == "scripts/meta_train.py"
    second = script("meta_train", *arguments, "--cfg", "job", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert yaml.safe_load(second.stdout)["corpus"] == name


@pytest.mark.parametrize(
    ("bundle", "typed"),
    [
        ("bundles/mine", "forecaster=bundles/mine"),
        ("wnn", "forecaster=./wnn"),
        ("linear", "forecaster=./linear"),
    ],
)
def test_a_bundle_in_a_folder_of_a_forecasters_name_is_the_one_that_is_compared(
    capsys, corpus_path, bundle, typed
):
    config = MetaTrainConfig(str(corpus_path), bundle, keep_out=[])
    card = {
        "corpus": {"validation_runs": []},
        "validation": {},
        "held_out": {},
        "networks": config.networks,
    }
    show(config, card)
    assert f"evaluate.py {typed} " in capsys.readouterr().out
    if bundle != "bundles/mine":
        nowcast.load(bundle)  # without its path it is the library's own
