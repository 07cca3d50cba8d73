import json
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from fulcrum.features.errors import ConfigError, ResourceError, StateError
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.pipelines.calibration import kept
from fulcrum.pipelines.calibration.fit import fit
from fulcrum.pipelines.quality.metrics import Metrics, measure
from fulcrum.pipelines.tracking.protocol import SilentTracker
from fulcrum.pipelines.training.checkpoint import latest, load_weights, read_state
from fulcrum.pipelines.training.launch import JOB, _cause, launch
from fulcrum.pipelines.training.predict import predict, restore_network, uncalibrate
from fulcrum.pipelines.training.trainer import TrainResult, train
from tests.pipelines.small_runs import small_run
from tests.prepared import prepare

RUN = small_run(precision="fp32", calibration={})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepare(tmp_path_factory.mktemp("data"), {"train": 1200, "valid": 401, "test": 400})


class Memory(SilentTracker):
    def __init__(self) -> None:
        self.steps: list[int] = []
        self.names: set[str] = set()

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.steps.append(step)
        self.names |= set(metrics)


@pytest.fixture(scope="module")
def tracker() -> Memory:
    return Memory()


@pytest.fixture(scope="module")
def two(
    dataset: PreparedDataset, tracker: Memory, tmp_path_factory: pytest.TempPathFactory
) -> TrainResult:
    """The small run in two processes."""
    return launch(RUN, dataset, tmp_path_factory.mktemp("two"), 2, tracker)


def auc(metrics: Metrics) -> float:
    value = metrics["auc"]
    assert value is not None
    return value


def test_tables_lie_on_both_ranks(two: TrainResult) -> None:
    plan = (two.checkpoint.parent / "plan.txt").read_text()
    assert "rank:0/" in plan
    assert "rank:1/" in plan
    assert len(list(two.checkpoint.glob("__1_*.distcp"))) == 1


def test_two_processes_train_like_one(
    two: TrainResult, dataset: PreparedDataset, tmp_path: Path
) -> None:
    one = [train(small_run(seed=s), dataset, tmp_path / str(s)).metrics for s in range(3)]
    values = [auc(metrics) for metrics in one]
    noise = max(max(values) - min(values), 0.01)
    assert min(values) - noise < auc(two.metrics) < max(values) + noise


def test_weights_of_two_processes_load_in_one(two: TrainResult, dataset: PreparedDataset) -> None:
    weights = load_weights(two.checkpoint)
    assert weights["tables.pooled.embedding_bags.user.weight"].shape == (52, 8)
    with restore_network(RUN, dataset, two.checkpoint) as (model, process):
        assert uncalibrate(model)
        predictions = predict(model, dataset, "valid", process)
    again = measure(predictions)
    assert again.keys() == two.metrics.keys()
    for name, value in two.metrics.items():
        assert again[name] == pytest.approx(value, abs=1e-5)
    expected, z = fit(predictions), np.linspace(-3, 3, 9)
    for task, calibration in (kept.load(two.checkpoint) or {}).items():
        np.testing.assert_allclose(calibration(z), expected[task](z), atol=1e-3)


def test_the_first_process_tracks(two: TrainResult, tracker: Memory) -> None:
    assert tracker.steps == sorted(tracker.steps)
    assert {19, 20, 38} == set(tracker.steps)
    assert {"train/loss/click", "valid/auc/click"} <= tracker.names
    assert not (two.checkpoint.parent / JOB).exists()


@pytest.mark.slow
def test_looking_at_the_validation_split_in_mid_epoch_changes_nothing(
    two: TrainResult, dataset: PreparedDataset, tmp_path: Path
) -> None:
    run = small_run(evaluate_every=3, early_stopping={"metric": "auc", "patience": 99})
    looked = launch(run, dataset, tmp_path, 2, SilentTracker())
    assert [step for step, _ in looked.history] == [*range(3, 38, 3), 38]
    expected, found = load_weights(latest_of(two)), load_weights(latest_of(looked))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-5)


def latest_of(result: TrainResult) -> Path:
    newest = latest(result.checkpoint.parent)
    assert newest is not None
    return newest


@pytest.mark.slow
def test_killed_and_resumed_in_two_processes(
    two: TrainResult, dataset: PreparedDataset, tmp_path: Path
) -> None:
    run = small_run(checkpoint_every=5)
    folder = tmp_path / "run"

    def kill_a_worker() -> None:
        while (newest := latest(folder)) is None or read_state(newest)["step"] < 10:
            time.sleep(0.01)
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        workers = [p for p in children if b"fulcrum.pipelines.training.worker" in command(p)]
        os.kill(int(workers[-1]), signal.SIGKILL)

    def command(process: str) -> bytes:
        return Path(f"/proc/{process}/cmdline").read_bytes()

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    with pytest.raises(ResourceError, match="SIGKILL"):
        launch(run, dataset, folder, 2, SilentTracker())
    killer.join()
    newest = latest(folder)
    assert newest is not None and 10 <= read_state(newest)["step"] < 38
    resumed = launch(run, dataset, folder, 2, SilentTracker())
    expected, found = load_weights(two.checkpoint), load_weights(resumed.checkpoint)
    assert resumed.step == two.step
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-5)


def test_the_cause_is_told_whichever_process_the_agent_saw_first(tmp_path: Path) -> None:
    def failure(rank: int, exitcode: int, message: str = "") -> ProcessFailure:
        file = tmp_path / f"{rank}.json"
        if message:
            record = {"message": message, "extraInfo": {"timestamp": rank}}
            file.write_text(json.dumps({"message": record}))
        return ProcessFailure(rank, 1, exitcode, str(file))

    lost = failure(0, -signal.SIGTERM, "RuntimeError: Connection reset by peer")
    killed, ours = failure(1, -signal.SIGKILL), failure(2, 1, "StateError: other data")
    for failures, expected in (
        ({0: lost, 1: killed}, ResourceError("process 1 of the training ended: ")),
        ({0: lost, 1: killed, 2: ours}, StateError("other data")),
        ({0: lost}, ResourceError("process 0 of the training ended: RuntimeError")),
    ):
        cause = _cause(ChildFailedError("job", failures))
        assert type(cause) is type(expected)
        assert str(cause).startswith(str(expected))
    assert "SIGKILL" in str(_cause(ChildFailedError("job", {0: lost, 1: killed})))


@pytest.mark.slow
def test_a_user_error_in_a_process_is_raised_as_itself(
    two: TrainResult, dataset: PreparedDataset
) -> None:
    with pytest.raises(ConfigError, match=r"another config: train\.seed was 0, is 5\."):
        launch(small_run(seed=5), dataset, two.checkpoint.parent, 2, SilentTracker())
