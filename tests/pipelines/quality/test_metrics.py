import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import log_loss, roc_auc_score

from fulcrum.features.errors import TrainError
from fulcrum.features.layout import Layout, TaskSpec
from fulcrum.features.prepared.stage import NOBODY
from fulcrum.features.tasks import TASKS
from fulcrum.pipelines.quality.metrics import group_aucs, measure
from fulcrum.pipelines.quality.predictions import by_task
from tests.pipelines.quality.arrays import Arrays

BINARY = Layout(tables=(), tasks=(TaskSpec(name="click", kind="binary"),))


def binary(
    scores: np.ndarray,
    labels: np.ndarray,
    weight: np.ndarray | None = None,
    group: np.ndarray | None = None,
    observed: np.ndarray | None = None,
    session: np.ndarray | None = None,
) -> Arrays:
    p = np.clip(scores, 1e-7, 1 - 1e-7)
    rows = len(scores)
    return Arrays(
        BINARY,
        scores[:, None],
        -np.where(labels > 0, np.log(p), np.log1p(-p))[:, None],
        labels[:, None],
        (np.ones(rows, bool) if observed is None else observed)[:, None],
        np.ones(rows) if weight is None else weight,
        np.zeros(rows, np.int64) if group is None else group,
        np.zeros(rows, np.int64) if session is None else session,
    )


@st.composite
def scored_rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties, labels, weights and groups of 1 to 60 rows."""
    rows = draw(st.integers(1, 60))
    scores = draw(hnp.arrays(np.int64, rows, elements=st.integers(1, 9))) / 10
    labels = draw(hnp.arrays(np.int64, rows, elements=st.integers(0, 1))).astype(float)
    weight = draw(hnp.arrays(np.int64, rows, elements=st.integers(1, 4))) / 2
    group = draw(hnp.arrays(np.int64, rows, elements=st.integers(-2, 3)))
    return scores, labels, weight, group


@given(scored_rows())
def test_auc_equals_scikit_learn(rows: tuple[np.ndarray, ...]) -> None:
    scores, labels, weight, group = rows
    area = measure(binary(scores, labels, weight, group))["auc/click"]
    if 0 < labels.sum() < len(labels):
        assert area == pytest.approx(roc_auc_score(labels, scores, sample_weight=weight))
    else:
        assert area is None


@given(scored_rows())
def test_group_aucs_equal_counting_pairs(rows: tuple[np.ndarray, ...]) -> None:
    scores, labels, weight, group = rows
    keys, expected = [], []
    for key in sorted(set(group.tolist())):
        members = group == key
        good, bad = np.flatnonzero(members & (labels > 0)), np.flatnonzero(members & (labels == 0))
        if len(good) and len(bad):
            order = np.sign(scores[good][:, None] - scores[bad]) * 0.5 + 0.5
            pairs = weight[good][:, None] * weight[bad]
            keys.append(key)
            expected.append(((order * pairs).sum() / pairs.sum(), weight[members].sum()))
    areas, sizes = group_aucs(scores, labels, weight, group)
    assert areas == pytest.approx([area for area, _ in expected])
    assert sizes == pytest.approx([size for _, size in expected])
    mean = measure(binary(scores, labels, weight, group))["grouped_auc/click"]
    expected = [of_group for key, of_group in zip(keys, expected, strict=True) if key != NOBODY]
    if expected and len(set(group.tolist()) - {NOBODY}) > 1:
        total = sum(size for _, size in expected)
        assert mean == pytest.approx(sum(area * size for area, size in expected) / total)
    else:
        assert mean is None


@given(scored_rows())
def test_auc_sees_only_the_order_of_scores(rows: tuple[np.ndarray, ...]) -> None:
    scores, labels, weight, group = rows
    one = measure(binary(scores, labels, weight, group))
    curved = measure(binary(scores**3 / 2, labels, weight, group))
    mirrored = measure(binary(1 - scores, labels, weight, group))
    for name in ("auc/click", "grouped_auc/click"):
        value, same, opposite = one[name], curved[name], mirrored[name]
        assert (value is None) == (same is None) == (opposite is None)
        if value is not None and same is not None and opposite is not None:
            assert same == pytest.approx(value)
            assert opposite == pytest.approx(1 - value)


@given(scored_rows())
@settings(max_examples=50)
def test_no_metric_depends_on_the_order_of_rows_or_on_unobserved_ones(
    rows: tuple[np.ndarray, ...],
) -> None:
    scores, labels, weight, group = rows
    order = np.argsort(np.sin(np.arange(len(scores)) * 12.9898))
    expected = measure(binary(scores, labels, weight, group))
    extra = [np.concatenate([part[order], part]) for part in (scores, labels, weight, group)]
    observed = np.repeat([True, False], len(scores))
    shuffled = measure(binary(*extra, observed=observed))
    assert shuffled.keys() == expected.keys()
    for name, value in expected.items():
        assert shuffled[name] == (value if value is None else pytest.approx(value))


@given(scored_rows())
def test_a_weight_of_two_is_two_rows(rows: tuple[np.ndarray, ...]) -> None:
    scores, labels, weight, group = rows
    times = (weight * 2).astype(int)
    weighted = measure(binary(scores, labels, weight, group))
    repeated = measure(
        binary(
            *(np.repeat(part, times) for part in (scores, labels)), group=np.repeat(group, times)
        )
    )
    for name, value in weighted.items():
        assert repeated[name] == (value if value is None else pytest.approx(value))


def test_log_loss_calibration_and_entropy_by_hand() -> None:
    scores, labels = np.array([0.9, 0.2, 0.5, 0.4]), np.array([1.0, 0.0, 1.0, 0.0])
    metrics = measure(binary(scores, labels))
    expected = -(math.log(0.9) + math.log(0.8) + math.log(0.5) + math.log(0.6)) / 4
    assert metrics["log_loss/click"] == pytest.approx(expected)
    assert metrics["log_loss/click"] == pytest.approx(log_loss(labels, scores))
    assert metrics["normalised_entropy/click"] == pytest.approx(expected / math.log(2))
    assert metrics["calibration/click"] == pytest.approx((0.9 + 0.2 + 0.5 + 0.4) / 2)
    assert metrics["loss"] == metrics["log_loss"] == metrics["log_loss/click"]


def test_session_log_loss_by_hand() -> None:
    """A session of three rows counts as much as one of a single row; one whose only row has no
    weight, or is not observed, counts for nothing."""
    metrics = measure(
        binary(
            np.array([0.9, 0.2, 0.5, 0.4, 0.1, 0.3]),
            np.array([1.0, 0.0, 1.0, 0.0, 1.0, 1.0]),
            weight=np.array([1.0, 2.0, 1.0, 3.0, 0.0, 1.0]),
            observed=np.array([True, True, True, True, True, False]),
            session=np.array([7, 7, 7, 2, 5, 4]),
        )
    )
    first = -(1 * math.log(0.9) + 2 * math.log(0.8) + 1 * math.log(0.5)) / (1 + 2 + 1)
    second = -math.log(0.6)
    assert metrics["s_log_loss/click"] == pytest.approx((first + second) / 2)
    assert metrics["s_log_loss"] == metrics["s_log_loss/click"]
    assert metrics["log_loss/click"] == pytest.approx((4 * first + 3 * second) / 7)


@given(scored_rows())
def test_session_log_loss_is_log_loss_where_sessions_weigh_the_same(
    rows: tuple[np.ndarray, ...],
) -> None:
    scores, labels, weight, _ = rows
    twice = [np.concatenate([part, part]) for part in (scores, labels, weight)]
    session = np.repeat([3, -1], len(scores))
    metrics = measure(binary(*twice, session=session))
    assert metrics["s_log_loss/click"] == pytest.approx(metrics["log_loss/click"])
    assert measure(binary(*twice))["s_log_loss/click"] is None


def test_regression_and_multiclass_by_hand() -> None:
    layout = Layout(
        tables=(),
        tasks=(
            TaskSpec(name="watch", kind="regression"),
            TaskSpec(name="page", kind="multiclass", classes=("a", "b", "c")),
        ),
    )
    metrics = measure(
        Arrays(
            layout,
            np.array([[3.0, 0.5, 0.3, 0.2], [1.0, 0.1, 0.2, 0.7], [9.0, 0.2, 0.6, 0.2]]),
            np.array([[0.25, -math.log(0.5)], [4.0, -math.log(0.7)], [0.0, -math.log(0.2)]]),
            np.array([[2.0, 0], [4.0, 2], [0.0, 2]]),
            np.array([[True, True], [True, True], [False, True]]),
            np.array([1.0, 3.0, 1.0]),
            np.zeros(3, np.int64),
            np.zeros(3, np.int64),
        )
    )
    assert metrics["rmse/watch"] == pytest.approx(math.sqrt((1 * 1**2 + 3 * 3**2) / 4))
    assert metrics["mae/watch"] == pytest.approx((1 * 1 + 3 * 3) / 4)
    assert metrics["calibration/watch"] == pytest.approx((3 + 3 * 1) / (2 + 3 * 4))
    assert metrics["accuracy/page"] == pytest.approx((1 + 3) / 5)
    mean = -(math.log(0.5) + 3 * math.log(0.7) + math.log(0.2)) / 5
    assert metrics["log_loss/page"] == pytest.approx(mean)
    assert metrics["loss/watch"] == pytest.approx((0.25 + 3 * 4.0) / 4)
    assert metrics["loss"] == pytest.approx((mean + (0.25 + 3 * 4.0) / 4) / 2)


def test_undefined_metrics_are_null_and_no_error() -> None:
    one_class = measure(binary(np.array([0.1, 0.7]), np.zeros(2)))
    nulls = {"auc", "grouped_auc", "s_log_loss", "normalised_entropy", "calibration"}
    assert {name for name, value in one_class.items() if value is None} == nulls | {
        f"{name}/click" for name in nulls
    }
    nothing = measure(binary(np.array([0.1]), np.zeros(1), observed=np.zeros(1, bool)))
    assert set(nothing.values()) == {None}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["scores", "losses"])
@pytest.mark.parametrize("task", TASKS)
def test_what_is_not_finite_has_no_metric(task: str, where: str, bad: float) -> None:
    """Sorted, a NaN would pass for the highest score."""
    classes = ("a", "b") if task == "multiclass" else ()
    layout = Layout(tables=(), tasks=(TaskSpec(name="t", kind=task, classes=classes),))
    rows = Arrays(
        layout,
        np.full((4, len(classes) or 1), 0.5),
        np.ones((4, 1)),
        np.array([[0.0], [1.0], [0.0], [1.0]]),
        np.array([[True], [True], [False], [True]]),
        np.ones(4),
        np.array([0, 0, 1, 1]),
        np.array([0, 0, 1, 1]),
    )
    getattr(rows, where)[2] = bad
    measure(rows)  # what nobody observed is not looked at
    getattr(rows, where)[1] = bad
    with pytest.raises(TrainError, match=r"scores of t are not finite in 1 of 3 rows: lower"):
        measure(rows)


def test_mean_over_tasks_leaves_out_undefined_ones() -> None:
    layout = Layout(tables=(), tasks=tuple(TaskSpec(name=n, kind="binary") for n in "ab"))
    scores = np.array([[0.2, 0.3], [0.8, 0.4]])
    metrics = measure(
        Arrays(
            layout,
            scores,
            np.ones((2, 2)),
            np.array([[0.0, 0.0], [1.0, 0.0]]),
            np.ones((2, 2), bool),
            np.ones(2),
            np.zeros(2, np.int64),
            np.zeros(2, np.int64),
        )
    )
    assert (metrics["auc"], metrics["auc/a"], metrics["auc/b"]) == (1.0, 1.0, None)


def test_rows_of_a_task_take_its_own_score_columns() -> None:
    layout = Layout(
        tables=(),
        tasks=(
            TaskSpec(name="page", kind="multiclass", classes=("a", "b")),
            TaskSpec(name="click", kind="binary"),
        ),
    )
    predictions = Arrays(
        layout,
        np.array([[0.1, 0.9, 0.3]]),
        np.zeros((1, 2)),
        np.ones((1, 2)),
        np.ones((1, 2), bool),
        np.ones(1),
        np.zeros(1, np.int64),
        np.zeros(1, np.int64),
    )
    page, click = by_task(predictions)
    assert page.scores.tolist() == [[0.1, 0.9]]
    assert click.scores.tolist() == [0.3]
