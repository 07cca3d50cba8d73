"""Metrics and what each user moves them by, against arithmetic, scikit-learn and simulation."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.metrics import roc_auc_score

from fulcrum.features.layout import Layout, TaskSpec
from fulcrum.features.prepared.stage import NOBODY
from fulcrum.pipelines.comparison.balance import MEASURED
from fulcrum.pipelines.quality import resamples
from fulcrum.pipelines.quality.metrics import Predictions, by_task, measure
from fulcrum.pipelines.quality.resamples import (
    area,
    evidence,
    gain,
    interval,
    resample,
    undefined,
    units,
)

TASKS = (
    TaskSpec(name="click", kind="binary"),
    TaskSpec(name="watch", kind="regression"),
    TaskSpec(name="page", kind="multiclass", classes=("a", "b", "c")),
)
KINDS = {task.name: task.kind for task in TASKS}
JUDGED = [("click", "auc"), ("watch", "rmse"), ("page", "accuracy")]
SECOND = [("click", "grouped_auc"), ("watch", "mae"), ("page", "log_loss")]


def predictions(
    rows: int = 200, groups: int | None = 20, skill: float = 0.5, seed: int = 0
) -> Predictions:
    """Rows whose scores tell `skill` of the labels; the rows follow from nothing else."""
    random = np.random.default_rng(0)
    labels = np.stack(
        [random.random(rows) < 0.4, random.normal(10, 3, rows), random.integers(0, 3, rows)], 1
    ).astype(float)
    observed = random.random((rows, 3)) < 0.8
    weight = random.uniform(0.5, 1.5, rows)
    group = np.zeros(rows, int) if groups is None else random.integers(0, groups, rows) + 1
    noise = np.random.default_rng([1, seed])
    click = np.round(0.5 + skill * (labels[:, 0] - 0.5) + noise.normal(0, 0.3, rows), 1)
    watch = 10 + skill * (labels[:, 1] - 10)
    page = noise.random((rows, 3)) + skill * np.eye(3)[labels[:, 2].astype(int)]
    page /= page.sum(1, keepdims=True)
    likelihood = np.take_along_axis(page, labels[:, 2:].astype(int), 1)
    losses = np.concatenate([np.ones((rows, 2)), -np.log(likelihood)], 1) * observed
    scores = np.column_stack([click, watch, page])
    layout = Layout(tables=(), tasks=TASKS)
    return Predictions(layout, scores, losses, labels, observed, weight, group, np.zeros(rows, int))


def test_rows_of_nobody_are_drawn_one_by_one_and_in_no_area():
    plain = predictions(groups=20)
    nobody = replace(plain, group=np.full(200, NOBODY))
    both = Predictions(
        plain.layout,
        *(
            np.concatenate([getattr(rows, field.name) for rows in (plain, nobody)])
            for field in fields(Predictions)[1:]
        ),
    )
    count, unit = units(both.group)
    assert count == 20 + 200
    assert (unit[:200] == units(plain.group)[1]).all()
    assert sorted(unit[200:]) == list(range(20, 220))
    whole = resample(plain)["click", "grouped_auc"][0]
    assert resample(both)["click", "grouped_auc"][0] == pytest.approx(whole, abs=1e-12)
    assert ("click", "grouped_auc") not in resample(nobody)


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
    value, pulls = area(*rows)
    assert value == pytest.approx(roc_auc_score(labels, scores, sample_weight=weight), abs=1e-12)
    assert pulls.sum() == pytest.approx(0, abs=1e-12)
    assert not pulls[weight == 0].any()


@pytest.mark.parametrize("groups", [20, None])
def test_the_first_value_is_that_of_the_rows(groups):
    samples, whole = resample(predictions(groups=groups)), measure(predictions(groups=groups))
    expected = JUDGED + [key for key in SECOND if groups or key[1] != "grouped_auc"]
    assert set(samples) == set(expected)
    for (task, metric), values in samples.items():
        assert values[0] == pytest.approx(whole[f"{metric}/{task}"], abs=1e-12)
        assert len(values) == 1 + (groups or 200)


def with_sessions() -> Predictions:
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
    samples = resample(whole, MEASURED)
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


def test_of_many_units_pulls_are_kept_in_sums(monkeypatch):
    whole = resample(predictions(groups=None))
    monkeypatch.setattr(resamples, "PARTS", 64)
    for key, values in resample(predictions(groups=None)).items():
        sums = np.bincount(np.arange(200) % 64, whole[key][1:])
        np.testing.assert_allclose(values, [whole[key][0], *sums], rtol=0, atol=1e-12)


def test_a_gain_is_paired_by_user_and_larger_is_better():
    """Both networks err by what a user is like, one a little less everywhere: each interval alone
    is wide, that of the difference is not."""
    random = np.random.default_rng(0)
    plain = predictions(rows=400, groups=40)
    scores = plain.scores.copy()
    scores[:, 1] = plain.labels[:, 1] + 5 + random.normal(0, 2, 41)[plain.group]
    better = scores.copy()
    better[:, 1] -= 0.1
    one, other = (resample(replace(plain, scores=s))["watch", "mae"] for s in (scores, better))
    low, high = interval(gain(other, one, "mae"))
    assert 0 < low <= 0.1 + 1e-9 and high >= 0.1 - 1e-9
    assert high - low < 0.1 * np.subtract(*reversed(interval(one)))
    assert interval(gain(one, one, "mae")) == (0, 0)
    assert (gain(one, other, "auc") == -gain(one, other, "mae")).all()


def test_a_metric_without_meaning_is_absent_with_its_reason():
    whole = predictions()
    labels, observed = whole.labels.copy(), whole.observed.copy()
    labels[:, 0] = 1
    observed[:, 1] = False
    odd = replace(whole, labels=labels, observed=observed)
    assert set(resample(odd)) == {("page", "accuracy"), ("page", "log_loss")}
    click, watch, page = by_task(odd)
    assert undefined(click, "auc") == "one class only"
    assert undefined(watch, "rmse") == "no rows"
    assert undefined(page, "accuracy") is None
    alone = by_task(predictions(groups=None))[0]
    assert undefined(alone, "grouped_auc") == "no groups"
    one_row_each = replace(whole, group=np.arange(200))
    assert undefined(by_task(one_row_each)[0], "grouped_auc") == ("no group with both classes")


def test_evidence_is_positives_units_and_the_interval_of_what_a_task_is_judged_by():
    rows = predictions(rows=200, groups=20)
    facts, samples = evidence(rows), resample(rows)
    assert facts["units"] == 20
    positive = (rows.labels[:, 0] > 0) & rows.observed[:, 0]
    assert facts["positives/click"] == positive.sum()
    for task, metric in JUDGED:
        ends = facts[f"{metric}_low/{task}"], facts[f"{metric}_high/{task}"]
        assert ends == interval(samples[task, metric])
    assert len(facts) == 1 + 1 + 2 * len(JUDGED)


def test_few_positives_have_wide_intervals():
    rows = predictions(rows=2000, groups=400)
    rare = rows.labels.copy()
    rare[np.flatnonzero(rare[:, 0])[8:], 0] = 0
    width = {
        name: np.subtract(*(evidence(which)[f"auc_{end}/click"] for end in ("high", "low")))
        for name, which in {"many": rows, "rare": replace(rows, labels=rare)}.items()
    }
    assert width["rare"] > 3 * width["many"]


def test_an_interval_is_students_where_nothing_is_skewed():
    """A mean of n values: its pulls are (x - mean) / n, and sigma the standard error."""
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    low, high = interval(np.append(3.0, (values - 3) / 5))
    error = np.std(values, ddof=1) / np.sqrt(5)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 4, 3, error), abs=1e-12)


@given(st.floats(-6, 6), st.floats(-2, 2))
def test_skewness_is_taken_out_by_the_inverse_of_the_cubic(y, s):
    x = resamples._with_skewness(y, s)
    assert x + s / 3 * x**2 + s**2 / 27 * x**3 + s / 6 == pytest.approx(y, abs=1e-5)


def test_an_interval_reaches_further_to_where_the_tail_is():
    """A few users with large errors: the mean is more likely too small than too large."""
    pulls = np.append(np.full(99, -1.0), 99.0) / 100
    low, high = interval(np.append(0.0, pulls))
    assert high > 2 * -low > 0
    assert interval(np.append(0.0, -pulls)) == pytest.approx((-high, -low))


def test_one_unit_has_no_interval_and_equal_ones_have_a_point():
    assert interval(np.array([0.5, 0.0])) is None
    assert interval(np.array([0.5, 0.0, 0.0])) == (0.5, 0.5)


def test_an_area_never_leaves_what_it_can_be():
    rows = predictions(rows=60, groups=None, skill=0.9)
    facts = evidence(rows)
    assert facts["auc_high/click"] <= 1 and facts["auc_low/click"] < facts["auc_high/click"]


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
