"""Drawing users again agrees with the formulas."""

import numpy as np
import pytest

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.statistics import bootstrap, effects
from fulcrum.pipelines.ab.statistics.users import Users
from tests.pipelines.ab.arms import mean_arm, ratio_arm


@pytest.mark.parametrize("arm", [mean_arm, ratio_arm])
def test_its_error_is_that_of_the_delta_method(arm):
    """5,000 users; 2,000 draws give a standard error to 1.6 % (one standard deviation)."""
    rng = np.random.default_rng(0)
    control, treatment = arm(rng, 5000), arm(rng, 5000)
    formula = effects.compare(control, treatment)
    drawn = bootstrap.compare(control, treatment)
    assert drawn.se == pytest.approx(formula.se, rel=0.05)
    assert drawn.low == pytest.approx(formula.low, abs=0.15 * formula.se)
    assert drawn.high == pytest.approx(formula.high, abs=0.15 * formula.se)
    assert drawn.relative_low == pytest.approx(
        formula.relative_low, abs=0.15 * formula.se / formula.control
    )
    assert drawn.p_value == pytest.approx(formula.p_value, abs=0.05)


def test_a_seed_draws_the_same_users_however_many_at_a_time(monkeypatch):
    rng = np.random.default_rng(1)
    control, treatment = ratio_arm(rng), ratio_arm(rng)
    one = bootstrap.compare(control, treatment, seed=3, draws=500)
    assert bootstrap.compare(control, treatment, seed=4, draws=500) != one
    monkeypatch.setattr(bootstrap, "CELLS", 1000)
    assert bootstrap.compare(control, treatment, seed=3, draws=500) == one


def test_a_p_value_below_alpha_goes_with_an_interval_without_zero():
    rng = np.random.default_rng(2)
    for shift in np.linspace(0, 0.4, 15):
        effect = bootstrap.compare(mean_arm(rng), mean_arm(rng, mean=3 + shift), draws=1000)
        if abs(effect.p_value - 0.05) > 0.005:
            assert (effect.p_value < 0.05) == (effect.low > 0 or effect.high < 0)


def test_a_control_near_zero_has_no_relative_effect():
    rng = np.random.default_rng(3)
    effect = bootstrap.compare(mean_arm(rng, mean=0.0), mean_arm(rng))
    assert effect.relative is effect.relative_low is effect.relative_high is None


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (Users(np.ones(9), np.ones(9)), "constant, 1 for each of 9 users"),
        (Users(np.array([0.1, 0.3, 0.7]), np.array([1.0, 3, 7])), r"constant, 0\.1 for each of 3"),
    ],
)
def test_of_a_constant_arm_nothing_can_be_drawn(bad, says):
    with pytest.raises(DataError, match=says):
        bootstrap.compare(bad, Users(np.arange(9.0), np.ones(9)))


@pytest.mark.parametrize("arm", [mean_arm, ratio_arm])
def test_groups_of_users_vary_as_users_do(arm, monkeypatch):
    """4,000 users in 1,000 groups: the standard error to 1 / sqrt(2,000) and that of the draws."""
    rng = np.random.default_rng(4)
    control, treatment = arm(rng, 4000), arm(rng, 4500)
    formula = effects.compare(control, treatment)
    monkeypatch.setattr(bootstrap, "GROUPS", 1000)
    drawn = bootstrap.compare(control, treatment)
    assert drawn.difference == formula.difference
    assert drawn.se == pytest.approx(formula.se, rel=0.08)
    assert drawn.low == pytest.approx(formula.low, abs=0.2 * formula.se)
