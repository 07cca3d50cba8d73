from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from fulcrum.features.layout import TaskSpec
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.models.network import Network
from fulcrum.pipelines.quality.constant import constant
from fulcrum.pipelines.quality.metrics import measure
from fulcrum.pipelines.quality.predictions import Predictions, row_loss
from fulcrum.pipelines.training.predict import predict, to_frame
from fulcrum.pipelines.training.processes import process_group
from tests.pipelines.quality.arrays import arrays
from tests.pipelines.small_runs import small_run
from tests.prepared import LAYOUT, prepare, rows, sessions


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepare(tmp_path_factory.mktemp("data"), {"train": 300, "test": 101})


@pytest.fixture(scope="module")
def predictions(dataset: PreparedDataset) -> Predictions:
    """Of a network that has not learned anything."""
    run = small_run()
    network = Network(LAYOUT, run.model, tables_device=torch.device("cpu"))
    with process_group() as process:
        return predict(network, dataset, "test", process)


def test_predictions_are_the_rows_in_file_order(predictions: Predictions) -> None:
    frame = rows(101, seed=1)
    predictions = arrays(predictions)
    assert predictions.scores.shape == (101, len(LAYOUT.score_columns))
    tasks = [task.name for task in LAYOUT.tasks]
    labels = frame.select(f"label.{task}" for task in tasks).to_numpy()
    observed = frame.select(f"observed.{task}" for task in tasks).to_numpy()
    np.testing.assert_array_equal(predictions.labels, labels)
    np.testing.assert_array_equal(predictions.observed, observed)
    np.testing.assert_array_equal(predictions.weight, frame["row.weight"])
    np.testing.assert_array_equal(predictions.group, frame["row.group"])
    assert not predictions.session.any()


def test_predictions_tell_sessions_where_the_rows_do(tmp_path: Path) -> None:
    run = small_run()
    dataset = prepare(tmp_path, {"train": 10, "test": 101}, with_sessions=True)
    network = Network(LAYOUT, run.model, tables_device=torch.device("cpu"))
    with process_group() as process:
        scored = predict(network, dataset, "test", process)
    np.testing.assert_array_equal(arrays(scored).session, sessions(101, seed=1))
    for metrics in (measure(scored), measure(constant(dataset, scored))):
        assert metrics["s_log_loss/click"] not in (None, metrics["log_loss/click"])


def test_row_losses_of_scores_are_those_of_the_network(predictions: Predictions) -> None:
    for task in LAYOUT.tasks:
        loss, label, observed = (
            predictions.column(f"{what}.{task.name}") for what in ("loss", "label", "observed")
        )
        found = row_loss(task, predictions.scores_of(task), label, observed)
        np.testing.assert_allclose(loss, found, rtol=1e-4, atol=1e-5)


def test_the_constant_predictor_knows_the_training_split_alone(
    dataset: PreparedDataset, predictions: Predictions
) -> None:
    train = rows(300, seed=0).to_dict(as_series=False)
    weight = np.array(train["row.weight"])

    def mean(task: str, values: np.ndarray) -> float:
        seen = np.array(train[f"observed.{task}"])
        return float((values * weight)[seen].sum() / weight[seen].sum())

    page = np.array(train["label.page"])
    expected = [
        *(mean(task, np.array(train[f"label.{task}"])) for task in ("click", "like", "watch")),
        *(mean("page", page == index) for index in range(3)),
    ]
    fixed = constant(dataset, predictions)
    np.testing.assert_allclose(arrays(fixed).scores, np.tile(expected, (101, 1)), rtol=1e-6)
    metrics = measure(fixed)
    assert metrics["auc/click"] == 0.5
    entropy = metrics["normalised_entropy/click"]
    assert entropy is not None and 1 <= entropy < 1.1
    assert all(value is None or np.isfinite(value) for value in metrics.values())


def test_frame_has_keys_labels_and_scores(
    dataset: PreparedDataset, predictions: Predictions
) -> None:
    frame = to_frame(predictions, dataset, "test")
    labels = [f"label.{task.name}" for task in LAYOUT.tasks]
    assert frame.columns == ["n", *labels, *LAYOUT.score_columns]
    assert frame["n"].to_list() == list(range(101))
    like = rows(101, seed=1)
    assert frame["label.like"].is_null().to_list() == (~like["observed.like"]).to_list()
    assert frame["click"].to_list() == predictions.column("score.click").tolist()


def test_losses_of_certain_and_wrong_scores_are_finite() -> None:
    click = TaskSpec(name="click", kind="binary")
    page = TaskSpec(name="page", kind="multiclass", classes=("a", "b"))
    wrong = [(click, [[0.0]], [1.0]), (page, [[0.0, 1.0]], [0.0])]
    for task, scores, labels in wrong:
        loss = row_loss(task, np.array(scores), np.array(labels), np.ones(1, bool))
        assert np.isfinite(loss).all()
        assert (loss > 20).all()


def test_fewer_rows_than_a_batch_and_empty_lists(tmp_path: Path) -> None:
    run = small_run()
    dataset = prepare(tmp_path, {"train": 10, "test": 1}, shards=1)
    network = Network(LAYOUT, run.model, tables_device=torch.device("cpu"))
    with process_group() as process:
        scored = predict(network, dataset, "test", process)
    assert np.isfinite(arrays(scored).scores).all()
    assert isinstance(to_frame(scored, dataset, "test"), pl.DataFrame)
