"""An effect that wears off is seen, one that lasts is not accused."""

import numpy as np
import pytest
from scipy import stats

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.statistics import effects, novelty
from fulcrum.pipelines.ab.statistics.users import Users


def entries(seed: int, slope: float = 0.0, users: int = 200, days: int = 6):
    """Users come on some days; their own taste makes their days alike."""
    rng = np.random.default_rng(seed)
    units, day = (a.ravel() for a in np.meshgrid(np.arange(users), np.arange(days), indexing="ij"))
    came = rng.random(len(units)) < 0.6
    units, day = units[came], day[came]
    treated = (np.arange(users) % 2 == 0)[units]
    rows = 1.0 + rng.poisson(2, len(units))
    value = rows * (rng.normal(3, 1, users)[units] + slope * day * treated)
    return value + rng.normal(size=len(units)), rows, units, day, treated


def test_each_day_has_its_own_effect():
    numerator, denominator, units, day, treated = entries(0)
    trend = novelty.trend(numerator, denominator, units, day, treated)
    for place in (0, 5):
        effect = effects.compare(
            *(
                Users(numerator[chosen], denominator[chosen])
                for chosen in ((day == place) & ~treated, (day == place) & treated)
            )
        )
        assert trend.effects[place] == pytest.approx(effect.difference)
        half = stats.norm.ppf(0.975) * effect.se
        assert trend.high[place] == pytest.approx(effect.difference + half)


def test_the_slope_is_that_of_a_weighted_line():
    numerator, denominator, units, day, treated = entries(1, slope=0.2)
    trend = novelty.trend(numerator, denominator, units, day, treated)
    sizes = [[np.sum((day == d) & (treated == t)) for d in range(6)] for t in (False, True)]
    weights = 1 / (1 / np.array(sizes)).sum(axis=0)
    line = np.polyfit(np.arange(6), trend.effects, 1, w=np.sqrt(weights))
    assert trend.slope == pytest.approx(line[0])
    assert trend.slope_low < 0.2 < trend.slope_high and trend.p_value < 0.01


def test_a_lasting_effect_is_accused_as_often_as_alpha_says():
    """400 tests: .05 to three binomial standard errors, although users come back."""
    p = [novelty.trend(*entries(seed)).p_value for seed in range(400)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 400))


def test_days_with_one_arm_alone_are_left_out_and_two_days_are_no_trend():
    numerator, denominator, units, day, treated = entries(2)
    alone = ~((day == 3) & treated)
    trend = novelty.trend(*(v[alone] for v in (numerator, denominator, units, day, treated)))
    np.testing.assert_array_equal(trend.days, [0, 1, 2, 4, 5])
    few = day < 2
    with pytest.raises(DataError, match="2 days with two or more users in both arms"):
        novelty.trend(*(v[few] for v in (numerator, denominator, units, day, treated)))


def test_a_constant_metric_has_no_trend():
    _, denominator, units, day, treated = entries(3)
    with pytest.raises(DataError, match="constant"):
        novelty.trend(0 * denominator, denominator, units, day, treated)
