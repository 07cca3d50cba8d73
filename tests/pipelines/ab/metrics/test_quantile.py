import numpy as np
import polars as pl
import pytest

from fulcrum.pipelines.ab.metrics import influence
from fulcrum.pipelines.ab.statistics.users import Users
from tests.pipelines.ab.metrics.contract import MetricContract


class TestQuantileOfUnits(MetricContract):
    kind, settings = "quantile", {"value": "watch", "quantile": 0.75}

    def by_hand(self, log: pl.DataFrame) -> float:
        return log.group_by("user_id").agg(pl.col("watch").sum())["watch"].quantile(0.75, "linear")


class TestQuantileOfRows(MetricContract):
    kind, settings = "quantile", {"value": "watch", "quantile": 0.9, "of": "rows"}

    def by_hand(self, log: pl.DataFrame) -> float:
        return log["watch"].quantile(0.9, "linear")


def test_the_error_is_that_of_the_quantile_of_rows_that_hang_together() -> None:
    """The spread over 400 samples of 300 users, whose rows are alike but for a little; that of
    rows taken for users is half of it."""
    rng = np.random.default_rng(0)
    estimates, errors, naive = [], [], []
    for _ in range(400):
        sizes = rng.integers(1, 10, 300)
        owners = np.repeat(np.arange(300), sizes)
        values = rng.normal(size=300)[owners] + 0.3 * rng.normal(size=len(owners))
        users = Users(*influence.linear(values, owners, 300, 0.7))
        alone = Users(*influence.linear(values, np.arange(len(values)), len(values), 0.7))
        assert users.value == pytest.approx(np.quantile(values, 0.7))
        estimates.append(users.value)
        errors.append(users.se)
        naive.append(alone.se)
    assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.1)
    assert np.mean(naive) < 0.6 * np.std(estimates)


def test_the_linear_form_is_that_of_the_density() -> None:
    """Uniform values have density 1: half of 40,000 users above the median of .5, each adds
    .5 + .5, the others .5 - .5."""
    values = (np.arange(40_000) + 0.5) / 40_000
    numerators, denominators = influence.linear(values, np.arange(40_000), 40_000, 0.5)
    assert (denominators == 1).all()
    np.testing.assert_allclose(numerators[values > 0.5], 1.0, atol=1e-3)
    np.testing.assert_allclose(numerators[values < 0.5], 0.0, atol=1e-3)


def test_values_in_heaps_have_a_spread_and_equal_ones_none() -> None:
    heaps = np.repeat([0.0, 1.0, 5.0], [60, 30, 10])
    users = Users(*influence.linear(heaps, np.arange(100), 100, 0.5))
    assert users.value == pytest.approx(0) and users.se > 0
    same = Users(*influence.linear(np.ones(100), np.arange(100), 100, 0.5))
    assert (same.value, same.se) == (1, 0)
