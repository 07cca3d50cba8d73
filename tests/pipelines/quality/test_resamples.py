"""Metrics on draws of users, against counting by hand and scikit-learn."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score

from fulcrum.features.layout import Layout, TaskSpec
from fulcrum.features.prepared.stage import NOBODY
from fulcrum.pipelines.quality.metrics import measure
from fulcrum.pipelines.quality.predictions import by_task
from fulcrum.pipelines.quality.resamples import (
    SEED,
    evidence,
    interval,
    resample,
    undefined,
    units,
    weighted_aucs,
)
from tests.pipelines.quality.arrays import Arrays

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
) -> Arrays:
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
    return Arrays(layout, scores, losses, labels, observed, weight, group, np.zeros(rows, int))


def test_rows_of_nobody_are_drawn_one_by_one_and_in_no_area():
    plain = predictions(groups=20)
    nobody = replace(plain, group=np.full(200, NOBODY))
    both = Arrays(
        plain.layout,
        *(
            np.concatenate([getattr(rows, field.name) for rows in (plain, nobody)])
            for field in fields(Arrays)[1:]
        ),
    )
    count, unit = units(both.group)
    assert count == 20 + 200
    assert (unit[:200] == units(plain.group)[1]).all()
    assert sorted(unit[200:]) == list(range(20, 220))
    area = resample(plain, 3)["click", "grouped_auc"][0]
    assert resample(both, 3)["click", "grouped_auc"][0] == pytest.approx(area, abs=1e-12)
    assert ("click", "grouped_auc") not in resample(nobody, 3)


def draws(count: int, resamples: int) -> list[np.ndarray]:
    """The units of each draw."""
    random = np.random.default_rng(SEED)
    return [random.integers(0, count, count) for _ in range(resamples)]


@st.composite
def weighted_rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties, labels, and three sets of weights, some of them 0."""
    rows = draw(st.integers(2, 40))
    scores = draw(hnp.arrays(np.int64, rows, elements=st.integers(1, 7))) / 8
    labels = draw(hnp.arrays(np.int64, rows, elements=st.integers(0, 1))).astype(float)
    weights = draw(hnp.arrays(np.int64, (3, rows), elements=st.integers(0, 3))) / 2
    return scores, labels, weights


@given(weighted_rows())
def test_areas_under_many_weights_equal_scikit_learn(rows):
    scores, labels, weights = rows
    for area, weight in zip(weighted_aucs(*rows), weights, strict=True):
        if weight[labels > 0].sum() and weight[labels <= 0].sum():
            expected = roc_auc_score(labels, scores, sample_weight=weight)
            assert area == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(area)


@pytest.mark.parametrize("groups", [20, None])
def test_the_first_value_is_that_of_the_rows(groups):
    samples, whole = resample(predictions(groups=groups), 3), measure(predictions(groups=groups))
    expected = JUDGED + [key for key in SECOND if groups or key[1] != "grouped_auc"]
    assert set(samples) == set(expected)
    for (task, metric), values in samples.items():
        assert values[0] == pytest.approx(whole[f"{metric}/{task}"], abs=1e-12)
        assert len(values) == 1 + 3


@settings(max_examples=10)
@given(st.integers(0, 9), st.booleans())
def test_a_draw_is_the_same_as_repeating_the_rows_of_drawn_users(number, grouped):
    """Brute force: the rows of each drawn user, as often as it was drawn, measured as ever."""
    whole = predictions(rows=60, groups=8 if grouped else None)
    count, unit = units(whole.group)
    assert count == (8 if grouped else 60)
    drawn = draws(count, number + 1)[number]
    times = np.array([(drawn == u).sum() for u in range(count)])[unit]
    rows = np.repeat(np.arange(60), times)
    of_tasks = (whole.scores, whole.losses, whole.labels, whole.observed)
    parts = (*of_tasks, whole.weight, whole.group, whole.session)
    repeated = measure(Arrays(whole.layout, *(part[rows] for part in parts)))
    for (task, metric), values in resample(whole, 10).items():
        expected = repeated[f"{metric}/{task}"]
        if metric != "grouped_auc":  # a user drawn twice is two groups there
            assert values[number + 1] == pytest.approx(expected, abs=1e-12)


def test_grouped_auc_of_a_draw_weighs_each_group_by_how_often_it_was_drawn():
    whole = predictions(rows=80, groups=5)
    count, unit = units(whole.group)
    observed = whole.observed[:, 0]
    areas, weights = {}, {}
    for u in range(count):
        rows = observed & (unit == u)
        labels, weight = whole.labels[rows, 0], whole.weight[rows]
        areas[u] = roc_auc_score(labels, whole.scores[rows, 0], sample_weight=weight)
        weights[u] = weight.sum()
    values = resample(whole, 4)["click", "grouped_auc"][1:]
    for drawn, value in zip(draws(count, 4), values, strict=True):
        expected = np.average([areas[u] for u in drawn], weights=[weights[u] for u in drawn])
        assert value == pytest.approx(expected, abs=1e-12)


def test_parts_do_not_change_the_draws(monkeypatch):
    whole = resample(predictions(), 7)
    monkeypatch.setattr("fulcrum.pipelines.quality.resamples.CELLS", 1)
    apart = resample(predictions(), 7)
    assert all(np.allclose(whole[key], apart[key], rtol=0, atol=1e-12) for key in whole)


def test_a_metric_without_meaning_is_absent_with_its_reason():
    whole = predictions()
    labels, observed = whole.labels.copy(), whole.observed.copy()
    labels[:, 0] = 1
    observed[:, 1] = False
    odd = replace(whole, labels=labels, observed=observed)
    assert set(resample(odd, 2)) == {("page", "accuracy"), ("page", "log_loss")}
    click, watch, page = by_task(odd)
    assert undefined(click, "auc") == "one class only"
    assert undefined(watch, "rmse") == "no rows"
    assert undefined(page, "accuracy") is None
    alone = next(by_task(predictions(groups=None)))
    assert undefined(alone, "grouped_auc") == "no groups"
    one_row_each = replace(whole, group=np.arange(200))
    assert undefined(next(by_task(one_row_each)), "grouped_auc") == ("no group with both classes")


def test_draws_in_which_a_metric_has_no_meaning_are_left_out():
    """One user holds the only positive rows: a third of the draws have none."""
    whole = predictions(rows=40, groups=10)
    labels = whole.labels.copy()
    labels[:, 0] = whole.group == 3
    values = resample(replace(whole, labels=labels), 50)["click", "auc"]
    assert 0 < np.isnan(values).sum() < 50
    finite = values[1:][np.isfinite(values[1:])]
    assert interval(values) == tuple(np.percentile(finite, [2.5, 97.5]))


def test_evidence_is_positives_units_and_the_interval_of_what_a_task_is_judged_by():
    rows = predictions(rows=200, groups=20)
    facts, samples = evidence(rows), resample(rows)
    assert facts["units"] == 20
    positive = (rows.labels[:, 0] > 0) & rows.observed[:, 0]
    assert facts["positives/click"] == positive.sum()
    for task, metric in JUDGED:
        ends = np.percentile(samples[task, metric][1:], [2.5, 97.5])
        assert (facts[f"{metric}_low/{task}"], facts[f"{metric}_high/{task}"]) == tuple(ends)
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


def test_a_metric_that_no_draw_defines_has_no_interval():
    assert interval(np.array([0.5, np.nan, np.nan])) is None
    assert interval(np.array([0.5, 0.25, np.nan, 0.25])) == (0.25, 0.25)
