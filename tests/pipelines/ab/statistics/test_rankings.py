import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.pipelines.ab.statistics.rankings import TOP, rankings


def test_by_hand():
    """Unit 0: one of three pairs the other way, tau (2 - 1) / 3; unit 1: all, tau -1."""
    unit = np.array([0, 1, 0, 1, 0])
    one = np.array([1.0, 5.0, 2.0, 6.0, 3.0])
    other = np.array([1.0, 2.0, 3.0, 1.0, 2.0])
    assert rankings(one, other, unit) == (pytest.approx((1 / 3 - 1) / 2), None)


def test_the_ten_best():
    """Twelve rows; the other model has two of its ten best among the last two."""
    scores = np.arange(12.0)
    assert rankings(scores, -scores, np.zeros(12, int)) == (pytest.approx(-1), (TOP - 2) / TOP)


def test_units_of_one_row_say_nothing():
    assert rankings(np.arange(3.0), np.arange(3.0), np.arange(3)) == (None, None)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-1, 1)), min_size=2, max_size=60))
def test_a_model_ranks_as_itself_whatever_the_scale(rows):
    unit = np.array([u for u, _ in rows])
    scores = np.array([s for _, s in rows])
    tau, share = rankings(scores, 2.0 * scores, unit)
    assert tau is None or tau == pytest.approx(1)
    assert share is None or share == 1
