"""Differences of metrics, and when one is told from 0."""

import numpy as np
import pytest

from fulcrum.pipelines.quality.differences import Difference, better
from fulcrum.pipelines.quality.pulls import interval, level_of_each


@pytest.mark.parametrize(("metric", "sign"), [("auc", 1), ("accuracy", 1), ("rmse", -1)])
def test_above_zero_is_better_whichever_way_a_metric_points(metric, sign):
    ours, theirs = np.array([3.0, 4.0]), np.array([1.0, 1.0])
    np.testing.assert_array_equal(better(ours, theirs, metric), sign * np.array([2.0, 3.0]))


def test_without_an_interval_nothing_is_clear():
    assert not Difference(5.0, None, None).clear


def test_it_is_clear_where_its_interval_lies_beyond_zero():
    for low, value, high in ((0.1, 1.0, 9.0), (-0.1, 1.0, 1.5), (-9.0, -1.0, -0.1), (-2, -1, 0.1)):
        assert Difference(value, low, high).clear is (low > 0 or high < 0)


def test_of_many_that_are_nothing_one_family_in_twenty_has_a_clear_one():
    """200 families of 50 means of 60 normal values about 0, all intervals at the level of each."""
    drawn = np.random.default_rng(0).standard_normal((200, 50, 60))
    means = drawn.mean(2)
    pulls = (drawn - means[..., None]) / 60
    samples, level = np.concatenate([means[..., None], pulls], 2), level_of_each(50)
    false = sum(any(Difference.of(values, level).clear for values in family) for family in samples)
    assert abs(false - 200 * 0.05) < 4 * np.sqrt(200 * 0.05 * 0.95)


def test_what_is_no_difference_at_all_is_never_clear():
    assert Difference.of(np.zeros(201)) == Difference(0.0, 0.0, 0.0)
    assert not Difference(0.0, 0.0, 0.0).clear


def test_users_and_what_else_changes_are_joined_by_their_squares():
    samples = np.array([7.0, 3.0, -1.0, -1.0, -1.0])
    low, high = interval(samples)
    gap = Difference.of(samples, half=4.0)
    assert (7 - gap.low) ** 2 == pytest.approx((7 - low) ** 2 + 16)
    assert (gap.high - 7) ** 2 == pytest.approx((high - 7) ** 2 + 16)
    alone = Difference.of(samples)
    assert (alone.low, alone.high) == pytest.approx((low, high))
    assert Difference.of(np.array([7.0, 0.0]), half=4.0) == Difference(7.0, None, None)
