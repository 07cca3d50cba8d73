"""What a test can show, and how long it takes."""

import numpy as np
import pytest
from scipy import stats

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.statistics import sequential
from fulcrum.pipelines.ab.statistics.power import (
    Days,
    days_needed,
    detectable,
    users_needed,
    users_needed_looking,
)


def test_the_detectable_effect_is_two_quantiles_of_errors():
    assert detectable(2.0, 0.05, 0.8) == pytest.approx(2 * (1.959963985 + 0.841621234), rel=1e-8)


@pytest.mark.parametrize("treated", [0.5, 0.2])
def test_users_needed_make_just_that_effect_detectable(treated):
    users = users_needed(3.0, 0.1, treated, alpha=0.1, power=0.9)
    se = 3 * np.sqrt(1 / (users * treated) + 1 / (users * (1 - treated)))
    assert detectable(se, 0.1, 0.9) == pytest.approx(0.1, rel=1e-4)
    assert users_needed(3.0, -0.1, treated, alpha=0.1, power=0.9) == users


def test_so_many_users_find_the_effect_as_often_as_said():
    """Means of 2,000 tests drawn at once; .8 to four binomial standard errors."""
    users = users_needed(1.0, 0.2)
    se = np.sqrt(4 / users)
    significant = (
        np.abs(np.random.default_rng(0).normal(0.2, se, 2000)) > stats.norm.ppf(0.975) * se
    )
    assert significant.mean() == pytest.approx(0.8, abs=4 * np.sqrt(0.8 * 0.2 / 2000))


def test_looking_costs_users_and_finds_what_it_promises():
    """Users that are needed make the effect the one that is found in 80 %."""
    once, looking = users_needed(1.0, 0.1), users_needed_looking(1.0, 0.1, tuned_for=4000)
    assert once < looking < 3 * once
    size = sequential.detectable(looking, 0.05, 4000, 0.8) * np.sqrt(4 / looking)
    assert size == pytest.approx(0.1, rel=0.01)
    fewer, more = (users_needed_looking(1.0, 0.1, alpha=a, tuned_for=4000) for a in (0.05, 0.0025))
    assert fewer < more


def test_days_are_read_off_the_growth_of_users():
    growth = [100, 180, 240, 280]
    assert days_needed(180, growth) == Days(2, beyond=False)
    assert days_needed(181, growth) == Days(3, beyond=False)
    assert days_needed(90, growth, traffic=0.5) == Days(2, beyond=False)


def test_beyond_the_log_the_rate_of_its_second_half_goes_on():
    """(280 - 180) / 2 = 50 a day; 120 more take 3 days."""
    assert days_needed(400, [100, 180, 240, 280]) == Days(4 + 3, beyond=True)
    assert days_needed(25, [10]) == Days(1 + 2, beyond=True)
    assert days_needed(400, [100, 100, 100, 100]) is None


@pytest.mark.parametrize(("deviation", "effect"), [(1.0, 0.0), (0.0, 1.0), (1.0, np.nan)])
def test_nothing_to_find_is_refused(deviation, effect):
    with pytest.raises(DataError):
        users_needed(deviation, effect)
    with pytest.raises(DataError, match="no days"):
        days_needed(1, [])
