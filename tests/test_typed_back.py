"""What a command prints as the next one comes through the shell and Hydra as it went in."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

import nowcast

VALUES = [
    "corpora/mine", "lr=0.1/y", "a b", "naïve", "a,b", "run#1", "~me", "a[b", "a(b", "a{b", "实", "a'b", 'a"b', "a\\", "a\\'b", 'a\\"b', "$HOME",
    "${nope}", "null", "true", "3", "1_000", "1e3", " a", "a ", "[a,b]", "choice(a,b)", "a;b&c!", "gs://b/c", "-x", "",
]  # fmt: skip


@pytest.fixture
def scripts(monkeypatch):
    """The commands' modules."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parent.parent)
    from scripts import cli, meta_train

    return SimpleNamespace(cli=cli, meta_train=meta_train)


@pytest.mark.parametrize("value", VALUES)
def test_an_argument_that_is_printed_is_read_as_it_was(scripts, value):
    [typed] = shlex.split(scripts.cli.argument("corpus", value))
    override = OverridesParser.create().parse_override(typed)
    assert not override.is_sweep_override()
    assert override.key_or_group == "corpus"
    assert OmegaConf.create({"corpus": override.value()}).corpus == value


def test_what_needs_no_quotes_has_none(scripts):
    assert scripts.cli.argument("corpus", "corpora/mine-2.v3") == "corpus=corpora/mine-2.v3"


@pytest.mark.parametrize("name", ["lr=0.1/y", "naïve"])
def test_the_next_command_reads_the_corpus_that_this_one_read(script, corpus_path, tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to(corpus_path)
    first = script("inspect_corpus", f'corpus="{name}"', f"pictures={tmp_path / 'pictures'}", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    said = first.stdout.splitlines()[-1].removeprefix("next: ")
    _, command, *arguments = shlex.split(said)
    assert command == "scripts/meta_train.py"
    second = script("meta_train", *arguments, "--cfg", "job", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert yaml.safe_load(second.stdout)["corpus"] == name


@pytest.mark.parametrize(
    ("bundle", "typed"),
    [("bundles/mine", "forecaster=bundles/mine"), ("wnn", "forecaster=./wnn"), ("linear", "forecaster=./linear")],
)
def test_a_bundle_in_a_folder_of_a_forecasters_name_is_the_one_that_is_compared(scripts, capsys, bundle, typed):
    card = {"corpus": {"validation_runs": []}, "validation": {}, "held_out": {}, "served_by": {}}
    config = SimpleNamespace(bundle=bundle, keep_out=[], served_by={})
    scripts.meta_train.show(config, card)
    assert f"evaluate.py {typed} " in capsys.readouterr().out
    if bundle != "bundles/mine":
        nowcast.load(bundle)  # without its path it is the library's own
