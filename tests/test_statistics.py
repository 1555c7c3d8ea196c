"""Crossings and speed-ups against arithmetic by hand and SciPy."""

import math

import numpy as np
import pytest
from scipy import stats

from collect.intervals import mean_interval
from evaluate.statistics import Crossing, clear, crossing, over_tasks, smooth, speed_up

NAN, INF = math.nan, math.inf


def test_smoothing_is_the_mean_of_a_value_and_the_two_before_it():
    np.testing.assert_allclose(smooth([9.0, 6.0, 3.0, 0.0, 3.0]), [NAN, NAN, 6, 3, 2])


def test_a_value_that_is_not_finite_spoils_the_three_means_it_belongs_to():
    np.testing.assert_allclose(
        smooth([1.0, 1.0, INF, 1.0, 1.0, 4.0, NAN]), [NAN, NAN, NAN, NAN, NAN, 2, NAN]
    )


@pytest.mark.parametrize(
    ("width", "expected"),
    [(1, [9, 6, NAN, 0, 3]), (2, [NAN, 7.5, NAN, NAN, 1.5]), (5, [NAN] * 5), (6, [NAN] * 5)],
)
def test_smoothing_over_more_or_fewer_values(width, expected):
    np.testing.assert_allclose(smooth([9.0, 6.0, INF, 0.0, 3.0], width), expected)


def test_fewer_values_than_the_mean_needs_give_none():
    assert np.isnan(smooth([1.0, 2.0])).all()
    assert len(smooth([])) == 0


@pytest.mark.parametrize(
    ("losses", "target", "expected"),
    [
        # means of three:    —  —  6  3  2
        ([9.0, 6.0, 3.0, 0.0, 3.0], 3.0, Crossing(3.0, True)),  # reached exactly
        ([9.0, 6.0, 3.0, 0.0, 3.0], 2.9, Crossing(4.0, True)),
        ([9.0, 6.0, 3.0, 0.0, 3.0], 1.9, Crossing(4.0, False)),  # censored at the end
        ([0.0, 9.0, 9.0, 9.0, 9.0], 3.0, Crossing(4.0, False)),  # one low value is no crossing
        ([9.0, NAN, 0.0, 0.0, 0.0], 1.0, Crossing(4.0, True)),  # only means without NaN count
        ([NAN] * 5, 1.0, Crossing(4.0, False)),
        ([-INF] * 5, 1.0, Crossing(4.0, False)),
        (
            [0.0, 0.0, 0.0, 9.0, 9.0],
            1.0,
            Crossing(2.0, True),
        ),  # the first one counts, whatever follows
    ],
)
def test_crossing(losses, target, expected):
    assert crossing([0.0, 1.0, 2.0, 3.0, 4.0], losses, target) == expected


@pytest.mark.parametrize(("width", "place"), [(1, 2), (2, 3), (3, 4)])
def test_a_wider_mean_crosses_later(width, place):
    crossed = crossing([0.0, 1.0, 2.0, 3.0, 4.0], [9.0, 9.0, 1.0, 1.0, 1.0], 1.0, width)
    assert (crossed.place, crossed.reached) == (place, True)


def test_a_crossing_is_said_in_the_places_own_unit():
    assert crossing([0.0, 0.5, 1.0, 1.5, 2.0], [9.0, 6.0, 3.0, 0.0, 3.0], 3.0) == Crossing(
        1.5, True
    )


def test_equal_ratios_leave_nothing_to_chance():
    np.testing.assert_allclose(
        speed_up([10.0, 20.0, 30.0], [5.0, 10.0, 15.0]), [2, 2, 2], rtol=1e-12
    )


def test_speed_up_is_a_geometric_mean():
    value, low, high = speed_up([8.0, 2.0], [2.0, 8.0])  # ratios 4 and 1/4
    np.testing.assert_allclose([value, low, high], [1, 1 / 4, 4], rtol=1e-12)


def test_speed_up_and_slow_down_mirror_each_other():
    base, arm = [10.0, 12.0, 15.0, 20.0, 9.0], [7.0, 9.0, 16.0, 11.0, 8.0]
    value, low, high = speed_up(base, arm)
    mirrored = speed_up(arm, base)
    np.testing.assert_allclose([1 / value, 1 / high, 1 / low], mirrored, rtol=0.02)


def test_interval_is_that_of_scipys_bootstrap():
    base = np.array([30, 28, 35, 31, 40, 26, 33, 29.0])
    arm = np.array([20, 24, 21, 26, 22, 25, 24, 19.0])
    theirs = stats.bootstrap(
        (np.log(base / arm),),
        np.mean,
        n_resamples=10_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    value, low, high = speed_up(list(base), list(arm))
    assert value == pytest.approx(stats.gmean(base / arm))
    assert low == pytest.approx(np.exp(theirs.low), rel=0.01)
    assert high == pytest.approx(np.exp(theirs.high), rel=0.01)


def test_one_seed_has_a_value_and_no_interval():
    value, low, high = speed_up([10.0], [5.0])
    assert value == pytest.approx(2)
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.4, -0.4])
def test_a_difference_is_clear_where_a_paired_t_test_says_so(shift):
    rng = np.random.default_rng(0)
    ratios = shift + 0.2 * rng.standard_normal(12)
    assert clear(np.exp(ratios).tolist(), [1.0] * 12) == (
        stats.ttest_1samp(ratios, 0).pvalue < 0.05
    )


def test_one_seed_or_a_missing_value_is_never_clear():
    assert not clear([2.0], [1.0])
    assert not clear([2.0, NAN], [1.0, 1.0])


def test_over_tasks_the_value_is_the_geometric_mean_of_geometric_means():
    assert over_tasks([[2.0, 8.0], [1.0]]).value == pytest.approx(2)  # of 4 and 1
    assert over_tasks([[3.0]]).value == pytest.approx(3)


def test_a_task_with_many_seeds_counts_no_more_than_one_with_few():
    few = over_tasks([[2.0, 8.0], [1.0]])
    many = over_tasks([[2.0, 8.0] * 50, [1.0]])
    assert many.value == pytest.approx(few.value)
    # The same task twice; its seeds leave little open.
    assert (many.low, many.high) == pytest.approx((1, 4), rel=0.1)


def test_one_task_has_no_interval_over_tasks():
    _, low, high = over_tasks([[2.0, 3.0, 4.0]])
    assert math.isnan(low)
    assert math.isnan(high)


TASKS = [1.1, 1.4, 0.9, 1.3, 1.6, 1.2, 0.8, 1.5]


def test_without_spread_between_seeds_the_interval_is_scipys_bootstrap_over_tasks():
    theirs = stats.bootstrap(
        (np.log(TASKS),),
        np.mean,
        n_resamples=10_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    value, low, high = over_tasks([[ratio] * 3 for ratio in TASKS])
    assert value == pytest.approx(stats.gmean(TASKS))
    assert low == pytest.approx(np.exp(theirs.low), rel=0.01)
    assert high == pytest.approx(np.exp(theirs.high), rel=0.01)


def test_without_spread_between_tasks_the_interval_is_that_of_all_seeds():
    seeds = [1.0, 1.2, 1.4, 1.6, 2.0, 0.9]  # of each of four tasks: as if one had run 24
    value, low, high = over_tasks([seeds] * 4)
    expected = mean_interval(np.log(seeds * 4))
    assert (value, low, high) == pytest.approx(tuple(np.exp(expected)), rel=0.02)


def test_spread_of_tasks_and_of_seeds_add_up():
    seeds = np.array([0.8, 1.0, 1.25])
    _, low, high = over_tasks([(ratio * seeds).tolist() for ratio in TASKS])
    variance = np.log(TASKS).var() / len(TASKS) + np.log(seeds).var() / len(seeds) / len(TASKS)
    assert np.log(high / low) == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.05)


def test_more_seeds_of_the_same_tasks_never_narrow_the_interval_below_that_of_the_tasks():
    rng = np.random.default_rng(0)
    plain = over_tasks([[ratio] for ratio in TASKS])
    many = over_tasks(
        [(ratio * np.exp(0.1 * rng.standard_normal(200))).tolist() for ratio in TASKS]
    )
    assert math.log(many.high / many.low) == pytest.approx(
        math.log(plain.high / plain.low), rel=0.05
    )


def test_the_interval_over_tasks_does_not_depend_on_their_order():
    ratios = [[ratio, 1.1 * ratio] for ratio in TASKS]
    assert over_tasks(ratios[::-1]) == pytest.approx(over_tasks(ratios), rel=0.01)


def test_seeds_that_agree_for_a_coarse_grid_show_no_more_than_it_can():
    assert not clear([8.0, 8.0], [7.0, 7.0], resolution=1.0)  # as two runs of noise may
    assert clear([80.0, 80.0], [40.0, 40.0], resolution=1.0)
    assert clear([8.0] * 6, [7.0] * 6, resolution=1.0)  # chance does not do that six times
    assert not clear([8.0] * 9, [7.0] * 9)  # no scatter at all: of what, nobody knows
    assert clear([8.0, 8.1, 7.9], [4.0, 4.1, 4.0], resolution=0.1)
    # The arm's 8 is the coarser of the two places: by the base's 40 alone 18 steps would be no
    # hindrance.
    assert not clear([40.0] * 3, [8.0] * 3, resolution=18.0)
    assert clear([40.0] * 3, [8.0] * 3, resolution=12.0)


def test_a_coarse_grid_makes_few_false_claims():
    rng = np.random.default_rng(0)
    for seeds in (2, 3, 5):
        # No difference, and half an evaluation's scatter.
        runs = np.ceil(rng.normal(10, 0.4, size=(2000, 2, seeds)))
        assert np.mean([clear(list(base), list(arm), 1.0) for base, arm in runs]) < 0.06
