"""Shares of few units: an interval that holds, and a p-value that says the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from fulcrum.pipelines.ab.statistics import effects
from fulcrum.pipelines.ab.statistics.intervals.proportion import Shares, shares
from fulcrum.pipelines.ab.statistics.users import Users


def units(count: int, size: int, value: float = 1.0) -> Users:
    """So many of an arm's units at a value, the others at 0."""
    return Users(np.where(np.arange(size) < count, value, 0.0), np.ones(size))


def test_nobody_of_5000_against_250_is_a_number():
    """Wilson's ends of 0 and of .05, put together as Newcombe has it."""
    effect = effects.compare(units(250, 5000), units(0, 5000))
    low, high = proportion_confint(250, 5000, method="wilson")
    top = proportion_confint(0, 5000, method="wilson")[1]
    assert effect.method == "newcombe" and effect.difference == -0.05
    assert effect.low == pytest.approx(-0.05 - np.hypot(0, high - 0.05))
    assert effect.high == pytest.approx(-0.05 + np.hypot(top, 0.05 - low))
    assert 0 < effect.p_value < 1e-30


@pytest.mark.parametrize("value", [1.0, 0.0, 7.0, -3.0])
def test_units_that_are_all_alike_differ_by_nothing_with_an_interval(value):
    one, other = (Users(np.full(n, value), np.ones(n)) for n in (400, 600))
    effect = effects.compare(one, other)
    bounds = [abs(value or 1.0) * proportion_confint(0, n, method="wilson")[1] for n in (400, 600)]
    assert effect.difference == 0 and effect.p_value == 1
    assert sorted((-effect.low, effect.high)) == pytest.approx(sorted(bounds))


def test_the_more_units_are_alike_the_narrower_is_the_interval():
    widths = [effects.compare(units(0, n), units(0, n)).high for n in (20, 200, 2000)]
    assert widths[0] > 8 * widths[1] > 70 * widths[2]


def test_two_arms_that_are_constant_differ_as_far_as_they_can():
    effect = effects.compare(units(0, 300), units(300, 300, 5.0))
    assert effect.difference == 5 and 4.8 < effect.low < 5 and effect.p_value < 1e-80


def test_constant_ratios_that_differ_by_rounding_do_not_differ():
    one, other = (Users(0.1 * rows, rows) for rows in (np.arange(1.0, 30), np.arange(3.0, 70)))
    assert effects.compare(one, other).p_value == 1


@pytest.mark.parametrize("count", [0, 1000])
def test_a_constant_arm_of_many_values_has_the_others_variance(count):
    """A standard error of 0 is not knowledge."""
    rng = np.random.default_rng(0)
    flat, spends = Users(np.full(500, float(count)), np.ones(500)), rng.exponential(1, 300)
    effect = effects.compare(flat, Users(spends, np.ones(300)))
    assert effect.method == "larger variance"
    assert effect.se == pytest.approx(spends.std(ddof=1) * np.sqrt(1 / 500 + 1 / 300))


@pytest.mark.parametrize("count", [0, 3, 50])
def test_an_arm_of_few_units_has_wilsons_interval(count):
    ends = effects.of_arm(units(count, 50))
    assert ends == pytest.approx(proportion_confint(count, 50, method="wilson"))


def test_more_than_two_values_are_no_shares():
    assert shares(units(3, 9), units(3, 9, 2.0)) is None
    assert shares(Users(np.ones(3), np.arange(1.0, 4)), Users(np.ones(3), np.ones(3))) is None


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), st.integers(1, 3000), st.data(), st.floats(0.001, 0.2))
def test_the_p_value_lies_below_alpha_where_the_interval_leaves_zero(one, other, data, alpha):
    counts = data.draw(st.integers(0, one)), data.draw(st.integers(0, other))
    held = Shares(counts, (one, other), 0.0, 2.0)
    low, high = held.interval(alpha)
    swapped = Shares(counts[::-1], (other, one), 0.0, 2.0)
    assert swapped.interval(alpha) == pytest.approx((-high, -low))
    assert swapped.p_value == pytest.approx(held.p_value, rel=1e-6)
    difference = 2 * (counts[1] / other - counts[0] / one)
    assert low <= difference <= high and 0 < held.p_value <= 1
    if abs(held.p_value - alpha) > 1e-6:
        assert (held.p_value < alpha) == (low > 0 or high < 0)


@pytest.mark.parametrize(("one", "other"), [(500, 500), (100, 4900), (30, 300)])
@pytest.mark.parametrize("share", [0.003, 0.02])
def test_rare_units_alike_in_both_arms_are_no_difference_shown(one, other, share):
    """At most 5 % of false claims, exactly: over all pairs of counts with their probabilities."""
    most = [int(stats.binom.ppf(1 - 1e-6, n, share)) for n in (one, other)]
    claimed = sum(
        stats.binom.pmf(a, one, share) * stats.binom.pmf(b, other, share)
        for a in range(most[0] + 1)
        for b in range(most[1] + 1)
        if np.prod(Shares((a, b), (one, other), 0.0, 1.0).interval(0.05)) > 0
    )
    assert claimed <= 0.05
