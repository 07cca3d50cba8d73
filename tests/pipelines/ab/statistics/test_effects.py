"""Effects are what the formulas say, and none where there is none."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.statistics import effects
from fulcrum.pipelines.ab.statistics.effects import Effect
from fulcrum.pipelines.ab.statistics.users import Users
from tests.pipelines.ab.arms import mean_arm, ratio_arm

EXACT = {"rel": 1e-9, "abs": 1e-12}
SEEDS = st.integers(0, 2**32 - 1)


def arms(seed: int, kind=ratio_arm) -> tuple[Users, Users]:
    rng = np.random.default_rng(seed)
    return kind(rng, 150), kind(rng, 250)


def ones(values) -> Users:
    return Users(np.asarray(values, dtype=float), np.ones(len(values)))


def test_a_difference_of_means_is_welchs():
    control, treatment = arms(0, mean_arm)
    a, b = control.numerator, treatment.numerator
    effect, test = effects.compare(control, treatment, 0.1), stats.ttest_ind(b, a, equal_var=False)
    low, high = test.confidence_interval(0.9)
    assert (effect.control, effect.treatment) == pytest.approx((a.mean(), b.mean()), **EXACT)
    assert effect.difference == pytest.approx(b.mean() - a.mean(), **EXACT)
    assert effect.se == pytest.approx(np.sqrt(a.var(ddof=1) / 150 + b.var(ddof=1) / 250), **EXACT)
    assert (effect.low, effect.high) == pytest.approx((low, high), **EXACT)
    assert effect.p_value == pytest.approx(test.pvalue, **EXACT)
    assert (effect.n_control, effect.n_treatment) == (150, 250)


def test_a_ratio_has_the_variance_of_the_delta_method():
    """(s_Y² - 2 R s_YN + R² s_N²) / (n mean(N)²), and Welch's degrees of freedom from both."""
    variances, values, dfs = [], [], []
    for users in arms(1):
        y, n, count = users.numerator, users.denominator, len(users)
        ratio = y.sum() / n.sum()
        (yy, yn), (_, nn) = np.cov(y, n)
        variances.append((yy - 2 * ratio * yn + ratio**2 * nn) / (count * n.mean() ** 2))
        values.append(ratio)
        dfs.append(count - 1)
    df = sum(variances) ** 2 / sum(v**2 / d for v, d in zip(variances, dfs, strict=True))
    half = stats.t.ppf(0.975, df) * np.sqrt(sum(variances))
    effect = effects.compare(*arms(1))
    assert effect.se == pytest.approx(np.sqrt(sum(variances)), **EXACT)
    difference = values[1] - values[0]
    assert (effect.low, effect.high) == pytest.approx(
        (difference - half, difference + half), **EXACT
    )


def test_a_relative_effect_has_its_interval_on_the_log_scale():
    """Var(log m_T - log m_C) = s_T² / (n_T m_T²) + s_C² / (n_C m_C²)."""
    control, treatment = arms(2)
    effect = effects.compare(control, treatment)
    parts = [(arm.se / arm.value) ** 2 for arm in (control, treatment)]
    df = sum(parts) ** 2 / (parts[0] ** 2 / 149 + parts[1] ** 2 / 249)
    half = stats.t.ppf(0.975, df) * np.sqrt(sum(parts))
    ratio = treatment.value / control.value
    assert effect.relative == pytest.approx(ratio - 1, **EXACT)
    expected = ratio * np.exp(-half) - 1, ratio * np.exp(half) - 1
    assert (effect.relative_low, effect.relative_high) == pytest.approx(expected, **EXACT)


def test_near_zero_the_relative_interval_is_fiellers_or_none():
    """Control is 2.5 standard errors from 0, or 1."""
    noise = np.random.default_rng(3).normal(size=100)
    noise = (noise - noise.mean()) / noise.std(ddof=1)  # standard error 0.1
    treatment = ones(5 + noise)
    near = effects.compare(ones(0.25 + noise), treatment)
    quantile = (near.high - near.low) / 2 / near.se
    for end in (near.relative_low, near.relative_high):
        ratio = 1 + end
        distance = (5 - ratio * 0.25) / (0.1 * np.sqrt(1 + ratio**2))
        assert abs(distance) == pytest.approx(quantile, **EXACT)
    assert near.relative == pytest.approx(5 / 0.25 - 1)
    assert near.relative_low < near.relative < near.relative_high
    nearer = effects.compare(ones(0.1 + noise), treatment)
    assert nearer.relative is nearer.relative_low is nearer.relative_high is None
    assert nearer.difference == pytest.approx(4.9)


@pytest.mark.parametrize("mean", [0.0, 1e-9, 1e-300, -1e-4])
def test_a_control_mean_near_zero_has_the_interval_of_any_other(mean):
    """tea-tasting's own relative interval overflows here."""
    noise = np.array([-2.0, -1, 0, 1, 2])
    control, treatment = ones(mean + noise), ones([3.0, 5, 4, 9, 1])
    effect = effects.compare(control, treatment)
    test = stats.ttest_ind(treatment.numerator, control.numerator, equal_var=False)
    assert (effect.low, effect.high) == pytest.approx(tuple(test.confidence_interval()), rel=1e-9)
    assert effect.p_value == pytest.approx(test.pvalue, rel=1e-9)
    assert effect.relative is None


def test_values_of_unlike_signs_have_ends_in_order():
    rng = np.random.default_rng(4)
    effect = effects.compare(ones(rng.normal(-5, 1, 80)), ones(rng.normal(5, 1, 80)))
    assert effect.relative_low < effect.relative < effect.relative_high < 0


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_swapping_the_arms_flips_signs(seed):
    control, treatment = arms(seed)
    one, other = effects.compare(control, treatment), effects.compare(treatment, control)
    assert one.difference == -other.difference
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), **EXACT)
    assert one.p_value == pytest.approx(other.p_value, **EXACT)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.floats(1e-3, 1e3))
def test_scaling_an_outcome_scales_the_effect_and_nothing_else(seed, factor):
    one = effects.compare(*arms(seed))
    scaled = (replace(arm, numerator=factor * arm.numerator) for arm in arms(seed))
    other = effects.compare(*scaled)
    for field in ("difference", "se", "low", "high"):
        assert getattr(other, field) == pytest.approx(factor * getattr(one, field), **EXACT)
    for field in ("p_value", "relative", "relative_low", "relative_high"):
        assert getattr(other, field) == pytest.approx(getattr(one, field), **EXACT)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(2, 9))
def test_rows_that_all_come_twice_change_no_ratio(seed, times):
    """Each user's totals are so many times as large."""
    again = (
        replace(arm, numerator=times * arm.numerator, denominator=times * arm.denominator)
        for arm in arms(seed)
    )
    assert astuple(effects.compare(*again)) == pytest.approx(
        astuple(effects.compare(*arms(seed))), **EXACT
    )


def astuple(effect: Effect) -> tuple[float, ...]:
    return tuple(value for value in vars(effect).values() if not isinstance(value, str))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (ones([]), "arm `treatment` has 0 users"),
        (ones([1.0]), "arm `treatment` has 1 users"),
        (Users(np.ones(3), np.zeros(3)), "denominator is 0 for all 3 users"),
        (ones([1.0, np.nan, np.inf]), "2 of 3 users have a value that is not finite"),
    ],
)
def test_an_arm_that_says_nothing_is_refused(bad, says):
    with pytest.raises(DataError, match=says):
        effects.compare(ones([1.0, 2]), bad)
    with pytest.raises(DataError, match=says.replace("treatment", "control")):
        effects.compare(bad, ones([1.0, 2]))
