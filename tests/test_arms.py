"""Arms: what each takes from the one it is over, what is refused, and those that the configuration
has.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from evaluate.arm_options import Auto, Average, GuardOptions, Jump, Outer
from evaluate.arms import PLAIN, Arm, bases
from evaluate.commands import products
from evaluate.config import EvaluateConfig
from evaluate.inheritance import resolve
from nowcast.types import UserError

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
FILES = sorted((CONFIGS / "arm").glob("*.yaml"))
SETS = {"table5"}
"""Files that hold several arms of one experiment."""
BASE = Arm()
LINEAR = Arm(over="base", forecaster="linear")
BEFORE = json.loads((Path(__file__).parent / "data" / "arms.json").read_text())
"""The settings of every arm of the configuration when each had a file of its own."""


def resolved(**arms):
    found, _ = resolve(arms, optimizer="adam", learning_rate=0.001)
    return {arm.name: arm for arm in found}


def taken(arm):
    return (arm.optimizer, arm.schedule, arm.warmup, arm.learning_rate, arm.outer, arm.average)


def test_a_base_that_says_nothing_is_the_commands_optimizer_at_the_given_rate():
    [base] = resolved(base=BASE).values()
    assert taken(base) == ("adam", "constant", 0.0, 0.001, None, None)
    assert (base.name, base.over, base.rate_of) == ("base", None, "")


def test_an_arm_takes_from_its_base_what_it_does_not_say():
    own = {
        "optimizer": "momentum",
        "schedule": "cosine",
        "warmup": 0.1,
        "learning_rate": 0.3,
        "average": Average("ema"),
    }
    arms = resolved(
        base=Arm(**own, outer=Outer(every=7)), jumps=replace(LINEAR, jump=Jump(moments="reset"))
    )
    assert (
        taken(arms["jumps"])
        == taken(arms["base"])
        == ("momentum", "cosine", 0.1, 0.3, Outer(7), Average("ema"))
    )


def test_what_an_arm_says_itself_wins_along_a_chain():
    arms = resolved(
        base=Arm(schedule="cosine", learning_rate=0.3),
        muon=Arm(over="base", optimizer="muon", warmup=0.1),
        slow=Arm(over="muon", learning_rate=0.01, outer=Outer()),
        mean=Arm(over="slow", schedule="wsd", average=Average("lawa")),
    )
    assert taken(arms["muon"]) == ("muon", "cosine", 0.1, 0.3, None, None)
    assert taken(arms["slow"]) == ("muon", "cosine", 0.1, 0.01, Outer(), None)
    assert taken(arms["mean"]) == ("muon", "wsd", 0.1, 0.01, Outer(), Average("lawa"))


def test_forecasters_jumps_and_guards_are_an_arms_own():
    first = replace(LINEAR, jump=Jump(damping=0.5), guard=GuardOptions())
    arms = resolved(base=BASE, first=first, second=Arm(over="first"))
    assert (arms["second"].forecaster, arms["second"].jump, arms["second"].guard) == (
        None,
        PLAIN,
        None,
    )


def test_arms_keep_their_order_whoever_is_over_whom():
    assert list(resolved(linear=LINEAR, base=BASE)) == ["linear", "base"]


def test_a_given_rate_is_the_commands_even_over_a_tuned_base():
    arms = resolved(base=Arm(learning_rate="tuned"), low=Arm(over="base", learning_rate="given"))
    assert (arms["low"].learning_rate, arms["low"].rate_of) == (0.001, "")


def test_a_tuned_rate_is_that_of_the_nearest_arm_that_asks_for_it():
    arms = resolved(
        base=Arm(learning_rate="tuned"),
        mean=Arm(over="base", average=Average()),
        jumps=Arm(over="mean", forecaster="linear"),
        muon=Arm(over="base", optimizer="muon", learning_rate="tuned"),
        muon_jumps=Arm(over="muon", forecaster="linear"),
        fixed=Arm(over="muon", learning_rate=0.5),
        fixed_jumps=Arm(over="fixed", forecaster="linear"),
    )
    assert {name: (arm.learning_rate, arm.rate_of) for name, arm in arms.items()} == {
        "base": ("tuned", "base"), "mean": ("tuned", "base"), "jumps": ("tuned", "base"),
        "muon": ("tuned", "muon"), "muon_jumps": ("tuned", "muon"),
        "fixed": (0.5, ""), "fixed_jumps": (0.5, ""),
    }  # fmt: skip


def test_a_tuned_rate_has_a_tuned_warm_up_unless_a_number_is_said():
    arms = resolved(
        base=Arm(learning_rate="tuned"),
        mean=Arm(over="base", average=Average()),
        low=Arm(over="base", learning_rate=0.1),
        short=Arm(learning_rate="tuned", warmup=0.05),
        over_short=Arm(over="short", learning_rate="tuned"),
        again=Arm(over="short", learning_rate="tuned", warmup="tuned"),
        over_again=Arm(over="again", learning_rate=0.1),
    )
    assert {name: (arm.warmup, arm.sweeps_warmup) for name, arm in arms.items()} == {
        "base": ("tuned", True),
        "mean": ("tuned", True),
        "low": (0.0, False),
        "short": (0.05, False),
        "over_short": (0.05, False),
        "again": ("tuned", True),
        "over_again": (0.0, False),
    }


def test_optional_arms_are_left_out_where_their_forecaster_is_not_given():
    arms = {"base": BASE, "other": replace(LINEAR, forecaster="", optional=True)}
    found, left = resolve(arms, optimizer="adam", learning_rate=0.1)
    assert ([arm.name for arm in found], left) == (["base"], ["other"])
    arms["other"] = replace(LINEAR, optional=True)
    found, left = resolve(arms, optimizer="adam", learning_rate=0.1)
    assert ([arm.name for arm in found], left) == (["base", "other"], [])


def test_bases_are_those_that_others_are_over_and_those_over_nothing():
    arms = resolved(
        base=BASE,
        mean=Arm(over="base", average=Average()),
        jumps=Arm(over="mean", forecaster="linear"),
        alone=BASE,
    )
    assert [arm.name for arm in bases(list(arms.values()))] == ["base", "mean", "alone"]


def test_settings_are_all_that_runs_depend_on_but_the_rate():
    arm = resolved(base=BASE, linear=LINEAR)["linear"]
    renamed = replace(
        arm, name="other", over="another", learning_rate=0.5, rate_of="one", optional=True
    )
    assert renamed.settings == arm.settings
    changes = {
        "optimizer": "sgd",
        "schedule": "cosine",
        "warmup": 0.1,
        "outer": Outer(),
        "average": Average(),
        "forecaster": "average",
        "of": "average",
        "jump": Jump(damping=0.5),
        "guard": GuardOptions(),
    }
    assert arm.settings.keys() == changes.keys()
    for key, value in changes.items():
        assert replace(arm, **{key: value}).settings != arm.settings


def test_a_reader_of_rates_is_in_the_settings_and_the_words_only_where_there_is_one():
    plain = resolved(base=replace(BASE, auto=Auto()))["base"]
    learned = resolved(base=replace(BASE, auto=Auto(forecaster="bundles/rate")))["base"]
    assert plain.settings["auto"] == {"every": 20, "target": 0.02, "start": 0.125, "until": 0.5}
    assert learned.settings["auto"] == plain.settings["auto"] | {"forecaster": "bundles/rate"}
    said = (
        "its rate follows what bundles/rate reads (every 20 steps, from 0.125 of the rate, until"
        " 0.5 of the run)"
    )
    assert said in learned.words
    with pytest.raises(
        UserError, match=r"auto\.forecaster='': must be a bundle of forecaster=rate"
    ):
        Auto(forecaster="")


SCHEDULE_FREE, OUTER = Arm(optimizer="schedule_free"), Arm(outer=Outer())
ORACLE = Arm(over="base", forecaster="oracle")
WRONG = {
    "no arms": ({}, ["arm=[]", "arm=[constant,constant_linear]"]),
    "all left out": ({"base": Arm(forecaster="", optional=True)}, ["arm=[]", "give at least one"]),
    "over one that is not there": (
        {"linear": LINEAR},
        ["arm.linear.over=base", "add it to arm=[linear]"],
    ),
    "over itself": (
        {"base": Arm(over="base")},
        ["arm.base.over=base", "leads back to the arm itself"],
    ),
    "a circle": (
        {"a": Arm(over="b"), "b": Arm(over="c"), "c": Arm(over="a")},
        ["arm.c.over=a", "leads back to the arm itself"],
    ),
    "a circle further on": (
        {"x": Arm(over="a"), "a": Arm(over="b"), "b": Arm(over="a")},
        ["arm.b.over=a", "leads back to the arm itself"],
    ),
    "no forecaster": (
        {"base": BASE, "own": replace(LINEAR, forecaster="")},
        ["arm.own has no forecaster", "give forecaster=…"],
    ),
    "a null of no forecaster": (
        {"base": BASE, "own": replace(LINEAR, forecaster="noise", of="")},
        ["arm.own has no forecaster", "give forecaster=…"],
    ),
    "of, without a null": (
        {"base": BASE, "linear": replace(LINEAR, of="average")},
        ["arm.linear.of=average", "noise or permuted", "leave it out"],
    ),
    "of, without a forecaster": (
        {"base": Arm(of="average")},
        ["arm.base.of=average", "leave it out"],
    ),
    "a base that jumps": (
        {"base": Arm(forecaster="linear")},
        ["arm.base.over=null", "to be compared with"],
    ),
    "jump without forecaster": (
        {"base": Arm(jump=Jump(damping=0.5))},
        ["arm.base.jump=", "leave it out, or give one"],
    ),
    "guard without forecaster": (
        {"base": Arm(guard=GuardOptions())},
        ["arm.base.guard=", "leave it out, or give one"],
    ),
    "no rate": (
        {"base": Arm(learning_rate="fast")},
        ["arm.base.learning_rate=fast", "given, tuned, or a number"],
    ),
    "rate 0": ({"base": Arm(learning_rate=0)}, ["arm.base.learning_rate=0", "above 0"]),
    "rate 100": ({"base": Arm(learning_rate=100.0)}, ["arm.base.learning_rate=100", "below 100"]),
    "rate NaN": (
        {"base": Arm(learning_rate=float("nan"))},
        ["arm.base.learning_rate=nan", "above 0"],
    ),
    "rate true": ({"base": Arm(learning_rate=True)}, ["arm.base.learning_rate=True", "a number"]),
    "rate list": ({"base": Arm(learning_rate=[0.1])}, ["arm.base.learning_rate=[0.1]", "a number"]),
    "warm-up 1": ({"base": Arm(warmup=1.0)}, ["arm.base.warmup=1.0", "below 1"]),
    "warm-up true": ({"base": Arm(warmup=True)}, ["arm.base.warmup=True", "a share of the run"]),
    "warm-up tuned alone": (
        {"base": Arm(warmup="tuned")},
        ["arm.base.warmup=tuned", "set arm.base.learning_rate=tuned too"],
    ),
    "warm-up below 0": ({"base": Arm(warmup=-0.1)}, ["arm.base.warmup=-0.1", "0 or more"]),
    "outer, moments kept": (
        {"base": OUTER, "linear": LINEAR},
        ["arm.linear.jump.moments=keep", "outer", "must be reset"],
    ),
    "schedule-free, moments kept": (
        {"base": SCHEDULE_FREE, "linear": LINEAR},
        ["arm.linear.jump.moments=keep", "optimizer=schedule_free", "must be reset"],
    ),
    "schedule-free, first moments alone reset": (
        {"base": SCHEDULE_FREE, "linear": replace(LINEAR, jump=Jump(moments="keep"))},
        ["jump.moments=keep", "must be reset"],
    ),
    "lawa": (
        {"base": Arm(average=Average("lawa")), "linear": LINEAR},
        ["arm.linear.average.kind=lawa", "must be ema"],
    ),
    "every 0": (
        {"base": BASE, "linear": replace(LINEAR, jump=Jump(every=0))},
        ["arm.linear.jump.every=0", "1 snapshot or more"],
    ),
    "start before the start": (
        {"base": BASE, "linear": replace(LINEAR, jump=Jump(start_after=-1))},
        ["arm.linear.jump.start_after=-1"],
    ),
    "horizon 0": (
        {"base": BASE, "oracle": replace(ORACLE, jump=Jump(horizon=0))},
        ["arm.oracle.jump.horizon=0", "1 snapshot or more"],
    ),
    "horizon to, without from": (
        {"base": BASE, "linear": replace(LINEAR, jump=Jump(horizon_to=2))},
        ["arm.linear.jump.horizon_to=2", "jump.horizon=None"],
    ),
    "horizon to more": (
        {"base": BASE, "linear": replace(LINEAR, jump=Jump(horizon=3, horizon_to=4))},
        ["arm.linear.jump.horizon_to=4", "1 to jump.horizon=3"],
    ),
    "named steps, and every": (
        {"base": BASE, "linear": replace(LINEAR, jump=Jump(at=[20, 30], every=2))},
        ["arm.linear.jump.every=2", "leave it out"],
    ),
    "named steps, and a horizon": (
        {"base": BASE, "linear": replace(LINEAR, jump=Jump(at=[20, 30], horizon=5))},
        ["arm.linear.jump.horizon=5", "leave it out"],
    ),
    "named steps in disorder": (
        {"base": BASE, "linear": replace(LINEAR, jump=Jump(at=[30, 20]))},
        ["arm.linear.jump.at: step 20 comes after step 30"],
    ),
    "an aim without named steps": (
        {"base": BASE, "linear": replace(LINEAR, jump=Jump(aim=1.1))},
        ["arm.linear.jump.aim=1.1", "give arm.linear.jump.at=[…] too"],
    ),
    "oracle, named steps": (
        {"base": BASE, "oracle": replace(ORACLE, jump=Jump(at=[20]))},
        ["arm.oracle.jump.at=", "only the options every and horizon"],
    ),
    "oracle, damped": (
        {"base": BASE, "oracle": replace(ORACLE, jump=Jump(damping=0.5))},
        ["arm.oracle.jump.damping=", "only the options every and horizon"],
    ),
    "oracle, guarded": (
        {"base": BASE, "oracle": replace(ORACLE, guard=GuardOptions())},
        ["arm.oracle.guard=", "only the options every and horizon"],
    ),
    "oracle, outer": (
        {"base": OUTER, "oracle": ORACLE},
        ["arm.oracle.forecaster=oracle", "outer", "leave one of them out"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_go_together_is_refused_in_one_line_with_key_and_cure(case):
    arms, said = WRONG[case]
    with pytest.raises(UserError) as caught:
        resolved(**arms)
    assert "\n" not in str(caught.value)
    for words in said:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Outer(every=0), "outer.every=0"),
        (lambda: Outer(learning_rate=0.0), "outer.learning_rate=0.0"),
        (lambda: Outer(learning_rate=11.0), "outer.learning_rate=11.0"),
        (lambda: Outer(momentum=1.0), "outer.momentum=1.0"),
        (lambda: Outer(momentum=-0.1), "outer.momentum=-0.1"),
        (lambda: Average(kind="swa"), "average.kind=swa: must be ema or lawa"),
        (lambda: Average(decay=1.0), "average.decay=1.0"),
        (lambda: Average(decay=0.0), "average.decay=0.0"),
        (lambda: Average(last=1), "average.last=1"),
    ],
)
def test_outer_steps_and_averages_that_cannot_be_meant_are_refused(wrong, said):
    with pytest.raises(UserError) as caught:
        wrong()
    assert said in str(caught.value)
    assert "must be" in str(caught.value)


RESET = Jump(moments="reset", min_drift=None)


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        (Arm(optimizer="adam", schedule="cosine", warmup=0.0), "adam, cosine"),
        (Arm(optimizer="adam", schedule="wsd", warmup=0.05), "adam, wsd, warm-up 0.05"),
        (
            Arm(optimizer="sgd", schedule="constant", outer=Outer(every=5)),
            "sgd, constant; Lookahead every 5 steps, rate 0.5",
        ),
        (
            Arm(
                optimizer="sgd",
                schedule="cosine",
                outer=Outer(28, 0.68, 0.37),
                forecaster="linear",
                jump=RESET,
            ),
            "sgd, cosine; SNOO every 28 steps, rate 0.68, momentum 0.37; jumps to the forecast of"
            " linear; moments reset",
        ),
        (
            Arm(
                optimizer="adam",
                schedule="cosine",
                forecaster="bundles/mine",
                jump=Jump(damping=0.5, horizon=3, min_drift=None),
                guard=GuardOptions(after=0.5),
            ),
            "adam, cosine; jumps to the forecast of bundles/mine; horizon 3; damping 0.5; guard:"
            " after 0.5",
        ),
        (
            Arm(
                optimizer="adam",
                schedule="cosine",
                forecaster="linear",
                jump=Jump(operations=["conv", "fc"], min_drift=None),
                guard=GuardOptions(dampings=[1.0, 0.5]),
            ),
            "adam, cosine; jumps to the forecast of linear; operations conv/fc; guard: dampings"
            " 1/0.5",
        ),
        (
            Arm(
                optimizer="adam",
                schedule="cosine",
                forecaster="gram",
                guard=GuardOptions(dampings=[4.0, 1.0], longest=True),
            ),
            "adam, cosine; jumps to the forecast of gram; min_drift 0.2; guard: dampings 4/1, the"
            " longest that passes",
        ),
        (
            Arm(
                optimizer="adam",
                schedule="cosine",
                forecaster="linear",
                guard=GuardOptions(),
                average=Average(),
            ),
            "adam, cosine; jumps to the forecast of linear; min_drift 0.2; guard; judged by its EMA"
            " 0.99",
        ),
        (
            Arm(optimizer="adam", schedule="constant", forecaster="noise", of="bundles/mine"),
            "adam, constant; jumps to the forecast of noise of bundles/mine; min_drift 0.2",
        ),
        (
            Arm(
                schedule="inverse",
                optimizer="sgd",
                forecaster="linear",
                jump=Jump(at=[6, 8], aim=1.1, min_drift=None),
            ),
            "sgd, inverse; jumps to the forecast of linear; at 6/8; aim 1.1",
        ),
        (
            Arm(optimizer="adam", schedule="constant", forecaster="oracle"),
            "adam, constant; jumps to the weights it will have (oracle)",
        ),
        (
            Arm(optimizer="adam", schedule="constant", average=Average("lawa")),
            "adam, constant; judged by its LAWA of 5 snapshots",
        ),
    ],
)
def test_an_arm_says_in_words_what_it_is(arm, words):
    assert arm.words == words


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_holds_one_arm_named_as_the_file_and_says_what_it_is(file):
    text = file.read_text()
    assert (list(yaml.safe_load(text)) == [file.stem]) == (file.stem not in SETS)
    assert text.startswith("# ")


def composed(*overrides):
    """The arms of a command line."""
    ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)
    products.store()
    names = ",".join(BEFORE)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("evaluate", overrides=[f"arm=[{names}]", "report=mine", *overrides])
    return OmegaConf.to_object(config).arm


def test_an_arm_of_a_product_is_as_if_it_had_a_file_of_its_own():
    plain = OmegaConf.create({"forecaster": "wnn", "introspection": "introspection"})
    plain = OmegaConf.merge(plain, {"published": "", "arm": BEFORE})
    OmegaConf.resolve(plain)
    arms = composed()
    for name, said in plain.arm.items():
        expected = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Arm), said))
        assert arms[name] == expected, name
    names = {file.stem for file in FILES} - SETS | products.store().keys()
    ways = {name.removeprefix("cosine_") for name in products.store()}
    later = {"l2o", "l2o_amalgam", "hyper", "celo"}
    later |= {f"{base}_{way}" for base in ("constant", "cosine") for way in ("nino", "wnn_plus")}
    assert names == {*BEFORE} | later | {way for way in ways if "constant_" not in way}


def test_a_product_is_all_of_its_parts():
    parts = {"linear": Arm(over=["a", "b"], forecaster="linear"), "a": Arm(), "b": Arm()}
    assert resolved(**parts) == resolved(
        a=Arm(),
        a_linear=Arm(over="a", forecaster="linear"),
        b=Arm(),
        b_linear=Arm(over="b", forecaster="linear"),
    )
    low = Arm(over=["a_linear"], learning_rate=0.1)
    assert resolved(**parts, low=low)["a_linear_low"].over == "a_linear"
    with pytest.raises(UserError, match=r"arm\.linear\.over=b: is not among the arms; add it, or"):
        resolved(linear=parts["linear"], a=Arm())
    with pytest.raises(UserError, match="arm=linear: the part a_linear is among the arms already"):
        resolved(**parts, a_linear=LINEAR)


def test_a_command_takes_a_product_whole_or_one_part_of_it(script, tmp_path):
    arms = composed("arm=[constant,cosine,linear]", "arm.linear.jump.damping=0.5")
    assert list(arms) == ["constant", "constant_linear", "cosine", "cosine_linear"]
    assert arms["cosine_linear"].jump == Jump(damping=0.5, min_drift=None)
    arms = composed("arm=[cosine,cosine_ema]", "arm.cosine_ema.average.decay=0.95")
    assert arms["cosine_ema"].average.decay == 0.95
    (tmp_path / "arm").mkdir()
    own = "mine:\n  over: cosine\n  forecaster: linear\n"
    (tmp_path / "arm" / "mine.yaml").write_text(own)
    done = script(
        "evaluate", f"--config-dir={tmp_path}", "arm=[cosine,cosine_linear,mine]", "report=mine",
        "--cfg=job", "--package=arm.mine", cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "forecaster: linear" in done.stdout


def test_all_arms_of_the_configuration_go_together():
    arms = composed("forecaster=linear", "introspection=average", "published=exponential")
    assert list(arms) == list(BEFORE)
    found, left = resolve(arms, optimizer="adam", learning_rate=0.001)
    assert ([arm.name for arm in found], left) == (list(arms), [])
    by_name = {arm.name: arm for arm in found}
    assert by_name["cosine_1e-2"].learning_rate == 0.01
    for name, arm in by_name.items():  # each named after its base
        assert name in ("constant", "cosine", "cosine_1e-2") or arm.over is not None
        if name.startswith("constant_"):
            assert arm.schedule == "constant"
        if name.startswith("cosine_") and name != "cosine_1e-2":
            assert (arm.schedule, arm.rate_of) == (
                "cosine",
                name if name.endswith("_tuned") else "cosine",
            )
    for name in ("constant_nowcast", "cosine_nowcast", "muon_nowcast", "snoo_nowcast"):
        assert by_name[name].forecaster == "linear"
    assert {
        by_name[f"{base}_{null}"].of
        for base in ("constant", "cosine")
        for null in ("noise", "permuted")
    } == {"linear"}
    assert by_name["snoo_nowcast"].outer == by_name["snoo"].outer is not None
    assert by_name["cosine_introspection"].forecaster == "average"
    assert by_name["constant_published"].forecaster == "exponential"


def test_without_their_forecasters_the_optional_arms_of_the_configuration_are_left_out():
    found, left = resolve(composed(), optimizer="adam", learning_rate=0.001)
    assert sorted(left) == ["constant_published", "cosine_published"]
    shipped = {arm.name: arm.forecaster for arm in found if arm.name.startswith("cosine_")}
    names = {
        "nowcast": "wnn",
        "introspection": "introspection",
        "gram": "gram",
        "gram_tuned": "gram",
    }
    assert {name: shipped[f"cosine_{name}"] for name in names} == names
    with pytest.raises(UserError, match=r"arm\.constant_noise has no forecaster"):
        resolve(composed("forecaster=''"), optimizer="adam", learning_rate=0.001)


def test_a_command_changes_options_of_arms_and_adds_arms_of_its_own():
    own = (
        "+arm={mine: {over: cosine, forecaster: linear, jump: {damping: 0.5}}, other: {over: mine,"
        " average: {kind: lawa}}}"
    )
    arms = composed("forecaster=linear", "arm.cosine_nowcast.jump.stop_after=10", own)
    assert list(arms)[-2:] == ["mine", "other"]
    assert arms["mine"] == Arm(over="cosine", forecaster="linear", jump=Jump(damping=0.5))
    assert arms["other"] == Arm(over="mine", average=Average("lawa"))
    assert arms["cosine_nowcast"].jump == Jump(stop_after=10, min_drift=None)
