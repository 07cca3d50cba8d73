import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from fulcrum.features.errors import ConfigError, DataError, ResourceError, StateError, TrainError
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.models.part import AuxiliaryLoss
from fulcrum.models.trunks.mmoe import MMoE
from fulcrum.pipelines.quality.metrics import measure
from fulcrum.pipelines.training import checkpoint
from fulcrum.pipelines.training.checkpoint import latest, load_weights
from fulcrum.pipelines.training.predict import evaluate
from fulcrum.pipelines.training.trainer import TrainResult, read_result, train
from tests.pipelines.small_runs import small_run
from tests.prepared import LAYOUT, prepare


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepare(tmp_path_factory.mktemp("data"), {"train": 1200, "valid": 400, "test": 400})


@pytest.fixture(scope="module")
def unbroken(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """The run that the others are compared with: 2 epochs of 19 steps."""
    return train(small_run(), dataset, tmp_path_factory.mktemp("unbroken"))


def same_weights(one: Path, other: Path) -> bool:
    a, b = load_weights(one), load_weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Memory:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.metrics: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.metrics.append((step, dict(metrics)))

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        raise AssertionError("training logs no files")


def test_learns_a_planted_signal(unbroken: TrainResult, dataset: PreparedDataset) -> None:
    metrics = measure(evaluate(small_run(), dataset, unbroken.checkpoint, "test"))
    for name, least in {"auc/click": 0.7, "auc/like": 0.65, "accuracy/page": 0.5}.items():
        value = metrics[name]
        assert value is not None and value > least, (name, value)
    losses = [metrics["loss"] for _, metrics in unbroken.history]
    assert losses[-1] < losses[0]


def test_metrics_of_the_best_checkpoint_are_those_that_were_measured(
    unbroken: TrainResult, dataset: PreparedDataset
) -> None:
    again = measure(evaluate(small_run(), dataset, unbroken.checkpoint, "valid"))
    assert again == unbroken.metrics
    assert dict(unbroken.history)[unbroken.step] == unbroken.metrics


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(
    unbroken: TrainResult, dataset: PreparedDataset, tmp_path: Path
) -> None:
    again = train(small_run(), dataset, tmp_path / "again")
    assert again.history == unbroken.history
    assert same_weights(again.checkpoint, unbroken.checkpoint)
    other = train(small_run(seed=1), dataset, tmp_path / "other")
    assert not same_weights(other.checkpoint, unbroken.checkpoint)


def test_a_finished_run_resumes_to_its_own_result(
    unbroken: TrainResult, dataset: PreparedDataset
) -> None:
    assert train(small_run(), dataset, unbroken.checkpoint.parent, resume=True) == unbroken


STOPPED = """
import os, sys
from pathlib import Path
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.pipelines.training import trainer as module
from tests.pipelines.small_runs import small_run

data, folder, step, signal = sys.argv[1:]
after = module.Trainer._after_step
def stop_here(trainer):
    after(trainer)
    if trainer.step == int(step):
        os.kill(os.getpid(), int(signal))
module.Trainer._after_step = stop_here
run = small_run(checkpoint_every=5, evaluate_every=7)
module.train(run, PreparedDataset.open(Path(data)), Path(folder), resume=True)
"""


def test_stopped_in_mid_epoch_and_resumed_ends_with_the_same_bits(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    run = small_run(checkpoint_every=5, evaluate_every=7)
    expected = train(run, dataset, tmp_path / "unbroken")
    stopped = tmp_path / "stopped"
    for step, how in ((13, signal.SIGKILL), (24, signal.SIGINT)):
        arguments = [str(dataset.folder), str(stopped), str(step), str(int(how))]
        command = [sys.executable, "-c", STOPPED, *arguments]
        assert subprocess.run(command, check=False, capture_output=True).returncode == -how
        newest = latest(stopped)
        assert newest is not None
        assert newest.name in (f"step-{step // 5 * 5}", f"step-{step // 7 * 7}")
        assert load_weights(newest)
    resumed = train(run, dataset, stopped, resume=True)
    assert resumed.history == expected.history
    assert resumed.course == expected.course
    assert resumed.step == expected.step
    assert same_weights(resumed.checkpoint, expected.checkpoint)
    newest, other = latest(stopped), latest(tmp_path / "unbroken")
    assert newest is not None and other is not None
    assert same_weights(newest, other)


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    run = small_run(checkpoint_every=5)
    replace = os.replace

    def stop_at_ten(source: Path, target: Path) -> None:
        if Path(target).name == "step-10":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop_at_ten)
    with pytest.raises(KeyboardInterrupt):
        train(run, dataset, folder)
    newest = latest(folder)
    assert newest is not None and newest.name == "step-5"
    assert (folder / ".step-10.tmp").exists()
    monkeypatch.undo()
    resumed = train(run, dataset, folder, resume=True)
    assert not (folder / ".step-10.tmp").exists()
    assert same_weights(resumed.checkpoint, train(run, dataset, tmp_path / "whole").checkpoint)


def test_old_checkpoints_go_and_the_best_stays(dataset: PreparedDataset, tmp_path: Path) -> None:
    result = train(small_run(epochs=4, sparse={"lr": 1.0}), dataset, tmp_path)
    kept = {path.name for path in tmp_path.glob("step-*")}
    newest = latest(tmp_path)
    assert newest is not None
    assert kept == {newest.name, result.checkpoint.name}
    values = [metrics["auc"] for _, metrics in result.history]
    assert result.metrics["auc"] == max(value for value in values if value is not None)


def test_early_stopping_keeps_the_best_weights(dataset: PreparedDataset, tmp_path: Path) -> None:
    run = small_run(epochs=30, sparse={"lr": 2.0}, early_stopping={"metric": "loss", "patience": 2})
    result = train(run, dataset, tmp_path)
    losses = [metrics["loss"] for _, metrics in result.history]
    assert len(losses) < 30
    best = losses.index(min(loss for loss in losses if loss is not None))
    assert len(losses) == best + 1 + 2
    assert result.step == 19 * (best + 1)


def test_without_valid_rows_the_last_weights_are_kept(tmp_path: Path) -> None:
    dataset = prepare(tmp_path / "data", {"train": 200})
    result = train(small_run(), dataset, tmp_path / "run")
    assert result == TrainResult(tmp_path / "run" / "step-8", 8, {}, [], result.course)


def test_another_config_or_other_data_are_refused(
    unbroken: TrainResult, dataset: PreparedDataset, tmp_path: Path
) -> None:
    folder = unbroken.checkpoint.parent
    with pytest.raises(ConfigError, match="holds a run already"):
        train(small_run(), dataset, folder)
    message = r"train\.batch_size was 64, is 32; train\.dense\.lr was 0\.02, is 0\.05"
    with pytest.raises(ConfigError, match=message):
        train(small_run(batch_size=32, dense={"lr": 0.05}), dataset, folder, resume=True)
    other = PreparedDataset(
        dataset.folder, dataset.manifest.model_copy(update={"fingerprint": "f" * 16})
    )
    with pytest.raises(StateError, match="ffffffffffffffff"):
        train(small_run(), other, folder, resume=True)
    assert read_result(folder) == unbroken


def test_a_damaged_checkpoint_is_named(dataset: PreparedDataset, tmp_path: Path) -> None:
    result = train(small_run(epochs=1), dataset, tmp_path)
    for file in result.checkpoint.glob("*.distcp"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(StateError, match=result.checkpoint.name):
        dict(load_weights(result.checkpoint))
    with pytest.raises(StateError, match=result.checkpoint.name):
        train(small_run(epochs=1), dataset, tmp_path, resume=True)


def test_a_loss_that_is_no_number_stops_the_run(dataset: PreparedDataset, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"not finite after step \d+: lower train\.dense\.lr"):
        train(small_run(dense={"lr": 1e20}, sparse={"lr": 1e20}), dataset, tmp_path)


def test_a_full_disk_leaves_earlier_checkpoints(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = checkpoint._write

    def full(file: Path, content: dict) -> None:
        if "step-10" in str(file):
            raise OSError(28, "No space left on device")
        write(file, content)

    monkeypatch.setattr(checkpoint, "_write", full)
    with pytest.raises(ResourceError, match=r"step-10: .*No space left"):
        train(small_run(checkpoint_every=5), dataset, tmp_path)
    newest = latest(tmp_path)
    assert newest is not None and newest.name == "step-5"
    assert load_weights(newest)
    assert [path.name for path in tmp_path.glob(".step*")] == []


def test_the_tracker_hears_of_losses_speed_and_validation(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    tracker = Memory()
    result = train(small_run(), dataset, tmp_path, tracker=tracker)
    told = dict(tracker.metrics)
    assert set(told) == {19, 20, 38}
    assert told[19]["valid/auc/click"] == result.history[0][1]["auc/click"]
    last = next(m for step, m in tracker.metrics if step == 38)
    names = {"train/loss", "train/loss/click", "train/weight/like", "train/rows_per_second"}
    assert names <= set(last)
    json.dumps(tracker.metrics, allow_nan=False)


def test_bf16_trains_to_the_same_quality(
    unbroken: TrainResult, dataset: PreparedDataset, tmp_path: Path
) -> None:
    result = train(small_run(precision="bf16"), dataset, tmp_path)
    assert not same_weights(result.checkpoint, unbroken.checkpoint)
    one, other = result.metrics["auc"], unbroken.metrics["auc"]
    assert one is not None and other is not None
    assert abs(one - other) < 0.03


@pytest.mark.parametrize(
    "without",
    [
        ("tables", "ids", "bags", "sequences"),
        ("ids", "bags", "dense"),
        ("bags", "sequences"),
        ("ids", "sequences", "dense"),
    ],
)
def test_any_mix_of_inputs_trains(tmp_path: Path, without: tuple[str, ...]) -> None:
    layout = LAYOUT.model_copy(update=dict.fromkeys(without, ()))
    if "ids" in without:
        queries = [s.model_copy(update={"query": None}) for s in layout.sequences]
        layout = layout.model_copy(update={"sequences": tuple(queries)})
    read = {source.table for source in layout.inputs if source.kind != "dense"}
    tables = tuple(table for table in layout.tables if table.name in read)
    layout = layout.model_copy(update={"tables": tables})
    dataset = prepare(tmp_path / "data", {"train": 200, "valid": 50}, layout=layout)
    result = train(small_run(), dataset, tmp_path / "run")
    assert [step for step, _ in result.history] == [4, 8]


def test_fused_adam_on_a_cpu_is_refused(dataset: PreparedDataset, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    with pytest.raises(ResourceError, match="rowwise_adagrad"):
        train(small_run(sparse={"kind": "adam"}), dataset, tmp_path)


def test_a_split_without_rows_is_refused(tmp_path: Path) -> None:
    dataset = prepare(tmp_path / "data", {"valid": 100})
    with pytest.raises(DataError, match="`train` has 0 rows"):
        train(small_run(), dataset, tmp_path / "run")


def test_an_auxiliary_loss_trains_and_is_tracked(
    unbroken: TrainResult,
    dataset: PreparedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decay(trunk: MMoE) -> dict[str, AuxiliaryLoss]:
        size = torch.stack([p.square().mean() for p in trunk.parameters()]).sum()
        return {"size": AuxiliaryLoss(size, 10.0)}

    monkeypatch.setattr(MMoE, "auxiliary_losses", decay)
    memory = Memory()
    result = train(small_run(), dataset, tmp_path / "run", tracker=memory)
    sizes = [m["train/auxiliary/size"] for _, m in memory.metrics if "train/loss" in m]
    assert len(sizes) > 1 and sizes[-1] < 0.75 * sizes[0]
    assert not same_weights(result.checkpoint, unbroken.checkpoint)
