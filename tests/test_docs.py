"""What the documents tell a user to type works: commands compose, examples run."""

import doctest
import importlib
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from functools import lru_cache
from pathlib import Path

import celo_files
import curves
import jax
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from networks import random_wnn, write_published
from omegaconf import OmegaConf, open_dict
from torch_files import write_wnn_plus

import nowcast
from collect.commands import explained
from collect.config import CollectConfig
from collect.corpus_config import AdviseConfig, ImportCheckpointsConfig, InspectCorpusConfig
from evaluate import Arm, resolve, starts
from evaluate.arm_options import Jump
from evaluate.commands import evaluate, products
from evaluate.config import EvaluateConfig, ReportConfig
from evaluate.joint import without_scales
from meta_train.config import MetaTrainConfig
from meta_train.fitting import meta_train
from meta_train.learners.config import LearnerConfig
from nowcast import text
from nowcast.forecasters import LEARNED

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("results/*.md"))]
SCHEMAS = {
    "collect": CollectConfig,
    "import_checkpoints": ImportCheckpointsConfig,
    "inspect_corpus": InspectCorpusConfig,
    "meta_train": MetaTrainConfig,
    "evaluate": EvaluateConfig,
    "report": ReportConfig,
    "advise": AdviseConfig,
}
MADE = SCHEMAS | {"learner": LearnerConfig}
"""These, and ``meta_train learner=…``, which has a configuration of its own."""
EXPERIMENTS = {
    file.stem: "collect" if "\ncorpus:" in file.read_text() else "evaluate"
    for file in (ROOT / "configs" / "experiment").glob("*.yaml")
}
MODULES = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for room in ("nowcast", "collect", "meta_train", "evaluate")
    for file in sorted((ROOT / room).rglob("*.py"))
    if ">>> " in file.read_text(encoding="utf-8")
]


def called(page):
    """What a test says of a page: its path below the documents, as two pages may have one name."""
    return (
        page.relative_to(DOCS).with_suffix("").as_posix()
        if page.is_relative_to(DOCS)
        else page.stem
    )


def commands(page):
    """``(script, overrides)`` of every ``python scripts/…`` line in the bash blocks of a Markdown
    text.
    """
    for block in re.findall(r"^```(?:bash|sh|console)\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"\s*(?:\$ )?(?:\S*/)?python3? scripts/(\w+)\.py\s*(.*)", line)
            if found:
                overrides = shlex.split(found[2], comments=True)
                learner = any(override.startswith("learner=") for override in overrides)
                yield "learner" if learner else found[1], overrides


def test_the_readme_shows_every_command():
    assert README.is_file(), "README.md is missing"
    assert {name for name, _ in commands(README.read_text())} >= set(SCHEMAS)


@pytest.fixture(scope="module")
def register():
    for name, schema in MADE.items():
        ConfigStore.instance().store(name=f"{name}_schema", node=schema)
    products.store()


def jobs(name, overrides, *, each=True):
    """The configuration of every job of a command line, checked; not ``each``: of as many as have
    every value at least once.
    """
    return _jobs(name, tuple(overrides), each)


def is_sweep(value):
    """Whether it is several values; a comma within brackets makes none."""
    return "," in value and not {"[", "{"} & set(value)


@lru_cache
def _jobs(name, overrides, each):
    overrides = [override for override in overrides if override != "-m"]
    sweep = compose(
        name, overrides=[o for o in overrides if not is_sweep(o)], return_hydra_config=True
    )
    params = {key: str(value) for key, value in (sweep.hydra.sweeper.params or {}).items()}
    if not params and not any(map(is_sweep, overrides)):
        with open_dict(sweep):
            del sweep["hydra"]
        return [OmegaConf.to_object(sweep)]
    params |= dict(override.split("=", 1) for override in overrides if override[0] != "~")
    without = [override for override in overrides if override[0] == "~"]
    values = [
        [f"{key}={v}" for v in (value.split(",") if is_sweep(value) else [value])]
        for key, value in params.items()
    ]
    many = max(map(len, values))
    some = zip(*(itertools.islice(itertools.cycle(value), many) for value in values), strict=True)
    chosen = itertools.product(*values) if each else some
    return [OmegaConf.to_object(compose(name, overrides=[*job, *without])) for job in chosen]


@pytest.mark.filterwarnings(r"ignore:\s*'hydra/launcher/\w+' is validated:UserWarning")
@pytest.mark.parametrize(
    "page",
    # the commands of the pages of results are also those of the results, and have a test as such
    [
        pytest.param(
            page, id=called(page), marks=[pytest.mark.slow] * (page.parent.name == "results")
        )
        for page in PAGES
    ],
)
def test_every_command_in_the_documents_composes(register, page):
    found = [
        (n, overrides)
        for n, overrides in commands(page.read_text())
        if n in MADE and "--help" not in overrides
    ]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        for name, overrides in found:
            configs = jobs(name, overrides, each=False)
            assert configs
            for config in configs if name == "evaluate" else []:
                assert resolve(config.arm, optimizer=config.optimizer.name, learning_rate=0.1)
    assert len(found) >= {"README": 6, "collecting": 8, "meta_training": 3, "evaluate": 5}.get(
        page.stem, 0
    )


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name == "paper"))  # 60 jobs
        for name, command in EXPERIMENTS.items()
        if command == "collect"
    ],
)
def test_the_page_says_how_many_runs_and_epochs_an_experiment_is(register, name):
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        configs = jobs("collect", [f"experiment={name}"])
    runs = sum(config.runs for config in configs)
    epochs = sum(config.runs * config.epochs for config in configs)
    row = next(
        line
        for line in (DOCS / "collecting.md").read_text().splitlines()
        if line.startswith(f"| `{name}` |")
    )
    assert f"{len(configs)} jobs |" in row
    assert f"| {runs:,}, {epochs:,}, " in row


@pytest.mark.parametrize(
    "name", [name for name, command in EXPERIMENTS.items() if command == "evaluate"]
)
def test_the_arms_of_an_experiment_go_together(register, name):
    given = ["forecaster=linear", "published=average", "introspection=exponential", "report=mine"]
    given += ["introspection_linear=linear", "introspection_further=quadratic"]
    given += ["nino=gram", "wnn_plus=gram"]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        for config in jobs("evaluate", [f"experiment={name}", *given]):
            arms, left = resolve(config.arm, optimizer=config.optimizer.name, learning_rate=0.1)
            assert (len(arms), left) == (len(config.arm), [])
            assert config.beside.keys() <= config.arm.keys()
            for arm in arms:  # written out in each file
                if arm.guard and arm.guard.longest:
                    guard = nowcast.Guard.backtracking()
                    assert (*arm.guard.dampings, arm.guard.tolerance) == (
                        *guard.dampings,
                        guard.tolerance,
                    )


@pytest.mark.parametrize("name", evaluate.SETS)
def test_the_reports_of_a_set_of_experiments_can_be_joined(register, name):
    known = {}
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        for experiment in evaluate.SETS[name]:
            [config] = jobs("evaluate", [f"experiment={experiment}", "nino=gram", "report=mine"])
            for arm in resolve(config.arm, optimizer=config.optimizer.name, learning_rate=0.1)[0]:
                same = {key: without_scales(key, value) for key, value in arm.settings.items()}
                assert known.setdefault(arm.name, same) == same, (experiment, arm.name)
    assert {"cosine", "cosine_ema", "cosine_nino", "cosine_gpa_tuned"} <= known.keys()


def test_a_set_of_experiments_is_jobs_of_one_command():
    [experiments, seeds, several] = evaluate.with_jobs(["experiment=tuned_bases", "seeds=3"])
    assert experiments.split("=")[1].split(",") == [*evaluate.SETS["tuned_bases"]]
    assert (seeds, several) == ("seeds=3", "-m")
    for plain in (["experiment=table4"], ["experiment=tuned_bases", "--cfg", "job"]):
        assert evaluate.with_jobs(plain) == plain


def test_table_4_is_2500_epochs_by_the_papers_protocol_and_held_out_is_4_tasks(register):
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        [table4] = jobs("evaluate", ["experiment=table4", "report=mine"])
        held_out = jobs("evaluate", ["experiment=held_out", "report=mine"])
    assert len(table4.arm) * table4.seeds * table4.epochs == 2500
    assert (table4.protocol, table4.target_value) == ("paper", 0.59)
    assert (table4.model.name, table4.data.center) == ("vanilla_cnn_glorot", True)
    assert not table4.data.validation
    assert {(job.model.name, job.model.depth, job.data.name) for job in held_out} == {
        (*model, data)
        for model in (("shufflenet_v2", None), ("resnet", 32))
        for data in ("mnist", "cifar10")
    }


@pytest.mark.slow
def test_the_papers_corpus_is_30_000_epochs_and_its_validation_2_200(register):
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        for name, epochs in (("paper", 30_000), ("paper_validation", 2_200)):
            configs = jobs("collect", [f"experiment={name}"])
            assert sum(config.runs * config.epochs for config in configs) == epochs
            seeds = {
                (c.model.name, c.model.depth, c.data.name, c.seed + i)
                for c in configs
                for i in range(c.runs)
            }
            assert len(seeds) == sum(config.runs for config in configs)  # no run twice


def test_the_gpu_experiment_collects_for_12_minutes_at_most(register):
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        assert (
            sum(config.max_minutes for config in jobs("collect", ["experiment=gpu_half_hour"]))
            <= 12
        )


def test_the_readme_begins_with_make():
    assert README.is_file(), "README.md is missing"
    first_screen = "\n".join(README.read_text().splitlines()[:60])
    for words in ("make demo", "make test", "nowcast.periodic"):
        assert words in first_screen


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    done = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert done.attempted
    assert done.failed == 0


def test_the_main_functions_have_an_example():
    for function in (nowcast.periodic, nowcast.forecast, nowcast.load, nowcast.label_ops):
        assert doctest.DocTestFinder().find(function)[0].examples


def test_the_readme_is_short_and_its_example_too():
    assert len(README.read_text().splitlines()) <= 150
    [example] = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    assert len([line for line in example.splitlines() if line]) <= 30


def test_the_site_starts_with_the_readmes_install_and_example():
    install, example = (
        re.findall(pattern, README.read_text(), re.DOTALL | re.MULTILINE)[0]
        for pattern in (r"^```bash\n.*?^```", r"^```python\n.*?^```")
    )
    assert install in (DOCS / "index.md").read_text()
    assert example in (DOCS / "index.md").read_text()


def test_the_page_of_the_bundle_has_every_key_of_a_card():
    page = (DOCS / "bundle.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    shown = {key for row in rows for key in re.findall(r"`(\w+)`", row)}
    assert shown | {"bias"} == nowcast.bundle.read_card("wnn").keys()


def test_the_page_of_an_arm_has_every_key_of_an_arm():
    page = (DOCS / "own_arm.md").read_text()
    given = {one.name for one in fields(Arm)} - {"name", "rate_of", "sweeps_warmup"}
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) >= given
    [jump] = re.findall(r"^### `jump`\n\n(.*?)\.", page, re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", jump)) == {one.name for one in fields(Jump)}


def test_the_pages_that_are_made_have_every_command_and_every_key_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from scripts import docs_pages

    page = docs_pages.on_page_markdown((DOCS / "commands.md").read_text())
    assert docs_pages.SCHEMAS == MADE
    for name, schema in MADE.items():
        title = text.INSTALLED.get(name, f"nowcast-meta-train {name}=")
        section = page.split(f"\n## {title}\n")[1].split("\n## ")[0]
        groups = explained.groups_of(ROOT / "configs" / f"{name}.yaml")
        for key in explained.keys(schema, groups):
            assert f"\n| `{key.name}` | " in section
    page = docs_pages.on_page_markdown((DOCS / "results_json.md").read_text())
    for name, schema in curves.SCHEMAS.items():
        for key in schema["properties"]:
            assert f"\n| `{key}` | " in page
        for part in schema.get("$defs", {}):
            assert f"(#{name}-{part})" in page
            assert f"{{ #{name}-{part} }}" in page


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_every_python_example_of_a_page_runs(page, corpus_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if page == DOCS / "forecasters.md":
        monkeypatch.setitem(LEARNED, "small", None)  # which the page adds: to be taken away again
        (tmp_path / "downloads" / "WNN").mkdir(parents=True)
        write_published(tmp_path / "downloads" / "WNN", random_wnn().params)
        write_wnn_plus(tmp_path / "downloads" / "nino_mlp.pt", monkeypatch)
    if page.stem == "learned_optimizers":
        (tmp_path / "downloads").mkdir()
        celo_files.write(tmp_path / "downloads" / "theta.state", celo_files.random_tensors())
    if page.stem == "corpus":
        (tmp_path / "corpora").mkdir()
        (tmp_path / "corpora" / "mine").symlink_to(corpus_path)
    names = {"__name__": "__main__"}  # the blocks of a page follow one another
    with jax.numpy_rank_promotion("allow"):
        for example in re.findall(
            r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
        ):
            exec(example, names)
    for name in ("state", "opt_state"):
        if name in names:
            state = getattr(names[name], "opt_state", names[name])
            follows = isinstance(state, nowcast.RateState)
            # It does jump.
            assert state.multiplier > 2 if follows else np.all(np.asarray(state.accepted) > 0)


def test_the_forecaster_that_the_documents_show_is_fitted_and_loaded(
    corpus_path, tmp_path, monkeypatch
):
    page = (DOCS / "forecasters.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    [example] = [code for code in examples if "LEARNED[" in code]
    assert len(example.splitlines()) < 50
    monkeypatch.setitem(LEARNED, "small", None)  # to be taken away again
    exec(example, {"__name__": "__main__"})
    card = meta_train(
        MetaTrainConfig(str(corpus_path), str(tmp_path / "b"), "small", steps=300, batch_size=64)
    ).card
    assert "small" in card["validation"]["fc"]["5"]
    # What can be learned is learned.
    assert card["curves"]["loss/fc"][-1] < 0.8 * card["curves"]["loss/fc"][0]
    assert nowcast.load(tmp_path / "b").name == "small"


@pytest.mark.parametrize("size", ["fast", "usual", "full"])
def test_every_command_of_the_demo_composes(size, register, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from scripts import demo

    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        for step in demo.steps(demo.SIZES[size]):
            _, script, *overrides = shlex.split(step.command)
            OmegaConf.to_object(compose(Path(script).stem, overrides=overrides))


@pytest.mark.parametrize(
    "found", sorted((ROOT / "docs/results").rglob("results.json")), ids=lambda f: f.parent.name
)
def test_the_command_of_a_result_is_that_of_its_arms(register, found):
    results = json.loads(found.read_text())
    [(name, overrides)] = commands(f"```bash\n{results['commands'][-1]}\n```")
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        [config] = jobs(name, overrides)
    about, shown = results["about"], {arm["name"]: arm for arm in results["arms"]}
    rate = config.optimizer.learning_rate
    if config.protocol == "robust":
        arms, _ = starts.prepared(config.arm, optimizer=config.optimizer.name)
        best = shown.pop("swept")["learning_rate"]
        spread = starts.spread(arms, best, config.robust.starts)
        resolved = starts.rows(arms[1:], {}, spread)
    else:
        arms, _ = resolve(config.arm, optimizer=config.optimizer.name, learning_rate=rate)
        resolved = {arm.name: arm for arm in arms}
    assert shown.keys() <= resolved.keys()
    assert len(results["protocol"]["seeds"]) == config.seeds
    recorded = config.record_every or about["steps_per_epoch"]
    assert (about["epochs"], about["record_every"]) == (config.epochs, recorded)
    more = about["more"]
    assert more["batch_size"] == config.batch_size
    assert more.get("task_config", more.get("model", {}).get("name")) in (
        dict(config.task),
        config.model.name,
    )
    for name, arm in shown.items():
        for part, now in json.loads(json.dumps(resolved[name].settings)).items():
            said = arm["settings"][part]
            # May lack an option that was added since, None where it is not given.
            if isinstance(now, dict) and said:
                said = {option: said.get(option) for option in now}
            if (part, now) == ("warmup", "tuned"):  # the one that calibration chose
                assert said in config.tuned.warmups, name
                continue
            assert said == now, (name, part)
        if isinstance(resolved[name].learning_rate, float):
            assert arm["learning_rate"] == resolved[name].learning_rate, name


def slug(heading):
    """The anchor that GitHub and the site make of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=called)
def test_every_link_of_a_page_leads_somewhere(page):
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in {
                slug(line) for line in re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            }, target


def test_the_reference_has_every_function_and_class_of_the_library():
    shown = set(
        re.findall(r"^::: nowcast\.(\w+)$", (DOCS / "reference.md").read_text(), re.MULTILINE)
    )
    assert shown == {name for name in nowcast.__all__ if callable(getattr(nowcast, name))}


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--quiet",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "periodic" in (tmp_path / "site" / "reference" / "index.html").read_text(
        encoding="utf-8"
    )
