"""Intervals are honest: the study's own arithmetic, and the study."""

import numpy as np
import pytest

from benchmarks.ab_validity import (
    ALPHA,
    CLICKS,
    LIFT,
    METHODS,
    NAIVE,
    WATCH,
    always,
    band,
    once,
    picture,
    simulate,
    to_rich,
)
from fulcrum.pipelines.ab.statistics import effects
from fulcrum.pipelines.console.terminal import as_text

HONEST = [name for name in METHODS if name != NAIVE]
RUNS = 1000


def experiment(lift: float, users: int = 800):
    return simulate(np.random.default_rng(0), users, lift)


@pytest.mark.parametrize(("metric", "truth"), [("clicks", CLICKS), ("watched", WATCH)])
def test_the_true_effect_is_what_many_users_show(metric, truth):
    for lift in (0, LIFT):
        many = experiment(lift, 200_000)
        effect = effects.compare(*many.arms(getattr(many, metric)))
        assert abs(effect.difference - truth * lift / LIFT) < 3 * effect.se


def test_treatment_changes_what_users_do_and_nothing_else():
    without, with_it = experiment(0), experiment(LIFT)
    np.testing.assert_array_equal(with_it.unit, without.unit)
    np.testing.assert_array_equal(with_it.watched.before, without.watched.before)
    treated = without.treated[without.unit]
    np.testing.assert_allclose(
        with_it.watch, np.where(treated, 1 + LIFT, 1) * without.watch, rtol=1e-12
    )
    assert (with_it.click[~treated] == without.click[~treated]).all()
    assert (with_it.click[treated] >= without.click[treated]).all()


def test_the_band_is_that_of_a_fair_coin():
    """np ± 1.96 √(np(1 - p)) = 50 ± 13.5 of 1,000."""
    low, high = band(1000, 0.05)
    assert (low, high) == pytest.approx((0.0365, 0.0635), abs=0.001)


def test_a_small_study_has_every_method():
    findings = [*(once(method, 4) for method in METHODS), *always(3)]
    assert [f.method for f in findings[: len(METHODS)]] == list(METHODS)
    assert all(0 <= f.rejected <= 1 for f in findings)
    assert NAIVE in as_text(to_rich(findings))
    assert len(picture(findings).axes) == 2


@pytest.mark.slow
@pytest.mark.parametrize("method", HONEST)
def test_a_method_is_wrong_as_often_as_it_says(method):
    finding = once(method, RUNS)
    low, high = band(RUNS, ALPHA)
    assert low <= finding.rejected <= high and finding.ks_p > 0.001
    assert 0.93 < finding.covered < 0.97 and abs(finding.off) < 3


@pytest.mark.slow
def test_rows_taken_for_users_are_wrong_more_often():
    finding = once(NAIVE, RUNS)
    assert finding.rejected > 0.1 and finding.covered < 0.9


@pytest.mark.slow
def test_whoever_looks_after_every_user_needs_a_method_for_it():
    """Four methods that hold, then the interval that is meant for one look."""
    *methods, single = always(RUNS)
    assert len(methods) == 4 and all(f.rejected < ALPHA for f in methods)
    assert [f.covered > 1 - ALPHA for f in methods if f.covered is not None] == [True]
    assert single.rejected > 0.3
