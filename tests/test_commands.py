"""The commands as a user types them: help explains every key; they lead from data to report."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

import nowcast
from collect import corpus
from collect.commands import explained
from collect.config import CollectConfig
from collect.corpus_config import AdviseConfig, ImportCheckpointsConfig, InspectCorpusConfig
from collect.data.augment import AUGMENTS
from collect.models import MODELS
from collect.training.optimizers import OPTIMIZERS
from evaluate.commands import products
from evaluate.config import EvaluateConfig, ReportConfig
from meta_train.config import MetaTrainConfig

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
CONTRACT = ("collect", "inspect_corpus", "meta_train", "evaluate")
SCHEMAS = {
    "collect": CollectConfig,
    "inspect_corpus": InspectCorpusConfig,
    "meta_train": MetaTrainConfig,
    "evaluate": EvaluateConfig,
    "report": ReportConfig,
    "import_checkpoints": ImportCheckpointsConfig,
    "advise": AdviseConfig,
}
SCRIPTS = tuple(SCHEMAS)


def keys(tree, prefix=""):
    """The keys of a configuration with their defaults."""
    for key, value in OmegaConf.to_container(tree).items():
        if isinstance(value, dict) and value:
            yield from keys(OmegaConf.create(value), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@pytest.fixture(scope="module")
def helped(script, tmp_path_factory):
    folder = tmp_path_factory.mktemp("help")
    shown = {name: script(name, "--help", cwd=folder) for name in SCRIPTS}
    assert list(folder.iterdir()) == []
    return shown


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_explains_every_key_with_its_default(helped, name):
    defaults = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    assert list(defaults) == ["defaults"]  # the dataclass has all others
    groups = {key: value for one in defaults["defaults"] if isinstance(one, dict)
              for key, value in one.items()}  # fmt: skip
    done = helped[name]
    assert done.returncode == 0
    said = dict(re.findall(r"^  ([\w.]+)=(\S*)\s+\S", done.stdout, re.MULTILINE))
    for key, value in keys(OmegaConf.structured(SCHEMAS[name])):
        top = key.split(".")[0]
        if top in groups and (key == top or key not in said):  # what a group's file sets
            key, value = top, groups[top]
        assert value == ("???" if said[key] == "…" else yaml.safe_load(said[key])), key
    for group, value in groups.items():
        assert group == "experiment" or said[group] == str(value).replace("'", "").replace(" ", "")
    assert all(len(line) <= 130 for line in done.stdout.splitlines() if line.startswith("  "))


def test_help_says_what_the_dataclass_says(helped):
    text = " ".join(helped["meta_train"].stdout.split())
    for says in explained.documented(SCHEMAS["meta_train"]).values():
        assert says.replace("nowcast-collect", "python scripts/collect.py") in text
    assert "'bundle=bundles/h${horizon}'" in text
    assert explained.documented(SCHEMAS["evaluate"])["epochs"] == "length of each run"


@pytest.mark.parametrize("name", ["collect", "evaluate"])
def test_help_names_what_there_is_to_choose(helped, name):
    for group in ("model", "data", "augment", "optimizer"):
        for option in (CONFIGS / group).glob("*.yaml"):
            assert option.stem in helped[name].stdout


def test_help_names_experiments_launchers_and_arms(helped):
    listed = re.search(r"^arm: ((?:.|\n  )*)$", helped["evaluate"].stdout, re.MULTILINE)[1]
    listed = re.split(r",\s+", listed)
    files = {option.stem for option in (CONFIGS / "arm").glob("*.yaml")}
    assert set(listed) == files | products.store().keys()
    for group in ("experiment", "hydra/launcher"):
        for option in (CONFIGS / group).glob("*.yaml"):
            assert option.stem in helped["collect"].stdout
    assert "arm: " not in helped["collect"].stdout  # it has no arms


def test_a_reader_that_has_seen_enough_is_no_error(command_line):
    reads, writes = os.pipe()
    os.close(reads)
    command = command_line("collect", "--help")
    done = subprocess.run(
        command, stdout=writes, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    os.close(writes)
    assert done.returncode == 1
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("group", "registered"), [("model", MODELS), ("augment", AUGMENTS), ("optimizer", OPTIMIZERS)]
)
def test_everything_registered_has_a_configuration(group, registered):
    configured = {
        yaml.safe_load(file.read_text())["name"] for file in (CONFIGS / group).glob("*.yaml")
    }
    assert configured == set(registered)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory, script):
    """The commands of the contract, made small; every one with relative paths, from an empty
    folder.
    """
    cwd = tmp_path_factory.mktemp("pipeline")
    small = ["data=digits", "data.train_size=200", "model.width=0.3"]
    done = {
        "collect": script(
            "collect",
            "model=lenet",
            "optimizer=adam",
            "runs=2",
            "epochs=12",
            "corpus=corpora/mine",
            *small,
            cwd=cwd,
        ),
        "inspect_corpus": script(
            "inspect_corpus",
            "corpus=corpora/mine",
            "pictures=corpora/mine-pictures",
            cwd=cwd,
        ),
        "meta_train": script(
            "meta_train",
            "corpus=corpora/mine",
            "forecaster=wnn",
            "bundle=bundles/mine",
            "steps=2",
            cwd=cwd,
        ),
        "evaluate": script(
            "evaluate",
            "forecaster=bundles/mine",
            "model=mlp",
            "seeds=2",
            "epochs=6",
            "report=reports/mine",
            "tuned.seeds=1",
            "tuned.learning_rates=[0.003]",
            "tuned.warmups=[0.1]",
            *small,
            cwd=cwd,
        ),
    }
    return cwd, done


@pytest.mark.parametrize("name", CONTRACT)
def test_every_command_of_the_contract_ends_well_and_says_what_to_run_next(pipeline, name):
    done = pipeline[1][name]
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[-1].startswith("next: ")


def test_the_next_command_named_is_the_one_that_follows(pipeline):
    _, done = pipeline
    assert "python scripts/meta_train.py corpus=corpora/mine" in done["collect"].stdout
    assert "python scripts/evaluate.py forecaster=bundles/mine" in done["meta_train"].stdout


def test_the_results_lie_where_the_commands_said_and_nowhere_else(pipeline):
    cwd, done = pipeline
    assert sorted(path.name for path in cwd.iterdir()) == ["bundles", "corpora", "reports"]
    assert len(corpus.open(cwd / "corpora" / "mine")) == 2
    forecaster = nowcast.load(cwd / "bundles" / "mine")
    assert all(forecaster.can_forecast(op) for op in ("conv", "fc", "bias"))
    for name in ("report.html", "report.md", "results.json", "curves.png"):
        assert (cwd / "reports" / "mine" / name).stat().st_size > 1000
    assert "reports/mine/report.html" in done["evaluate"].stdout
    assert "never seen mlp-digits" in (cwd / "reports" / "mine" / "report.html").read_text()


def test_many_values_fan_out_in_one_command(script, tmp_path):
    done = script(
        "collect",
        "-m",
        "model=mlp",
        "model.width=0.05,0.1",
        "epochs=1",
        "runs=1",
        "data.train_size=100",
        "corpus=corpora/both",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    runs = corpus.open(tmp_path / "corpora" / "both")
    assert sorted(run.config["model"]["width"] for run in runs) == [0.05, 0.1]
