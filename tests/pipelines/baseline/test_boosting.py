"""LightGBM on rows whose law is known."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import TargetEncoder

from fulcrum.features.errors import ConfigError
from fulcrum.features.layout import TaskSpec
from fulcrum.pipelines.baseline.boosting import boost, lightgbm
from fulcrum.pipelines.baseline.columns import Rows

CLICK = TaskSpec(name="click", kind="binary")
WATCH = TaskSpec(name="watch", kind="regression", transform="log1p")
COUNT = TaskSpec(name="count", kind="count")
PAGE = TaskSpec(name="page", kind="multiclass", classes=("a", "b", "c"))


def rows(count: int, seed: int, ids: int = 150) -> Rows:
    """Labels follow from the id's rest by three, a category and a number; the last task is noise.
    Tasks: click, watch, count, page, noise."""
    random = np.random.default_rng(seed)
    identity, category = random.integers(0, ids, count), random.integers(0, 4, count)
    number = random.standard_normal(count)
    level = identity % 3 + 0.5 * category + number
    mean = np.exp(level / 2)
    click = random.random(count) < 1 / (1 + np.exp(2 - level))
    labels = np.stack(
        [click, mean, random.poisson(mean), identity % 3, random.random(count) < 0.5],
        1,
    ).astype(float)
    return Rows(
        np.stack([number, category], 1).astype(np.float32),
        range(1, 2),
        identity[:, None].astype(np.int32),
        labels,
        random.random((count, 5)) < 0.9,
        random.choice([0.0, 1.0, 1.0], count),
        identity,
        np.zeros(count, int),
    )


@pytest.fixture(scope="module")
def parts() -> tuple[Rows, Rows, Rows]:
    return rows(6000, 0), rows(1500, 1), rows(1500, 2)


def test_an_id_of_many_values_tells_what_it_told_in_training(parts):
    *_, test = parts
    bare = [replace(part, ids=part.ids[:, :0]) for part in parts]
    law = test.ids[:, 0] % 3 + 0.5 * test.plain[:, 1] + test.plain[:, 0]
    scores = (boost(CLICK, 0, *of)[:, 0] for of in (bare, parts))
    without, found, best = (roc_auc_score(test.labels[:, 0], s) for s in (*scores, law))
    assert without + 0.5 * (best - without) < found < best


def spread_on_noise() -> float:
    """Of the scores of new rows, where labels follow from nothing and ids come twice."""
    train, test = rows(6000, 0, ids=3000), rows(1500, 2, ids=3000)
    return float(np.abs(boost(CLICK, 4, train, None, test) - 0.5).mean())


def test_no_row_reads_its_own_label(monkeypatch):
    """With it in its id's statistic, noise would be taken for law, and new rows told so."""
    honest = spread_on_noise()
    monkeypatch.setattr(
        TargetEncoder, "fit_transform", lambda self, x, y: self.fit(x, y).transform(x)
    )
    assert honest < spread_on_noise() / 2


@pytest.mark.parametrize(("task", "place"), [(WATCH, 1), (COUNT, 2)])
def test_numbers_are_fitted_on_their_own_scale_within_what_was_seen(parts, task, place):
    train, _, test = parts
    scores = boost(task, place, *parts)
    assert scores.shape == (len(test.weight), 1)
    error = np.mean((scores[:, 0] - test.labels[:, place]) ** 2)
    assert error < 0.6 * np.var(test.labels[:, place])
    fitted = train.labels[train.observed[:, place] & (train.weight > 0), place]
    assert fitted.min() <= scores.min() <= scores.max() <= fitted.max()


def test_classes_have_chances_that_sum_to_one(parts):
    *_, test = parts
    scores = boost(PAGE, 3, *parts)
    np.testing.assert_allclose(scores.sum(1), 1)
    assert np.mean(scores.argmax(1) == test.labels[:, 3]) > 0.95


def test_the_same_rows_give_the_same_scores(parts):
    np.testing.assert_array_equal(boost(CLICK, 0, *parts), boost(CLICK, 0, *parts))


def test_rows_without_the_task_or_a_weight_are_not_learned_from(parts):
    train, valid, test = parts
    hidden = ~(train.observed[:, 0] & (train.weight > 0))
    labels = train.labels.copy()
    labels[hidden, 0] = 1 - labels[hidden, 0]
    changed = boost(CLICK, 0, replace(train, labels=labels), valid, test)
    np.testing.assert_array_equal(changed, boost(CLICK, 0, train, valid, test))


@pytest.mark.parametrize(
    ("task", "label", "expected"), [(CLICK, 0, [0]), (WATCH, 3, [3]), (PAGE, 1, [0, 1, 0])]
)
def test_labels_that_are_all_alike_are_what_is_scored(parts, task, label, expected):
    train, valid, test = parts
    alike = replace(train, labels=np.full_like(train.labels, label))
    np.testing.assert_array_equal(boost(task, 0, alike, valid, test), [expected] * 1500)


def test_a_missing_package_is_one_message_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ConfigError, match=r"`pip install 'fulcrum-recsys\[baseline\]'`"):
        lightgbm()
