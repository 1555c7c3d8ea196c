"""The options of a jump and of a guard are defined once; what names them elsewhere agrees."""

import inspect
import json
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import get_type_hints

import optax
import pytest
from omegaconf import OmegaConf

import nowcast
from evaluate.arm_options import GuardOptions, Jump
from evaluate.arms import Arm
from evaluate.config import EvaluateConfig
from nowcast.jumps import JumpOptions

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = json.loads((ROOT / "evaluate" / "results.schema.json").read_text())["$defs"]["settings"]
OPTIONS = {
    field.name: field
    for field in fields(nowcast.Jumps)
    if field.default is not MISSING and field.name != "every"
}
NOT_OF_ARMS = {"labels", "guard", "axis_name"}  # the task's, a part of its own, and nothing there
OF_OLDER_RESULTS = {"max_relative_jump"}


def described(documented):
    """The names in the ``Args:`` of a docstring, in their order."""
    text = inspect.getdoc(documented).partition("Args:\n")[2]
    return re.findall(r"^    (\w+):", text.partition("\n\n")[0], re.MULTILINE)


def test_the_keywords_of_periodic_are_the_options_of_jumps():
    hints = get_type_hints(nowcast.Jumps)
    assert get_type_hints(JumpOptions) == {name: hints[name] for name in OPTIONS}
    assert [*JumpOptions.__annotations__] == [*OPTIONS]


def test_each_option_is_described_once():
    assert described(nowcast.Jumps) == [field.name for field in fields(nowcast.Jumps)]
    assert described(nowcast.periodic) == ["inner", "forecaster", "every", "moments", "options"]
    named = re.search(r"options: .*?With a guard", nowcast.periodic.__doc__, re.DOTALL)[0]
    assert set(re.findall(r"``(\w+)``", named)) == {*OPTIONS}
    assert described(nowcast.Guard)
    for guard in (nowcast.Guard, nowcast.WaitingGuard):
        assert {*described(guard)} == {f.name for f in fields(guard)}


def test_an_arm_has_the_options_of_jumps_with_their_defaults():
    own = {field.name: field.default for field in fields(Jump)}
    more = {"every": 1, "horizon_to": None, "moments": "keep"}
    assert own == {name: OPTIONS[name].default for name in OPTIONS.keys() - NOT_OF_ARMS} | more
    assert inspect.signature(nowcast.periodic).parameters["moments"].default == more["moments"]


def test_an_arm_has_the_options_of_a_guard_with_their_defaults():
    for own, guard in (
        (GuardOptions(), nowcast.Guard()),
        (GuardOptions(kind="at_once"), nowcast.Guard()),
        (GuardOptions(kind="waiting"), nowcast.WaitingGuard(after=10)),
        (GuardOptions(after=0.1, give_up=2), nowcast.WaitingGuard(after=2, give_up=2)),
        (GuardOptions(kind="backtracking"), nowcast.Guard.backtracking()),
        (
            GuardOptions(kind="backtracking", tolerance=0.05),
            nowcast.Guard.backtracking(tolerance=0.05),
        ),
    ):
        assert own.guard(every=20) == guard  # `after` counts snapshots
        assert own.options.keys() == {*vars(guard), "after"}
        assert own == GuardOptions(**own.options)
    with pytest.raises(
        nowcast.UserError,
        match=r"guard\.kind=backtrack: is not a kind of guard; the nearest",
    ):
        GuardOptions(kind="backtrack")
    with pytest.raises(nowcast.UserError, match=r"guard\.after=1: backtracking does not wait"):
        GuardOptions(kind="backtracking", after=1)
    with pytest.raises(nowcast.UserError, match=r"guard\.after=-1: must be above 0 snapshots"):
        GuardOptions(after=-1)


@pytest.mark.parametrize(
    ("said", "options"),
    [
        (None, None),
        ({"kind": "none"}, None),
        ("backtracking", GuardOptions(kind="backtracking")),
        ({"kind": "backtracking"}, GuardOptions(kind="backtracking")),
        ("waiting", GuardOptions(after=0.5)),
        ({"after": 0.25}, GuardOptions(kind="waiting", after=0.25)),
        ({"kind": "none", "tolerance": 0.1}, GuardOptions(tolerance=0.1)),
        ("at_once", GuardOptions()),
    ],
    ids=str,
)
def test_the_guard_of_an_arm_is_a_word_or_options(said, options):
    assert Arm(guard=said).guard == options
    given = OmegaConf.create({"arm": {"a": {"guard": said}}})
    composed = OmegaConf.merge(OmegaConf.structured(EvaluateConfig(report="x")), given)
    assert OmegaConf.to_object(composed).arm["a"].guard == options


def test_the_schema_of_results_has_the_options_of_arms():
    jump, guard = (SETTINGS["properties"][part] for part in ("jump", "guard"))
    assert jump["properties"].keys() == {field.name for field in fields(Jump)} | OF_OLDER_RESULTS
    assert guard["properties"].keys() == {*guard["required"]} == GuardOptions().options.keys()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (
            "min_drfit",
            (
                "nowcast.periodic has no option of this name; the nearest is min_drift; there are"
                " at, aim, labels, operations, "
            ),
        ),
        (
            "max_relative_jump",
            "nowcast.periodic has no option of this name; there are at, aim, labels, operations, ",
        ),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest(option, said):
    with pytest.raises(nowcast.UserError, match=f"^{option}: {said}") as caught:
        nowcast.periodic(optax.sgd(0.1), nowcast.load("linear"), every=1, **{option: 0.5})
    assert "\n" not in str(caught.value)
