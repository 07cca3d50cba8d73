"""Metrics and what each user moves them by, against arithmetic, scikit-learn and simulation."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.metrics import roc_auc_score

from fulcrum.pipelines.comparison.balance import MEASURED
from fulcrum.pipelines.quality import pulls
from fulcrum.pipelines.quality.differences import better
from fulcrum.pipelines.quality.metrics import measure
from fulcrum.pipelines.quality.predictions import by_task
from fulcrum.pipelines.quality.pulls import area, interval, undefined, with_pulls
from fulcrum.pipelines.quality.units import units
from tests.pipelines.quality.arrays import Arrays
from tests.pipelines.quality.scored_rows import JUDGED, SECOND, predictions


@st.composite
def weighted_rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties, labels, and weights, some of them 0."""
    rows = draw(st.integers(2, 40))
    scores = draw(hnp.arrays(np.int64, rows, elements=st.integers(1, 7))) / 8
    labels = draw(hnp.arrays(np.int64, rows, elements=st.integers(0, 1))).astype(float)
    weights = draw(hnp.arrays(np.int64, rows, elements=st.integers(0, 3))) / 2
    return scores, labels, weights


@given(weighted_rows())
def test_the_area_is_scikit_learns(rows):
    scores, labels, weight = rows
    assume(weight[labels > 0].sum() and weight[labels <= 0].sum())
    value, of_rows = area(*rows)
    assert value == pytest.approx(roc_auc_score(labels, scores, sample_weight=weight), abs=1e-12)
    assert of_rows.sum() == pytest.approx(0, abs=1e-12)
    assert not of_rows[weight == 0].any()


@pytest.mark.parametrize("groups", [20, None])
def test_the_first_value_is_that_of_the_rows(groups):
    samples, whole = with_pulls(predictions(groups=groups)), measure(predictions(groups=groups))
    expected = JUDGED + [key for key in SECOND if groups or key[1] != "grouped_auc"]
    assert set(samples) == set(expected)
    for (task, metric), values in samples.items():
        assert values[0] == pytest.approx(whole[f"{metric}/{task}"], abs=1e-12)
        assert len(values) == 1 + (groups or 200)


def with_sessions() -> Arrays:
    """Users with a few sessions each, and losses of their own."""
    random, plain = np.random.default_rng(0), predictions(rows=80, groups=8)
    session = plain.group * 10 + random.integers(0, 3, 80)
    return replace(plain, session=session, losses=random.random((80, 3)) * plain.observed)


@pytest.mark.parametrize("group", ["of users", "none"])
def test_a_pull_is_the_derivative_by_how_often_a_unit_is_taken(group):
    """Of `measure`, by differences: all weights of a unit a little larger, then smaller."""
    whole = with_sessions()
    if group == "none":
        whole = replace(whole, group=np.zeros(80, int), session=np.arange(80))
    samples = with_pulls(whole, MEASURED)
    count, unit = units(whole.group)
    assert count == (8 if group == "of users" else 80)
    step = 1e-5
    for u in range(0, count, max(1, count // 8)):
        up, down = (
            measure(replace(whole, weight=whole.weight * (1 + sign * step * (unit == u))))
            for sign in (1, -1)
        )
        for (task, metric), values in samples.items():
            if metric == "s_log_loss":  # weights of a session cancel in it: see test_balance
                continue
            slope = (up[f"{metric}/{task}"] - down[f"{metric}/{task}"]) / (2 * step)
            assert values[1 + u] == pytest.approx(slope, abs=1e-8), metric
    names = {metric for _, metric in samples}
    expected = {"auc", "log_loss", "s_log_loss", "rmse", "mae", "accuracy"}
    assert names == expected | ({"grouped_auc"} if group == "of users" else set())
    for values in samples.values():
        assert values[1:].sum() == pytest.approx(0, abs=1e-12)


def test_a_metric_without_meaning_is_absent_with_its_reason():
    whole = predictions()
    labels, observed = whole.labels.copy(), whole.observed.copy()
    labels[:, 0] = 1
    observed[:, 1] = False
    odd = replace(whole, labels=labels, observed=observed)
    assert set(with_pulls(odd)) == {("page", "accuracy"), ("page", "log_loss")}
    click, watch, page = by_task(odd)
    assert undefined(click, "auc") == "one class only"
    assert undefined(watch, "rmse") == "no rows"
    assert undefined(page, "accuracy") is None
    alone = next(by_task(predictions(groups=None)))
    assert undefined(alone, "grouped_auc") == "no groups"
    one_row_each = replace(whole, group=np.arange(200))
    assert undefined(next(by_task(one_row_each)), "grouped_auc") == "no group with both classes"
    none = replace(whole, labels=np.zeros_like(labels))
    assert undefined(next(by_task(none)), "calibration") == "no label above 0"


def test_of_many_units_pulls_are_kept_in_sums(monkeypatch):
    whole = with_pulls(predictions(groups=None))
    monkeypatch.setattr(pulls, "PARTS", 64)
    for key, values in with_pulls(predictions(groups=None)).items():
        sums = np.bincount(np.arange(200) % 64, whole[key][1:])
        np.testing.assert_allclose(values, [whole[key][0], *sums], rtol=0, atol=1e-12)


def test_a_gain_is_paired_by_user_and_larger_is_better():
    """Both networks err by what a user is like, one a little less everywhere: each interval alone
    is wide, that of the difference is not."""
    random = np.random.default_rng(0)
    plain = predictions(rows=400, groups=40)
    scores = plain.scores.copy()
    scores[:, 1] = plain.labels[:, 1] + 5 + random.normal(0, 2, 41)[plain.group]
    closer = scores.copy()
    closer[:, 1] -= 0.1
    one, other = (with_pulls(replace(plain, scores=s))["watch", "mae"] for s in (scores, closer))
    low, high = interval(better(other, one, "mae"))
    assert 0 < low <= 0.1 + 1e-9 and high >= 0.1 - 1e-9
    assert high - low < 0.1 * np.subtract(*reversed(interval(one)))
    assert interval(better(one, one, "mae")) == (0, 0)
    assert (better(one, other, "auc") == -better(one, other, "mae")).all()


def test_an_interval_is_students_where_nothing_is_skewed():
    """A mean of n values: its pulls are (x - mean) / n, and sigma the standard error."""
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    low, high = interval(np.append(3.0, (values - 3) / 5))
    error = np.std(values, ddof=1) / np.sqrt(5)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 4, 3, error), abs=1e-12)


@given(st.floats(-6, 6), st.floats(-2, 2))
def test_skewness_is_taken_out_by_the_inverse_of_the_cubic(y, s):
    x = pulls._with_skewness(y, s)
    assert x + s / 3 * x**2 + s**2 / 27 * x**3 + s / 6 == pytest.approx(y, abs=1e-5)


def test_an_interval_reaches_further_to_where_the_tail_is():
    """A few users with large errors: the mean is more likely too small than too large."""
    of_users = np.append(np.full(99, -1.0), 99.0) / 100
    low, high = interval(np.append(0.0, of_users))
    assert high > 2 * -low > 0
    assert interval(np.append(0.0, -of_users)) == pytest.approx((-high, -low))


def test_one_unit_has_no_interval_and_equal_ones_have_a_point():
    assert interval(np.array([0.5, 0.0])) is None
    assert interval(np.array([0.5, 0.0, 0.0])) == (0.5, 0.5)


def test_intervals_miss_no_more_than_they_say_where_some_users_weigh_much():
    """The mean of users of whom few weigh much: log-normal, sigma = 1, 200 of
    them."""
    random, worlds = np.random.default_rng(7), 2000
    values = random.lognormal(0, 1, (worlds, 200))
    truth, missed, tail = np.exp(0.5), 0, stats.binom.ppf(0.999, worlds, 0.065)
    for of_users in values:
        mean = of_users.mean()
        low, high = interval(np.append(mean, (of_users - mean) / 200))
        missed += not low <= truth <= high
    assert missed <= tail
