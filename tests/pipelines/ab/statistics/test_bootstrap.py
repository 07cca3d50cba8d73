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


def test_a_constant_arm_is_refused():
    with pytest.raises(DataError, match="constant"):
        bootstrap.compare(Users(np.ones(9), np.ones(9)), Users(np.arange(9.0), np.ones(9)))
