"""The files' schemas: they say what every key is, and results are as they say."""

import copy
import json
import math
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from curves import SCHEMAS, plan, reaching, read_back, results, run, told, validate
from jsonschema import Draft202012Validator, ValidationError

from collect.tasks import LOSS, Metric
from evaluate import cost, joint, report
from evaluate.arm_options import Average, GuardOptions, Jump, Outer
from evaluate.arms import Arm
from evaluate.joining import read

NAN = math.nan
ARMS = {
    "constant": Arm(),
    "linear": Arm(
        over="constant",
        forecaster="linear",
        jump=Jump(damping=0.5, operations=["fc"]),
        guard=GuardOptions(),
    ),
    "wnn": Arm(over="constant", forecaster="bundles/mine"),
    "snoo": Arm(
        over="constant", outer=Outer(momentum=0.4), average=Average(), learning_rate="tuned"
    ),
}


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """By the paper's protocol, with all that may be null: read from a file."""
    lost = run(
        [1.0, NAN, NAN, NAN],
        accuracy=[0.1, NAN, NAN, NAN],
        jumps=[(20, 0.5, NAN, 1.0), (30, NAN, NAN, 0.0)],
        undisturbed=None,
    )
    good = reaching(3, length=4, accuracy=[0.1, 0.5, 0.7, 0.8])
    own = plan(seeds=1, **ARMS, target_metric="accuracy", target_value=0.6)
    errors = {"linear": [{"fc": 0.5}], "wnn": [{}], "snoo": None}
    found = results(
        own, {"constant": [good], "linear": [good], "wnn": [lost], "snoo": [good]}, errors=errors
    )
    costs = {
        name: cost.of(found, name, card)
        for name, card in (
            ("linear", {"seconds": 1.0, "corpus": {"seconds": 2.0, "runs": 3}}),
            ("wnn", {}),
        )
    }
    found = told(
        found,
        cost=costs,
        left_out=["published"],
        seen=["wnn was meta-trained on what is not known."],
    )
    return read_back(found, tmp_path_factory.mktemp("made_up"))


def inside(schema, path="#"):
    """Every schema within one, with its path."""
    yield path, schema
    for key in ("properties", "patternProperties", "$defs"):
        for name, one in schema.get(key, {}).items():
            yield from inside(one, f"{path}/{key}/{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from inside(schema[key], f"{path}/{key}")
    for place, one in enumerate(schema.get("anyOf", [])):
        yield from inside(one, f"{path}/anyOf/{place}")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_key_is_described_and_none_is_open_by_accident(name):
    schema = SCHEMAS[name]
    Draft202012Validator.check_schema(schema)
    keys = 0
    for path, one in inside(schema):
        for key, value in (one.get("properties", {}) | one.get("patternProperties", {})).items():
            target = (
                schema["$defs"][value["$ref"].removeprefix("#/$defs/")]
                if "$ref" in value
                else value
            )
            said = value.get("description") or target.get("description")
            assert said, f"{path}: {key}"
            assert said[-1] == ".", f"{path}: {key}"
            keys += 1
        if "properties" in one:
            assert "additionalProperties" in one, path
            missing = one["properties"].keys() - set(one["required"])
            assert missing <= {
                "metrics",
                "at",
                "aim",
                "skip",
                "model",
                "learned",
                "seconds",
                "ema_nesterov",
                "gpa",
                "airbench_lookahead",
                "tail_blend",
                "target_metric",
                "start",
                "forecaster",
                "splits",
                "intervals",
                "robust",
                "budget",
                "auto",
                "warmup_tuned",
                "warmup",
                "warmup_at_edge",
                "rates",
                "warmups",
                "ratio",
                "difference",
                "machine",
                "settings_sha256",
                "min_drift",
                "max_relative_jump",
            }, path
            assert set(one["required"]) <= one["properties"].keys(), path
        if isinstance(one.get("additionalProperties"), dict):
            assert one["additionalProperties"]["description"], path
    assert keys > {"results": 100, "joint": 10}[name]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_definition_is_used(name):
    text = json.dumps(SCHEMAS[name])
    for definition in SCHEMAS[name]["$defs"]:
        assert f'"#/$defs/{definition}"' in text


def test_the_schemas_come_with_the_package():
    project = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["evaluate"]
    for name in SCHEMAS:
        assert any(fnmatch(f"{name}.schema.json", pattern) for pattern in patterns)


def test_results_are_as_the_schema_says_with_all_that_may_be_missing(made_up):
    validate("results", made_up)
    assert made_up["arms"][2]["final_loss"] is None
    assert made_up["arms"][2]["jumps"]["worst_dip"] is None
    assert made_up["arms"][1]["against"]["constant"]["0.6"]["steps"]["speed_up"] == [1, None, None]
    assert (made_up["cost"]["linear"]["pays_after"], made_up["cost"]["wnn"]["fit_seconds"]) == (
        None,
        None,
    )


def test_a_task_may_have_other_metrics_and_no_accuracy(tmp_path):
    made = reaching(3, length=4, perplexity=[9.0, 8.0, 7.0, 6.0], test_perplexity=[6.5])
    made = {key: value for key, value in made.items() if "accuracy" not in key}
    given = (LOSS, Metric("perplexity"))
    found = results(plan(seeds=1, metrics=given, constant=Arm()), {"constant": [made]})
    validate("results", read_back(told(found), tmp_path))
    assert found["arms"][0]["test_perplexity"] == 6.5
    assert not any("accuracy" in key for key in found["arms"][0])
    assert "test perplexity" in report.page(told(found))
    assert "accuracy" not in report.page(told(found))


def test_results_from_before_metrics_were_said_are_read_as_they_were_meant(made_up, tmp_path):
    older = {key: value for key, value in made_up.items() if key not in ("metrics", "splits")}
    validate("results", older)
    assert report.page(older) == report.page(made_up)
    assert report.markdown(older) == report.markdown(made_up)
    again = older | {"about": older["about"] | {"content": "another"}}
    assert joint.join([older, again])["metric"] == {
        "name": "loss",
        "better": "lower",
        "compare": "ratio",
    }
    assert read(folder_of(older, tmp_path)) == older


def folder_of(results, folder):
    """A report's folder with these results."""
    read_back(results, folder)
    return folder


def test_joint_results_are_as_their_schema_says_with_all_that_may_be_missing(made_up, tmp_path):
    again = made_up | {"about": made_up["about"] | {"content": "another"}}
    found = read_back(joint.join([made_up, again]), tmp_path)
    validate("joint", found)
    assert found["arms"][1]["final_loss_ratio"]["all"] == [None, None, None]


def test_a_page_is_made_of_what_may_be_missing(made_up):
    page = report.page(made_up)
    assert "not finite" in page
    assert "DIVERGED" in page
    assert "Left out, because their weights were not given: published." in page
    assert "not known" in page


WRONG = {
    "another key": lambda found: found.update(extra=1),
    "a key too few": lambda found: found.pop("verdicts"),
    "another schema": lambda found: found.update(schema="weight-nowcaster/results/1"),
    "an interval of two": lambda found: found["arms"][1]["seconds_ratio"].pop(),
    "a word for a number": lambda found: found["arms"][0].update(final_loss="low"),
    "another key of an arm": lambda found: found["arms"][0].update(extra=1),
    "another setting": lambda found: found["arms"][1]["settings"]["jump"].update(extra=1),
    "a run without steps": lambda found: found["curves"]["constant"][0].pop("step"),
    "no way of comparing": lambda found: found["metrics"][0].update(compare="by eye"),
    "a pair of nothing": lambda found: found["arms"][1]["final_loss_ratio"].pop("ratio"),
    "a run with words": lambda found: found["curves"]["constant"][0].update(comment="good"),
    "no protocol of ours": lambda found: found["protocol"].update(name="kind"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_as_the_schema_says_is_found(made_up, what):
    changed = copy.deepcopy(made_up)
    WRONG[what](changed)
    with pytest.raises(ValidationError):
        validate("results", changed)
