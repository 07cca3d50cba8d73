"""Differences of metrics, and when one is told from 0."""

import numpy as np
import pytest

from fulcrum.pipelines.quality.differences import Difference, better


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
    """Bonferroni, on 400 families of 50 differences that are normal about 0."""
    drawn = np.random.default_rng(0).standard_normal((400, 50))
    false = sum(
        any(Difference(v, v - 1.96, v + 1.96).beside(50).clear for v in row) for row in drawn
    )
    assert abs(false - 400 * 0.05) < 4 * np.sqrt(400 * 0.05 * 0.95)


def test_what_is_no_difference_at_all_is_never_clear():
    assert Difference.of(np.zeros(201)) == Difference(0.0, 0.0, 0.0)
    assert not Difference(0.0, 0.0, 0.0).clear


def test_beside_none_an_interval_is_its_own():
    assert Difference(1.0, 0.5, 3.0).beside(1) == Difference(1.0, 0.5, 3.0)
