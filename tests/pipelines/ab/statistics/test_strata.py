"""Units of unlike shares: what each weighs, and where shares changed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.pipelines.ab.statistics import effects, strata
from fulcrum.pipelines.ab.statistics.users import Users


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(2, 4), st.integers(0, 2**32 - 1))
def test_all_arms_stand_for_the_same_mixture(periods, arms, seed):
    shares = np.random.default_rng(seed).dirichlet(np.ones(arms), periods) + 1e-3
    shares /= shares.sum(axis=1, keepdims=True)
    mixture = shares * strata.weights(shares)
    assert np.allclose(mixture, mixture[:, :1]) and (mixture > 0).all()


def test_of_two_arms_a_unit_weighs_the_share_of_the_other():
    shares = np.array([[0.9, 0.1], [0.5, 0.5]])
    np.testing.assert_allclose(strata.weights(shares), shares[:, ::-1])


def ramp(rng: np.random.Generator, lift: float = 0.0) -> tuple[Users, Users, Users, Users]:
    """Friday converts 10 % and has 1 % treatment, Saturday 30 % and a half: pooled, weighted."""
    day = np.repeat([0, 1], 3000)
    shares = np.array([[0.99, 0.01], [0.5, 0.5]])
    treated = (rng.random(len(day)) < shares[day, 1]).astype(int)
    values = (rng.random(len(day)) < np.array([0.1, 0.3])[day] + lift * treated).astype(float)
    weight = strata.weights(shares)[day, treated]
    arms = [Users(values[treated == k], np.ones(sum(treated == k))) for k in (0, 1)]
    weighted = [arm.weighted(weight[treated == k]) for k, arm in enumerate(arms)]
    return (*arms, *weighted)


def test_simpsons_difference_is_none_among_units_of_the_same_shares():
    """Pooled, treatment is better for its day in every test; weighted, in one of twenty."""
    rng = np.random.default_rng(0)
    tests = [ramp(rng) for _ in range(120)]
    pooled = [effects.compare(a, b) for a, b, *_ in tests]
    weighted = [effects.compare(a, b) for *_, a, b in tests]
    assert np.mean([effect.low > 0 for effect in pooled]) > 0.99
    assert np.mean([effect.p_value < 0.05 for effect in weighted]) <= 0.09
    assert abs(np.mean([effect.difference for effect in weighted])) < 0.003


def test_an_effect_is_found_whatever_the_shares():
    rng = np.random.default_rng(1)
    found = [effects.compare(*ramp(rng, lift=0.05)[2:]) for _ in range(100)]
    assert np.mean([effect.difference for effect in found]) == pytest.approx(0.05, abs=0.005)
    assert np.mean([effect.low <= 0.05 <= effect.high for effect in found]) >= 0.89


def test_constant_shares_have_no_changes():
    rng = np.random.default_rng(2)
    found = [strata.changes(rng.multinomial(500, [0.7, 0.3], 14)) for _ in range(200)]
    assert sum(map(bool, found)) <= 2


def test_changes_are_found_where_they_are():
    rng = np.random.default_rng(3)
    shares = [[0.99, 0.01]] * 3 + [[0.9, 0.1]] * 2 + [[0.5, 0.5]] * 4
    counts = np.array([rng.multinomial(2000, share) for share in shares])
    assert strata.changes(counts) == [3, 5]
    assert strata.changes(counts[:3]) == strata.changes(counts[:1]) == []
