"""A regression of rows says what users say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.statistics import effects
from fulcrum.pipelines.ab.statistics.intervals import clustered
from fulcrum.pipelines.ab.statistics.users import Users


def rows(seed: int, users: int = 200, most: int = 6) -> tuple[np.ndarray, ...]:
    """Values, units and arms; rows of a unit hang together."""
    rng = np.random.default_rng(seed)
    units = np.repeat(np.arange(users), rng.integers(1, most + 1, users))
    level, treated = rng.normal(2, 1, users), rng.permutation(users) % 2 == 0
    return level[units] + rng.normal(0, 0.3, len(units)), units, treated[units]


def test_one_row_a_user_has_the_error_of_two_means():
    """Clustered errors are then White's: each arm's mean square deviation over its size, times
    G / (G - 1) · (n - 1) / (n - 2), where there are as many clusters G as rows n."""
    values, units, treated = rows(0, most=1)
    effect = clustered.compare(values, units, treated)
    a, b, n = values[~treated], values[treated], len(values)
    plain = np.sqrt(a.var() / len(a) + b.var() / len(b))
    assert effect.difference == pytest.approx(b.mean() - a.mean(), rel=1e-9)
    factor = n / (n - 1) * (n - 1) / (n - 2)
    assert effect.se == pytest.approx(plain * np.sqrt(factor), rel=1e-9)
    half = stats.t.ppf(0.975, n - 1) * effect.se
    assert effect.low == pytest.approx(effect.difference - half, rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_it_is_the_ratio_over_rows_with_the_users_error(seed):
    values, units, treated = rows(seed)
    effect = clustered.compare(values, units, treated)
    by_user = effects.compare(
        *(
            Users(*(np.bincount(units[arm], w)[np.unique(units[arm])] for w in (values[arm], None)))
            for arm in (~treated, treated)
        )
    )
    assert effect.difference == pytest.approx(by_user.difference, rel=1e-9)
    assert (effect.n_control, effect.n_treatment) == (by_user.n_control, by_user.n_treatment)
    assert effect.se == pytest.approx(by_user.se, rel=0.01)
    assert effect.relative_low == pytest.approx(by_user.relative_low, abs=0.01)


def test_names_of_units_do_not_matter():
    values, units, treated = rows(1)
    names = np.array([f"user {u}" for u in units])
    by_name, by_number = (clustered.compare(values, u, treated) for u in (names, units))
    assert tuple(vars(by_name).values()) == pytest.approx(tuple(vars(by_number).values()))


def test_few_units_are_refused():
    values, units, treated = rows(2)
    with pytest.raises(DataError, match=r"arm `control` has 1 units; .* need 40"):
        clustered.compare(values, np.where(treated, units, -1), treated)
    with pytest.raises(DataError, match="arm `treatment` has 0 units"):
        clustered.compare(values, units, np.zeros(len(units), bool))


def test_values_that_say_nothing_are_refused():
    values, units, treated = rows(3)
    with pytest.raises(DataError, match="constant"):
        clustered.compare(np.where(treated, 1.0, values), units, treated)
    with pytest.raises(DataError, match=r"1 of .* not finite"):
        clustered.compare(np.where(np.arange(len(values)) == 5, np.nan, values), units, treated)
