"""What is decided beforehand: which runs calibrate, which rates they choose, which targets they
set; on made-up runs.
"""

import math
from dataclasses import replace

import pytest
from curves import GRIDS, arms, plan, run

from collect.tasks import LOSS, Metric
from evaluate.arms import Arm, Average, Jump, bases
from evaluate.protocol import (
    at_chosen_rate,
    bases_at_chosen_rates,
    calibration_arms,
    choose_rates,
    choose_targets,
)
from evaluate.statistics import Crossing
from nowcast.types import UserError

NAN = math.nan
ARMS = {
    "constant": Arm(learning_rate="given"),
    "constant_linear": Arm(over="constant", forecaster="linear"),
    "cosine": Arm(learning_rate="tuned", schedule="cosine"),
    "cosine_linear": Arm(over="cosine", forecaster="linear"),
}
MUON = Arm(over="cosine", optimizer="muon", learning_rate="tuned")
MEAN = Arm(over="cosine", average=Average())
MEAN_JUMPS = Arm(over="mean", forecaster="linear")
PAPER = {"target_metric": "accuracy", "target_value": 0.6}


def trained(arms):
    return [(arm.name, arm.learning_rate) for arm in arms]


def falling(height):
    """Nine losses, each 1 below the one before."""
    return run([height - place for place in range(9)])


def flat(height):
    return run([float(height)] * 9)


def test_calibration_trains_bases_as_they_are_and_the_tuned_ones_at_every_rate():
    own = plan(**ARMS, muon=MUON)
    assert trained(calibration_arms(own, bases(own.arms))) == [
        ("constant", 0.1), ("cosine", 0.1), ("cosine", 0.2), ("cosine", 0.4)
    ]  # fmt: skip


def test_calibration_of_the_others_is_that_of_their_own_tuned_rates():
    own = plan(**ARMS, muon=MUON, mean=MEAN)
    others = [arm for arm in own.arms if arm not in bases(own.arms)]
    assert trained(calibration_arms(own, others)) == [("muon", 0.01), ("muon", 0.02)]


def test_by_the_papers_protocol_nothing_but_tuned_rates_is_calibrated():
    own = plan(**ARMS, **PAPER)
    assert trained(calibration_arms(own, own.arms)) == [
        ("cosine", 0.1),
        ("cosine", 0.2),
        ("cosine", 0.4),
    ]
    assert (
        bases_at_chosen_rates(
            plan(**ARMS, mean=MEAN, mean_jumps=MEAN_JUMPS, **PAPER),
            {"cosine": {"learning_rate": 0.2, "warmup": 0.0}},
        )
        == []
    )


@pytest.mark.parametrize(
    "more", [{}, {"muon": MUON}, {"mean": MEAN}, {"mean": MEAN, "mean_jumps": MEAN_JUMPS}]
)
@pytest.mark.parametrize("paper", [{}, PAPER])
def test_no_run_is_read_that_calibration_did_not_train(more, paper):
    own = plan(**ARMS, **more, **paper)
    there = calibration_arms(own, bases(own.arms))

    def curve(arm, seed):
        assert (arm.name, arm.learning_rate) in trained(there)
        assert seed in own.calibration_seeds
        return falling(20)

    rates = choose_rates(own, bases(own.arms), curve)
    there += bases_at_chosen_rates(own, rates)
    assert choose_targets(own, rates, curve).keys() == {arm.name for arm in bases(own.arms)}
    others = [arm for arm in own.arms if arm not in bases(own.arms)]
    there += calibration_arms(own, others)
    rates |= choose_rates(own, others, curve)
    assert all(isinstance(at_chosen_rate(arm, rates).learning_rate, float) for arm in own.arms)
    assert len(there) == len(set(trained(there)))


def test_a_base_at_another_ones_rate_follows_when_that_is_known():
    own = plan(**ARMS, mean=MEAN, mean_jumps=MEAN_JUMPS)
    assert trained(
        bases_at_chosen_rates(own, {"cosine": {"learning_rate": 0.4, "warmup": 0.0}})
    ) == [("mean", 0.4)]
    # It sets no target.
    assert (
        bases_at_chosen_rates(
            plan(**ARMS, mean=MEAN), {"cosine": {"learning_rate": 0.4, "warmup": 0.0}}
        )
        == []
    )


def chosen(heights, **options):
    """The choice for the tuned base, by its rates' heights for each calibration seed."""
    own = plan(**ARMS, **options)
    found = choose_rates(
        own, own.arms, lambda arm, seed: falling(heights[arm.learning_rate][seed - 10])
    )
    assert found.keys() == {"cosine"}
    return found["cosine"]


def test_the_rate_with_the_lowest_mean_final_loss_is_chosen():
    choice = chosen({0.1: [40, 40, 40], 0.2: [10, 15, 92], 0.4: [20, 21, 22]})
    # Its mean is 21; the rate of the lowest median, 15, has a mean of 39.
    assert choice["learning_rate"] == 0.4
    # the last of nine losses, in the mean with the two before it, is 7 below the first
    finals = {"0.1, warm-up 0": 33, "0.2, warm-up 0": 32, "0.4, warm-up 0": 14}
    assert choice["final_loss"] == pytest.approx(finals)


def pairs(best, **options):
    """The choice for the tuned base of rates × warm-ups where this pair's runs end lowest."""
    own = plan(**ARMS, warmups=(0.0, 0.1, 0.3), **options)
    return choose_rates(
        own, own.arms, lambda arm, seed: falling(20 - 5 * ((arm.learning_rate, arm.warmup) == best))
    )["cosine"]


def test_calibration_tries_every_warm_up_with_every_rate():
    own = plan(
        cosine=ARMS["cosine"], fixed=Arm(learning_rate="tuned", warmup=0.2), warmups=(0.0, 0.1)
    )
    assert [
        (arm.name, arm.learning_rate, arm.warmup) for arm in calibration_arms(own, own.arms)
    ] == [
        ("cosine", 0.1, 0.0),
        ("cosine", 0.1, 0.1),
        ("cosine", 0.2, 0.0),
        ("cosine", 0.2, 0.1),
        ("cosine", 0.4, 0.0),
        ("cosine", 0.4, 0.1),
        ("fixed", 0.1, 0.2),
        ("fixed", 0.2, 0.2),
        ("fixed", 0.4, 0.2),
    ]


@pytest.mark.parametrize(
    ("best", "rate_at_edge", "warmup_at_edge"),
    [
        ((0.2, 0.1), False, False),
        ((0.2, 0.0), False, False),
        ((0.2, 0.3), False, True),
        ((0.4, 0.1), True, False),
    ],
)
def test_the_best_pair_is_chosen_and_an_edge_of_the_grid_is_said(
    best, rate_at_edge, warmup_at_edge
):
    """No warm-up at all is no edge: there is nothing below it."""
    choice = pairs(best)
    assert (choice["learning_rate"], choice["warmup"], choice["rates"], choice["warmups"]) == (
        *best,
        3,
        3,
    )
    assert (choice["at_edge"], choice["warmup_at_edge"]) == (rate_at_edge, warmup_at_edge)
    assert (
        min(choice["final_loss"], key=choice["final_loss"].get)
        == f"{best[0]:g}, warm-up {best[1]:g}"
    )


def test_the_lowest_warm_up_of_a_grid_is_an_edge_where_one_lies_below():
    own = plan(**ARMS, warmups=(0.1, 0.3))
    assert choose_rates(own, own.arms, lambda arm, seed: falling(20))["cosine"]["warmup_at_edge"]


def test_who_is_over_a_tuned_base_has_its_pair_and_who_says_a_number_has_that():
    resolved = {
        arm.name: arm
        for arm in arms(**ARMS, short=Arm(over="cosine", warmup=0.02, forecaster="linear"))
    }
    rates = {"cosine": {"learning_rate": 0.2, "warmup": 0.3}}
    found = {name: at_chosen_rate(arm, rates) for name, arm in resolved.items()}
    assert {
        name: (arm.learning_rate, arm.warmup, arm.sweeps_warmup) for name, arm in found.items()
    } == {
        "constant": (0.1, 0.0, False),
        "constant_linear": (0.1, 0.0, False),
        "cosine": (0.2, 0.3, True),
        "cosine_linear": (0.2, 0.3, True),
        "short": (0.2, 0.02, False),
    }


@pytest.mark.parametrize("warmups", [(), (0.1, 0.1), (1.0,), (-0.1,)])
def test_warm_ups_that_cannot_be_are_refused(warmups):
    with pytest.raises(UserError, match="shares of the run, each once, 0 or more and below 1"):
        plan(**ARMS, warmups=warmups)


@pytest.mark.parametrize(("best", "at_edge"), [(0.1, True), (0.2, False), (0.4, True)])
def test_a_best_rate_at_the_edge_of_the_grid_is_said(best, at_edge):
    choice = chosen({rate: [30 - 10 * (rate == best)] * 3 for rate in GRIDS["adam"]})
    assert (choice["learning_rate"], choice["at_edge"]) == (best, at_edge)


def test_a_grid_of_one_rate_has_no_edge():
    assert chosen({0.3: [20] * 3}, grids={"adam": (0.3,)}) == {
        "learning_rate": 0.3,
        "warmup": 0.0,
        "final_loss": {"0.3, warm-up 0": pytest.approx(13)},
        "rates": 1,
        "warmups": 1,
        "at_edge": False,
        "warmup_at_edge": False,
    }


def test_of_equal_rates_the_lower_one_is_chosen():
    assert chosen({rate: [20] * 3 for rate in GRIDS["adam"]})["learning_rate"] == 0.1


def test_a_rate_of_which_a_run_diverges_is_not_chosen():
    choice = chosen({0.1: [90] * 3, 0.2: [80] * 3, 0.4: [10, 10, NAN]})
    assert choice["learning_rate"] == 0.2
    assert choice["final_loss"]["0.4, warm-up 0"] == math.inf


def test_where_all_diverge_no_loss_is_finite():
    assert set(chosen({rate: [NAN] * 3 for rate in GRIDS["adam"]})["final_loss"].values()) == {
        math.inf
    }


def test_every_tuned_arm_has_the_grid_of_its_optimizer():
    own = plan(**ARMS, muon=MUON)
    found = choose_rates(own, own.arms, lambda arm, seed: flat(1 / arm.learning_rate))
    assert {name: one["learning_rate"] for name, one in found.items()} == {
        "cosine": 0.4,
        "muon": 0.02,
    }


def test_targets_are_medians_of_what_the_bases_have_reached_after_each_share():
    heights = {("constant", 0.1): [20, 30, 99], ("cosine", 0.2): [10, 15, 90]}
    own = plan(**ARMS)
    rates = {"cosine": {"learning_rate": 0.2, "warmup": 0.0}}
    targets = choose_targets(
        own, rates, lambda arm, seed: falling(heights[arm.name, arm.learning_rate][seed - 10])
    )
    # half of the way is place 4 of 0 … 8, and the mean of places 2, 3, 4 is 3 below the first;
    # 0.75: place 6, 5 below; 0.95: place 8, 7 below
    assert targets["constant"] == pytest.approx({"0.5": 27, "0.75": 25, "0.95": 23})
    assert targets["cosine"] == pytest.approx({"0.5": 12, "0.75": 10, "0.95": 8})


def test_a_share_of_ones_own_is_one_more_target():
    own = plan(constant=Arm(), target_share=0.25)
    targets = choose_targets(own, {}, lambda arm, seed: falling(20))
    assert targets == {"constant": pytest.approx({"0.25": 19, "0.5": 17, "0.75": 15, "0.95": 13})}
    assert own.headline == "0.25"


def test_a_base_that_diverges_has_no_finite_target():
    targets = choose_targets(
        plan(constant=Arm()), {}, lambda arm, seed: run([20.0, 19, 18, 17, 16, NAN, NAN, NAN, NAN])
    )
    assert targets["constant"] == {"0.5": 17, "0.75": math.inf, "0.95": math.inf}


@pytest.mark.parametrize(
    ("share", "evaluations", "enough"),
    [
        (0.75, 3, False),
        (0.75, 4, True),
        (0.1, 15, False),
        (0.1, 16, True),
        (0.01, 100, False),
        (0.01, 201, True),
    ],
)
def test_runs_of_too_few_evaluations_for_a_target_are_refused(share, evaluations, enough):
    """After a share of a run's length there must be a mean of three losses."""
    own = plan(**ARMS, target_share=share)
    if enough:
        own.check_length(evaluations)
    else:
        with pytest.raises(UserError, match=rf"a run has {evaluations} evaluations.*train longer"):
            own.check_length(evaluations)
    plan(**ARMS, **PAPER).check_length(2)


@pytest.mark.parametrize("rates", [(), (0.1, 0.1), (0.1, -1.0), (0.0,), (100.0,)])
def test_grids_that_cannot_be_are_refused(rates):
    with pytest.raises(UserError, match="each once, above 0 and below 100"):
        plan(**ARMS, grids={"adam": rates})


def test_the_papers_target_is_one_value_for_every_base():
    own = plan(**ARMS, **PAPER)
    targets = choose_targets(own, {}, lambda arm, seed: pytest.fail("no run is needed"))
    assert targets == {"constant": {"0.6": 0.6}, "cosine": {"0.6": 0.6}}
    assert (own.protocol, own.headline) == ("paper", "0.6")


def test_an_honest_crossing_is_of_the_mean_of_three_losses():
    own, made = plan(constant=Arm()), run([9.0, 6, 3, 0, 3], accuracy=[1.0] * 5)
    # Means of three: –, –, 6, 3, 2.
    assert own.cross(made["step"], made, 3.0) == Crossing(30.0, True)
    assert own.cross(made["epoch"], made, 2.9) == Crossing(4.0, True)
    assert own.cross(made["seconds"], made, 1.9) == Crossing(8.0, False)


def test_the_papers_crossing_is_the_first_accuracy_at_or_above_the_target():
    own, made = plan(constant=Arm(), **PAPER), run([0.0] * 5, accuracy=[0.1, 0.5, 0.6, 0.2, 0.9])
    assert own.cross(made["epoch"], made, 0.6) == Crossing(2.0, True)
    assert own.cross(made["epoch"], made, 0.61) == Crossing(4.0, True)
    assert own.cross(made["epoch"], made, 0.95) == Crossing(4.0, False)
    never = run([0.0] * 3, accuracy=[NAN, 0.5, NAN])
    assert own.cross(never["epoch"], never, 0.6) == Crossing(2.0, False)


def test_the_papers_crossing_of_a_metric_that_is_better_lower_is_from_above():
    perplexity = {"metrics": (LOSS, Metric("perplexity")), "target_metric": "perplexity"}
    own = plan(constant=Arm(), **perplexity, target_value=20)
    made = run([0.0] * 5, perplexity=[60.0, NAN, 20.0, 30.0, 9.0])
    assert (own.protocol, own.headline, own.metric_of_target.name) == ("paper", "20", "perplexity")
    assert own.cross(made["epoch"], made, 20) == Crossing(2.0, True)
    assert own.cross(made["epoch"], made, 19) == Crossing(4.0, True)
    assert own.cross(made["epoch"], made, 8) == Crossing(4.0, False)


def test_the_papers_target_is_of_the_first_metric_where_none_is_named():
    own, made = plan(constant=Arm(), target_value=0.3), run([1.0, 0.5, 0.3, 0.4])
    assert (own.protocol, own.metric_of_target) == ("paper", LOSS)
    assert own.cross(made["epoch"], made, 0.3) == Crossing(2.0, True)


def test_a_settled_arm_has_the_rate_that_was_chosen_and_is_otherwise_the_same():
    resolved = {
        arm.name: arm
        for arm in arms(**ARMS, slow=Arm(over="cosine", learning_rate=0.5, jump=Jump()))
    }
    rates = {"cosine": {"learning_rate": 0.2, "warmup": 0.0}}
    assert {name: at_chosen_rate(arm, rates).learning_rate for name, arm in resolved.items()} == {
        "constant": 0.1, "constant_linear": 0.1, "cosine": 0.2, "cosine_linear": 0.2, "slow": 0.5
    }  # fmt: skip
    for arm in resolved.values():
        assert (
            replace(at_chosen_rate(arm, rates), learning_rate=arm.learning_rate, warmup=arm.warmup)
            == arm
        )
