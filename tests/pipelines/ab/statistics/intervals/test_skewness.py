"""A tail that the small arm has not met makes no claim."""

import numpy as np
import pytest
from scipy import stats

from fulcrum.pipelines.ab.statistics import bootstrap, effects, sequential
from fulcrum.pipelines.ab.statistics.intervals import skewness
from fulcrum.pipelines.ab.statistics.users import Users


def mean(values: np.ndarray) -> Users:
    return Users(np.asarray(values, float), np.ones(len(values)))


def lognormal(rng: np.random.Generator, size: int, sigma: float = 3.0) -> Users:
    return mean(rng.lognormal(0, sigma, size))


def welch(control: Users, treatment: Users) -> tuple[bool, bool]:
    test = stats.ttest_ind(treatment.numerator, control.numerator, equal_var=False)
    return test.pvalue < 0.05 and test.statistic < 0, test.pvalue < 0.05 and test.statistic > 0


def test_the_skewness_of_a_difference_by_hand():
    """Third central moments add up, with the sign of the arm, each over n²."""
    gamma, n_c, n_t = 2.0, 400, 100
    third, second = gamma / n_t**2 - gamma / n_c**2, 1 / n_t + 1 / n_c
    assert skewness.of_difference(gamma, n_c, n_t) == pytest.approx(third / second**1.5)
    assert skewness.of_difference(gamma, 300, 300) == 0
    assert skewness.of_difference(gamma, 10**9, 400) == pytest.approx(gamma / 20, rel=1e-3)


def test_skewness_of_a_metric_is_scipys_of_its_residuals():
    rng = np.random.default_rng(0)
    one, other = mean(rng.exponential(1, 50)), mean(5 + rng.exponential(1, 400))
    residuals = np.concatenate([u.numerator - u.numerator.mean() for u in (one, other)])
    assert skewness.of_metric(one, other) == pytest.approx(stats.skew(residuals))
    assert skewness.of_metric(mean(np.ones(3)), mean(np.ones(4))) == 0


def test_with_the_units_that_it_says_it_is_normal():
    rng = np.random.default_rng(1)
    values = rng.exponential(1, 40_000)
    control, treatment = mean(values[:9000]), mean(values[9000:9100])
    least = skewness.needed(control, treatment)
    assert not skewness.normal(control, treatment) and least > 100
    more = 1.2 * least / 100
    assert skewness.normal(mean(values[: int(9000 * more)]), mean(values[-int(100 * more) :]))


def test_a_small_arm_with_a_heavy_tail_is_not_worse_for_it():
    """1 % of 10,000 units, lognormal with sigma 3, no effect: the formula and the bootstrap claim
    'worse' in a third of tests and more, the rule in none."""
    rng = np.random.default_rng(2)
    tests = [(lognormal(rng, 9900), lognormal(rng, 100)) for _ in range(120)]
    assert np.mean([welch(*test)[0] for test in tests]) > 0.3
    drawn = [bootstrap.compare(*test, draws=200) for test in tests[:20]]
    assert np.mean([effect.high < 0 for effect in drawn]) > 0.2
    found = [effects.compare(*test) for test in tests]
    assert {effect.method for effect in found} == {"larger variance"}
    claims = sum(effect.p_value < 0.05 for effect in found)
    assert claims <= stats.binom.ppf(0.99, len(tests), 0.05)
    assert all((effect.p_value < 0.05) == (effect.low * effect.high > 0) for effect in found)


@pytest.mark.parametrize("sizes", [(450, 50), (500, 500)])
@pytest.mark.parametrize("law", ["exponential", "sparse"])
def test_claims_without_an_effect_are_as_rare_as_they_should_be(sizes, law):
    """Each way in 2.5 % or less: below the upper end of a binomial band."""
    rng = np.random.default_rng(3)

    def arm(size: int) -> Users:
        values = rng.exponential(1, size)
        return mean(values if law == "exponential" else values * (rng.random(size) < 0.1))

    found = [effects.compare(*(arm(size) for size in sizes)) for _ in range(250)]
    most = stats.binom.ppf(0.999, len(found), 0.034)
    assert sum(effect.high < 0 for effect in found) <= most
    assert sum(effect.low > 0 for effect in found) <= most


def test_totals_cut_off_at_both_ends_need_few_units():
    rng = np.random.default_rng(4)
    values = rng.lognormal(0, 3, 20_000)
    cut = np.clip(values, *np.quantile(values, [0.05, 0.95]))
    pair = mean(cut[:19_000]), mean(cut[19_000:])
    assert effects.compare(*pair).method == "welch"
    assert effects.compare(mean(values[:19_000]), mean(values[19_000:])).method != "welch"


def test_looking_on_the_way_is_as_cautious():
    """Conversions of 1 % in 5 % of units: most small arms have none for long."""
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(60):
        treated = rng.random(4000) < 0.05
        path = sequential.sample_path(mean(rng.random(4000) < 0.01), treated)
        low, high = sequential.confidence_sequence(path)
        alarms += bool((low > 0).any() or (high < 0).any())
    assert alarms <= stats.binom.ppf(0.999, 60, 0.05)


def test_a_path_of_units_that_are_all_alike_closes_in_as_they_come():
    treated = np.arange(4000) % 2 == 0
    path = sequential.sample_path(mean(np.zeros(4000)), treated)
    assert (path.difference == 0).all() and (np.diff(path.se) <= 0).all()
    assert path.se[-1] == pytest.approx(np.sqrt(2) / 2000, rel=0.01)
