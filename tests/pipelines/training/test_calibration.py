"""A run that is calibrated: the same training, then better probabilities, once for a checkpoint."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.models.calibrations import NoCalibration
from fulcrum.models.calibrations.platt import PlattCalibration
from fulcrum.pipelines.calibration import kept
from fulcrum.pipelines.quality.metrics import measure
from fulcrum.pipelines.training import pretraining
from fulcrum.pipelines.training.checkpoint import latest, load_weights
from fulcrum.pipelines.training.predict import evaluate, predict, restore_network, uncalibrate
from fulcrum.pipelines.training.trainer import TrainResult, train
from tests.pipelines.quality.arrays import arrays
from tests.pipelines.small_runs import small_run
from tests.prepared import prepare

RUN = small_run(calibration={}, epochs=6, dense={"lr": 0.05}, early_stopping=None)
"""Learns its users by heart, so that it is too sure of its scores."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepare(tmp_path_factory.mktemp("data"), {"train": 1200, "valid": 1200, "test": 1200})


@pytest.fixture(scope="module")
def trained(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(RUN, dataset, tmp_path_factory.mktemp("run"))


def test_switched_off_everything_is_as_it_was(
    trained: TrainResult, dataset: PreparedDataset, tmp_path: Path
) -> None:
    """Weights, what was told of training, and scores, to the last bit."""
    settings = RUN.train.model_copy(update={"calibration": None})
    run = RUN.model_copy(update={"train": settings})
    off = train(run, dataset, tmp_path)
    assert kept.load(off.checkpoint) is None
    one, other = load_weights(off.checkpoint), load_weights(trained.checkpoint)
    assert one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)
    assert (off.history, off.metrics) == (trained.history, trained.metrics)
    scores = arrays(evaluate(run, dataset, off.checkpoint)).scores
    with restore_network(RUN, dataset, trained.checkpoint) as (model, process):
        assert uncalibrate(model)
        assert np.array_equal(scores, arrays(predict(model, dataset, "test", process)).scores)


def test_rows_not_seen_are_scored_better_and_in_the_same_order(
    trained: TrainResult, dataset: PreparedDataset
) -> None:
    with restore_network(RUN, dataset, trained.checkpoint) as (model, process):
        assert uncalibrate(model)
        before = measure(predict(model, dataset, "test", process))
    after = measure(evaluate(RUN, dataset, trained.checkpoint))
    for task in ("click", "like"):
        for metric in ("log_loss", "ece"):
            one, other = before[f"{metric}/{task}"], after[f"{metric}/{task}"]
            assert one is not None and other is not None and other < one
    assert after["auc/click"] == pytest.approx(before["auc/click"], abs=1e-6)
    assert {n: after[n] for n in after if n.endswith("/page")} == {
        n: before[n] for n in before if n.endswith("/page")
    }


def test_a_run_stopped_before_it_was_calibrated_goes_on_to_the_same(
    trained: TrainResult, dataset: PreparedDataset
) -> None:
    file = trained.checkpoint / kept.FILE
    expected = file.read_bytes()
    assert any(c != NoCalibration() for c in (kept.load(trained.checkpoint) or {}).values())
    file.unlink()
    train(RUN, dataset, trained.checkpoint.parent, resume=True)
    assert file.read_bytes() == expected


def test_what_is_fitted_once_is_left_alone(trained: TrainResult, dataset: PreparedDataset) -> None:
    expected = kept.load(trained.checkpoint)
    assert expected is not None
    kept.save(trained.checkpoint, {"click": PlattCalibration(slope=2.0, offset=1.0)})
    assert train(RUN, dataset, trained.checkpoint.parent, resume=True) == trained
    assert list(kept.load(trained.checkpoint) or {}) == ["click"]
    kept.save(trained.checkpoint, expected)


def test_without_rows_to_fit_on_there_is_none(tmp_path: Path) -> None:
    dataset = prepare(tmp_path / "data", {"train": 200})
    result = train(small_run(calibration={}), dataset, tmp_path / "run")
    assert kept.load(result.checkpoint) is None


def test_the_best_weights_are_calibrated_and_no_earlier_phase(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    run = small_run(
        calibration={},
        epochs=8,
        dense={"lr": 0.05},
        pretrain={"tasks": ["click"]},
        early_stopping={"metric": "loss", "patience": 1},
    )
    result = train(run, dataset, tmp_path)
    newest, first = latest(tmp_path), latest(tmp_path / pretraining.FOLDER)
    assert newest is not None and first is not None and newest != result.checkpoint
    calibrated = [kept.load(folder) is not None for folder in (result.checkpoint, newest, first)]
    assert calibrated == [True, False, False]
