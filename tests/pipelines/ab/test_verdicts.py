"""Guard-rails, many questions at once, and instances."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.statistics.effects import Effect
from fulcrum.pipelines.ab.statistics.guardrail import judge
from fulcrum.pipelines.ab.statistics.instances import replicated
from fulcrum.pipelines.ab.statistics.multiplicity import (
    benjamini_hochberg,
    bonferroni,
    coverage_level,
    holm,
)


def between(low: float, high: float) -> Effect:
    middle = (low + high) / 2
    return Effect(1.0, 1 + middle, middle, 1.0, low, high, 0.5, None, None, None, 9, 9)


@pytest.mark.parametrize(
    ("low", "high", "up", "down"),
    [
        (-0.5, 2.0, "passes", "undecided"),
        (-2.0, 0.5, "undecided", "passes"),
        (-2.0, 2.0, "undecided", "undecided"),
        (-3.0, -2.0, "fails", "passes"),
        (2.0, 3.0, "passes", "fails"),
    ],
)
def test_a_guard_rail_asks_for_the_bad_end(low, high, up, down):
    assert judge(between(low, high), "up", 1.0) == up
    assert judge(between(low, high), "down", 1.0) == down


def test_adjusted_p_values_by_hand():
    """Holm: 4 · .01, 3 · .02, then no smaller than before; B.-H.: p · 4 / rank, from above."""
    p = [0.04, 0.01, 0.03, 0.02]
    assert holm(p) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert benjamini_hochberg(p) == pytest.approx([0.04, 0.04, 0.04, 0.04])
    assert holm([]) == benjamini_hochberg([]) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-9, 1), min_size=1, max_size=20), st.sampled_from([0.01, 0.05, 0.2]))
@example([0.125, 0.125, 0.125], 0.2)
def test_intervals_of_explored_questions_leave_zero_where_their_p_value_says_so(p, alpha):
    """An interval at a level leaves 0 where the raw p-value lies below it."""
    level = coverage_level(p, alpha)
    assert alpha / len(p) <= level <= alpha
    shown = [adjusted < alpha for adjusted in benjamini_hochberg(p)]
    near = [abs(value - level) < 1e-12 for value in p]
    assert [value < level for value, n in zip(p, near, strict=True) if not n] == [
        s for s, n in zip(shown, near, strict=True) if not n
    ]
    assert bonferroni(0.02, 3) == 0.06 and bonferroni(0.5, 3) == 1


@settings(max_examples=6, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_adjusting_keeps_order_and_never_lowers(p):
    for adjusted in (holm(p), benjamini_hochberg(p)):
        assert all(a >= raw - 1e-12 for a, raw in zip(adjusted, p, strict=True))
        assert all(np.diff(np.array(adjusted)[np.argsort(p)]) >= -1e-12)


def test_instances_have_one_degree_of_freedom_less_than_they_are():
    differences = [1.0, 2.0, 4.0, 3.0, 5.0]
    over_instances = replicated(differences, 0.1)
    half = stats.t.ppf(0.95, 4) * np.sqrt(2.5) / np.sqrt(5)
    assert over_instances.difference == pytest.approx(3)
    assert (over_instances.low, over_instances.high) == pytest.approx((3 - half, 3 + half))
    assert over_instances.spread == pytest.approx(np.sqrt(2.5)) and over_instances.instances == 5
    assert over_instances.p_value == pytest.approx(2 * stats.t.sf(3 / np.sqrt(2.5 / 5), 4))


def test_instances_that_do_not_differ_have_the_spread_of_their_users():
    over_instances = replicated([0.0, 0.0, 0.0], 0.05, within=3.0)
    assert over_instances.high == pytest.approx(stats.t.ppf(0.975, 2)) == -over_instances.low
    assert over_instances.p_value == pytest.approx(1) and over_instances.spread == 3**0.5
    assert replicated([1.0, 2.0], within=9.0) == replicated([1.0, 2.0])


@pytest.mark.parametrize("few", [[], [1.0], [1.0, 1.0], [1.0, np.nan]])
def test_instances_without_a_spread_are_refused(few):
    with pytest.raises(DataError):
        replicated(few)
