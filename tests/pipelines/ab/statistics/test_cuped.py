"""CUPED estimates the same effect with less noise."""

from dataclasses import replace

import numpy as np
import pytest

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.statistics import cuped, effects
from fulcrum.pipelines.ab.statistics.users import Users
from tests.pipelines.ab.arms import mean_arm, ratio_arm


def arms(kind=mean_arm, users: int = 400) -> tuple[Users, Users]:
    rng = np.random.default_rng(0)
    return kind(rng, users), kind(rng, users + 100)


def test_the_slope_is_the_covariance_over_the_variance_within_arms():
    control, treatment = arms()
    adjusted = cuped.adjust(control, treatment)
    (y, x) = (
        np.concatenate([v - v.mean() for v in pair])
        for pair in ((control.numerator, treatment.numerator), (control.before, treatment.before))
    )
    assert adjusted.theta == pytest.approx((x @ y) / (x @ x))
    assert adjusted.correlation == pytest.approx((x @ y) / np.sqrt((x @ x) * (y @ y)))
    assert adjusted.covered == 1
    centre = np.concatenate([control.before, treatment.before]).mean()
    np.testing.assert_allclose(
        adjusted.control.numerator, control.numerator - adjusted.theta * (control.before - centre)
    )


@pytest.mark.parametrize("kind", [mean_arm, ratio_arm])
def test_the_variance_falls_by_the_square_of_the_correlation(kind):
    control, treatment = arms(kind, 5000)
    adjusted = cuped.adjust(control, treatment)
    raw = effects.compare(control, treatment)
    less = effects.compare(adjusted.control, adjusted.treatment)
    assert adjusted.correlation > 0.3
    assert (less.se / raw.se) ** 2 == pytest.approx(1 - adjusted.correlation**2, rel=0.05)


def test_a_mean_arm_correlates_as_it_was_made():
    """Var 1 shared, 0.25 own: the correlation is 1 / 1.25."""
    assert cuped.adjust(*arms(users=20_000)).correlation == pytest.approx(1 / 1.25, abs=0.01)


@pytest.mark.parametrize("kind", [mean_arm, ratio_arm])
def test_a_pre_period_in_which_all_are_alike_changes_nothing(kind):
    flat = [replace(arm, before=np.ones(len(arm)), before_denominator=None) for arm in arms(kind)]
    adjusted = cuped.adjust(*flat)
    raw, less = effects.compare(*flat), effects.compare(adjusted.control, adjusted.treatment)
    assert adjusted.theta == adjusted.correlation == 0
    assert less.method == raw.method
    for name in ("difference", "se", "low", "high", "p_value", "relative"):
        assert getattr(less, name) == pytest.approx(getattr(raw, name), rel=1e-9)


def test_users_without_history_are_told_apart_and_not_lost():
    """Newcomers have 2 less, which the flag knows; moving what nobody saw changes nothing."""
    control, treatment = arms(users=2000)
    rng = np.random.default_rng(1)
    new = [rng.random(len(arm)) < 0.3 for arm in (control, treatment)]
    parts = [
        Users(arm.numerator - 2 * flag, arm.denominator, np.where(flag, np.nan, arm.before))
        for arm, flag in zip((control, treatment), new, strict=True)
    ]
    adjusted = cuped.adjust(*parts)
    assert adjusted.covered == 1 - np.concatenate(new).mean()
    assert len(adjusted.control) == len(control)
    assert adjusted.theta == pytest.approx(1 / 1.25, abs=0.03)
    flags = np.concatenate(new)
    values = np.concatenate([adjusted.control.numerator, adjusted.treatment.numerator])
    assert values[flags].mean() == pytest.approx(values[~flags].mean(), abs=1e-2)


def test_the_effect_itself_does_not_blur_the_slope():
    control, treatment = arms()
    far = replace(treatment, numerator=treatment.numerator + 100)
    assert cuped.adjust(control, far).theta == pytest.approx(cuped.adjust(control, treatment).theta)


def test_no_history_at_all_is_refused():
    control, treatment = arms()
    with pytest.raises(DataError, match="no pre-period"):
        cuped.adjust(replace(control, before=None), treatment)
    lost = [replace(arm, before=np.full(len(arm), np.nan)) for arm in (control, treatment)]
    with pytest.raises(DataError, match="pre-period is empty"):
        cuped.adjust(*lost)
