"""The deal is checked before anything else is believed."""

import numpy as np
import pytest
from scipy import special

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.statistics import sample_ratio

HALVES = {"control": 0.5, "treatment": 0.5}


def test_two_arms_have_the_chi_square_of_their_counts():
    """(60 - 50)² / 50 twice is 4, one degree of freedom."""
    ratio = sample_ratio.check({"control": 60, "treatment": 40}, HALVES)
    assert ratio.p_value == pytest.approx(special.chdtrc(1, 4), rel=1e-9)
    assert ratio.holds and ratio.expected == {"control": 50, "treatment": 50}


def test_a_million_users_half_a_percent_off_alarm():
    counts = {"control": 495_000, "treatment": 505_000}
    assert not sample_ratio.check(counts, HALVES).holds
    assert sample_ratio.check(counts, {"control": 0.495, "treatment": 0.505}).p_value == 1


def test_a_true_deal_seldom_alarms():
    """p < .001 in less than .003 of 20,000 deals."""
    treated = np.random.default_rng(0).binomial(10_000, 0.5, 20_000)
    p = [
        sample_ratio.check({"control": 10_000 - n, "treatment": n}, HALVES).p_value
        for n in np.unique(treated)
    ]
    alarms = dict(zip(np.unique(treated), np.array(p) < sample_ratio.ALARM, strict=True))
    assert 0 < np.mean([alarms[n] for n in treated]) < 0.003


def test_an_arm_without_users_alarms():
    assert not sample_ratio.check({"control": 50}, HALVES).holds


def test_the_bayes_factor_is_that_of_a_dirichlet_prior():
    """Two users with prior 50 : 50. The chance of `treatment` twice is 50 / 100 · 51 / 101 under
    the prior and 1 / 4 under equal shares."""
    log_factors = sample_ratio.sequential(["treatment", "treatment"], HALVES)
    expected = [np.log(50 / 100 / 0.5), np.log(50 / 100 * 51 / 101 / 0.25)]
    np.testing.assert_allclose(log_factors, expected, atol=1e-12)


def test_watching_finds_a_bad_deal_and_seldom_alarms_at_a_good_one():
    """4,000 users watched each: false alarms at most .05 (300 deals: .05 + 2 · .0126), a share of
    .55 found."""
    rng = np.random.default_rng(1)
    names = np.array(["control", "treatment"])

    def alarms(share: float, deals: int) -> float:
        ever = [
            sample_ratio.sequential(names[(rng.random(4000) < share).astype(int)], HALVES).max()
            for _ in range(deals)
        ]
        return np.mean(np.array(ever) >= np.log(1 / 0.05))

    assert alarms(0.5, 300) < 0.075
    assert alarms(0.55, 30) > 0.9


def test_an_unknown_arm_is_named_and_nobody_is_an_error():
    with pytest.raises(DataError, match=r"`treatmen` has no share.*did you mean `treatment`"):
        sample_ratio.check({"treatmen": 3}, HALVES)
    with pytest.raises(DataError, match="`other` has no share"):
        sample_ratio.sequential(["control", "other"], HALVES)
    with pytest.raises(DataError, match="no arm has users"):
        sample_ratio.check({}, HALVES)
