"""No message names an option that does not exist."""

import ast
import inspect
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import collect
import nowcast
from collect.config import CollectConfig
from collect.corpus.recording import Recording
from collect.corpus_config import AdviseConfig, ImportCheckpointsConfig, InspectCorpusConfig
from collect.tasks import DDPG, Diffusion, Language, MaskedLanguage, Pose, Segmentation, Transfer
from evaluate import comparison as evaluation
from evaluate.arms import Arm
from evaluate.config import EvaluateConfig, ReportConfig
from meta_train.config import MetaTrainConfig
from meta_train.learners.config import LearnerConfig
from nowcast.forecasters import LEARNED, SIMPLE

ROOT = Path(__file__).resolve().parent.parent
NAMED = re.compile(r"(?<![\w.{}/-])([a-z][a-z_]*(?:\.[a-z_]+)*)=")
OTHERS = {
    *("file_format", "data_dir", "value_fn", "value", "dtype", "trainable", "steps_per_epoch"),
    "learner",
}
"""Options of other programs, of ``update``, and of a layer of Keras; a member of a task; a group of
configurations.
"""


def keys(schema, prefix=""):
    """The keys of a command's configuration, as one types them."""
    hints = get_type_hints(schema)
    for field in fields(schema):
        yield f"{prefix}{field.name}"
        for inside in (hints[field.name], *get_args(hints[field.name])):
            if is_dataclass(inside):
                yield from keys(inside, f"{prefix}{field.name}.")


def parameters(*functions):
    return {name for function in functions for name in inspect.signature(function).parameters}


KEYS = {
    key
    for schema in (
        AdviseConfig,
        CollectConfig,
        EvaluateConfig,
        ImportCheckpointsConfig,
        InspectCorpusConfig,
        ReportConfig,
        MetaTrainConfig,
        LearnerConfig,
    )
    for key in keys(schema)
} | {key.split(".", prefix)[-1] for key in keys(Arm) for prefix in (0, 1)}
TASK = {"task._target_"} | {
    f"task.{name}"
    for task in (DDPG, Diffusion, Language, MaskedLanguage, Pose, Segmentation, Transfer)
    for function in (task, getattr(task, "configured", task))
    for name in inspect.signature(function).parameters
}
LIBRARY = parameters(
    nowcast.periodic,
    nowcast.auto_rate,
    nowcast.advise,
    nowcast.Jumps,
    nowcast.Guard,
    nowcast.Guard.backtracking,
    nowcast.forecast,
    nowcast.decaying_horizon,
    nowcast.import_published_nino,
    nowcast.import_published_wnn,
    nowcast.label_ops,
    nowcast.neuron_graph,
    evaluation.compare,
    nowcast.forecasters.Forecaster,
    *LEARNED.values(),
    *SIMPLE.values(),
)


def callback():
    """The arguments of the Keras callback, whose module needs Keras."""
    tree = ast.parse((ROOT / "nowcast" / "integrations" / "keras.py").read_text(encoding="utf-8"))
    made = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    ]
    return {argument.arg for node in made for argument in (*node.args.args, *node.args.kwonlyargs)}


def messages(file):
    """Every text in what is raised or required in a file; what is filled in stands as ``{}``."""
    for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        name = getattr(getattr(call, "func", None), "id", "")
        if isinstance(call, ast.Call) and name in ("UserError", "require", "print"):
            for node in (part for argument in call.args for part in ast.walk(argument)):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(
                        part.value if isinstance(part, ast.Constant) else "{}"
                        for part in node.values
                    )
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def unknown(folder, known):
    files = [
        file
        for file in (ROOT / folder).rglob("*.py")
        if "bench" not in file.relative_to(ROOT).parts
    ]
    named = {
        (key, said) for file in files for said in messages(file) for key in NAMED.findall(said)
    }
    assert len(named) > 5
    return {(key, said) for key, said in named if key not in known}


@pytest.mark.parametrize("folder", ["collect", "meta_train", "evaluate"])
def test_a_command_names_keys_that_it_has(folder):
    assert (
        unknown(
            folder,
            KEYS
            | TASK
            | parameters(evaluation.compare, collect.record, Recording.snapshot)
            | OTHERS,
        )
        == set()
    )


def test_the_library_names_arguments_that_it_has():
    assert unknown("nowcast", KEYS | LIBRARY | callback() | OTHERS) == set()


def test_what_is_named_elsewhere_is_found():
    assert {
        "epochs",
        "data.dir",
        "arm",
        "jump.horizon",
        "tuned.seeds",
        "min_drift",
    } <= KEYS | LIBRARY
    assert NAMED.findall("epochs={}; give steps=… or data.dir=/x, not --flag=3") == [
        "epochs",
        "steps",
        "data.dir",
    ]
