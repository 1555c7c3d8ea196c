"""Crossings and speed-ups against arithmetic by hand and SciPy."""

import math

import numpy as np
import pytest
from scipy import stats

from collect.intervals import RESAMPLES, mean_interval
from evaluate.decision import excludes
from evaluate.statistics import (
    Crossing,
    crossing,
    geometric_interval,
    smooth,
    speed_up,
    t_interval,
)

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


def test_speed_up_is_a_geometric_mean():
    value, low, high = speed_up([8.0, 2.0], [2.0, 8.0])  # ratios 4 and 1/4
    # Their logarithms scatter by √2 log 4; t is 12.706 with one degree of freedom.
    ends = 12.706204736 * np.log(4)
    np.testing.assert_allclose([value, low, high], np.exp([0, -ends, ends]), rtol=1e-6)


def test_speed_up_and_slow_down_mirror_each_other():
    base, arm = [10.0, 12.0, 15.0, 20.0, 9.0], [7.0, 9.0, 16.0, 11.0, 8.0]
    value, low, high = speed_up(base, arm)
    mirrored = speed_up(arm, base)
    np.testing.assert_allclose([1 / value, 1 / high, 1 / low], mirrored, rtol=1e-12)


def test_one_seed_has_a_value_and_no_interval():
    value, low, high = speed_up([10.0], [5.0])
    assert value == pytest.approx(2)
    assert math.isnan(low)
    assert math.isnan(high)


def test_the_interval_is_that_of_scipys_paired_t_test():
    base = np.array([30, 28, 35, 31, 40, 26, 33, 29.0])
    arm = np.array([20, 24, 21, 26, 22, 25, 24, 19.0])
    theirs = stats.ttest_rel(np.log(base), np.log(arm))
    found = speed_up(list(base), list(arm))
    assert found.value == pytest.approx(stats.gmean(base / arm))
    assert found[1:] == pytest.approx(np.exp(theirs.confidence_interval(0.95)))
    assert geometric_interval(base / arm) == pytest.approx(found)


@pytest.mark.parametrize("seeds", [2, 3, 5, 12])
def test_it_excludes_nothing_where_scipys_t_test_says_so(seeds):
    rng = np.random.default_rng(seeds)
    for values in rng.normal(0.4, 1.0, size=(200, seeds)):
        theirs = stats.ttest_1samp(values, 0)
        found = t_interval(values.tolist())
        assert found[1:] == pytest.approx(theirs.confidence_interval(0.95))
        assert excludes(found, 0.0) == (theirs.pvalue < 0.05)
        assert excludes(geometric_interval(np.exp(values)), 1.0) == (theirs.pvalue < 0.05)


@pytest.mark.parametrize(
    "values", [[2.0], [2.0, NAN], [2.0, INF], [1.2] * 5, [0.1 + 0.2, 0.3, 0.3]]
)
def test_without_a_scatter_that_is_known_there_is_no_interval(values):
    assert all(map(math.isnan, t_interval(values)[1:]))


def test_runs_that_are_equal_in_every_seed_have_an_interval_of_one_point():
    assert t_interval([0.0] * 4) == (0, 0, 0)
    assert speed_up([7.0, 9.0], [7.0, 9.0], resolution=1.0) == (1, 1, 1)


def test_the_mean_of_a_bootstrap_is_scipys_to_the_last_digits():
    values = np.random.default_rng(5).normal(size=7)
    drawn = np.random.default_rng(3).integers(7, size=(RESAMPLES, 7))  # as it was before SciPy's
    ends = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    assert mean_interval(values, seed=3)[1:] == pytest.approx(ends, rel=1e-12)


def shows(base, arm, resolution=0.0):
    """Whether the interval excludes 1."""
    return excludes(speed_up(base, arm, resolution), 1.0)


def test_seeds_that_agree_for_a_coarse_grid_show_no_more_than_it_can():
    assert not shows([8.0, 8.0], [7.0, 7.0], resolution=1.0)  # as two runs of noise may
    assert shows([80.0, 80.0], [40.0, 40.0], resolution=1.0)
    assert shows([8.0] * 6, [7.0] * 6, resolution=1.0)  # chance does not do that six times
    assert not shows([8.0] * 9, [7.0] * 9)  # no scatter at all: of what, nobody knows
    assert shows([8.0, 8.1, 7.9], [4.0, 4.1, 4.0], resolution=0.1)
    # The arm's 8 is the coarser of the two places: by the base's 40 alone 18 steps would be no
    # hindrance.
    assert not shows([40.0] * 3, [8.0] * 3, resolution=18.0)
    assert shows([40.0] * 3, [8.0] * 3, resolution=12.0)


def test_the_grid_gives_the_least_scatter_by_hand():
    # Log ratios of 2 alone; the grid of 10 steps scatters 10/√12 (1/20² + 1/10²)^½ = 0.32275.
    half = stats.t.ppf(0.975, 2) * 0.322748612 / math.sqrt(3)
    found = speed_up([20.0] * 3, [10.0] * 3, resolution=10.0)
    assert found == pytest.approx((2, 2 * math.exp(-half), 2 * math.exp(half)))


def test_a_coarse_grid_makes_few_false_claims():
    rng = np.random.default_rng(0)
    for seeds in (2, 3, 5):
        # No difference, and half an evaluation's scatter.
        runs = np.ceil(rng.normal(10, 0.4, size=(2000, 2, seeds)))
        assert np.mean([shows(list(base), list(arm), 1.0) for base, arm in runs]) < 0.06


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_leaves_the_mean_out_as_often_as_it_says_and_a_bootstrap_far_more_often(seeds):
    rng = np.random.default_rng(seeds)
    drawn = rng.normal(size=(2000, seeds))
    wrong = np.mean([excludes(t_interval(values.tolist()), 0.0) for values in drawn])
    assert 0.03 < wrong < 0.07
    assert np.mean([excludes(mean_interval(values), 0.0) for values in drawn[:300]]) > 0.1
