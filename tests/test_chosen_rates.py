"""What calibration chose, in words: of pairs, and of older results, which chose a rate alone."""

import pytest
from curves import CHOSEN, plan, reaching, results, told

from collect.tasks import LOSS, Metric
from evaluate import chosen_rates, report, tables, words
from evaluate.arms import Arm

OLD = {"learning_rate": 0.01, "final_loss": {"0.003": 0.5, "0.01": 0.25}, "at_edge": True}
PAIRS = {
    f"{rate}, warm-up {warm}": 1 + abs(rate - 2) + warm
    for rate in (1, 2, 3)
    for warm in (0, 0.1, 0.2)
}


def test_the_grid_is_said_in_numbers():
    assert chosen_rates.grid({"rates": 5, "warmups": 5}) == "5 rates × 5 warm-ups"
    assert chosen_rates.grid({"rates": 1, "warmups": 1}) == "1 rate × 1 warm-up"


def test_a_few_pairs_are_all_shown_and_of_many_the_best():
    assert (
        chosen_rates.describe_pairs(LOSS, OLD) == "0.003: 0.5000; 0.01: 0.2500; at the grid's edge"
    )
    many = CHOSEN | {"rates": 3, "warmups": 3, "final_loss": PAIRS | {"9, warm-up 0": None}}
    assert (
        chosen_rates.describe_pairs(LOSS, many)
        == "3 rates × 3 warm-ups; 2, warm-up 0: 1.0000; 2, warm-up 0.1: 1.1000; 2, warm-up 0.2:"
        " 1.2000"
    )
    score = Metric("score", "higher", "difference")
    best = chosen_rates.describe_pairs(score, many | {"final_score": PAIRS, "warmup_at_edge": True})
    assert best.startswith("3 rates × 3 warm-ups; 1, warm-up 0.2: 2.2000; 3, warm-up 0.2: 2.2000; ")
    assert best.endswith("; at the grid's edge")


@pytest.fixture
def compared():
    own = plan(base=Arm(learning_rate="tuned", schedule="cosine"), constant=Arm())
    found = told(results(own, {name: [reaching(20)] * 5 for name in ("base", "constant")}))
    row = next(row for row in found["arms"] if row["name"] == "base")
    row["settings"]["warmup"] = 0.1
    found["rates"]["base"] |= {"rates": 5, "warmups": 3, "warmup": 0.1}
    return found


def test_tables_and_words_say_the_pair_and_how_many_were_swept(compared):
    assert tables.main(compared, "base")[1][1] == "0.2, warm-up 0.1"
    assert tables.main(compared, "constant")[1][1] == "0.1"
    [line] = [line for line in words.method(compared) if "Tuned arms" in line]
    assert (
        line == "Tuned arms have the pair of learning rate and warm-up with the best mean final"
        " validation loss of 3 calibration runs: base of 5 rates × 3 warm-ups."
    )
    assert line in report.page(compared)


def test_older_results_say_that_a_rate_alone_was_chosen_by_the_median(compared):
    compared["rates"]["base"] = OLD
    for row in compared["arms"]:
        del row["warmup_tuned"]
    assert tables.main(compared, "base")[1][1] == "0.2"
    [line] = [line for line in words.method(compared) if "tuned learning rate" in line]
    assert (
        line == "The tuned learning rate of base is the one of the grid with the best median final"
        " validation loss of 3 calibration runs."
    )
    assert not [line for line in words.method(compared) if "Tuned arms" in line]
