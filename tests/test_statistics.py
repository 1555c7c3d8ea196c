"""Crossings and speed-ups against arithmetic by hand and SciPy."""

import math

import numpy as np
import pytest
from scipy import stats

from nowcast.evaluation.statistics import Crossing, clear, crossing, smooth, speed_up

NAN, INF = math.nan, math.inf


def test_smoothing_is_the_mean_of_a_value_and_the_two_before_it():
    np.testing.assert_allclose(smooth([9.0, 6.0, 3.0, 0.0, 3.0]), [NAN, NAN, 6, 3, 2])


def test_a_value_that_is_not_finite_spoils_the_three_means_it_belongs_to():
    np.testing.assert_allclose(smooth([1.0, 1.0, INF, 1.0, 1.0, 4.0, NAN]), [NAN, NAN, NAN, NAN, NAN, 2, NAN])


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
        ([0.0, 0.0, 0.0, 9.0, 9.0], 1.0, Crossing(2.0, True)),  # the first one counts, whatever follows
    ],
)
def test_crossing(losses, target, expected):
    assert crossing([0.0, 1.0, 2.0, 3.0, 4.0], losses, target) == expected


def test_crossing_is_said_in_epochs_not_in_places():
    assert crossing([0.0, 0.5, 1.0, 1.5, 2.0], [9.0, 6.0, 3.0, 0.0, 3.0], 3.0) == Crossing(1.5, True)


def test_equal_ratios_leave_nothing_to_chance():
    np.testing.assert_allclose(speed_up([10.0, 20.0, 30.0], [5.0, 10.0, 15.0]), [2, 2, 2], rtol=1e-12)


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
        (np.log(base / arm),), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
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
    assert clear(np.exp(ratios).tolist(), [1.0] * 12) == (stats.ttest_1samp(ratios, 0).pvalue < 0.05)


def test_one_seed_or_a_missing_value_is_never_clear():
    assert not clear([2.0], [1.0])
    assert not clear([2.0, NAN], [1.0, 1.0])
