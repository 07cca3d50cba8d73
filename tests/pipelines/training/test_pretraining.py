"""Trainings that go on from an earlier one: some tasks first, then all."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.models.weightings import StaticConfig
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.training import pretraining
from fulcrum.pipelines.training.checkpoint import load_weights
from fulcrum.pipelines.training.trainer import Trainer, read_result, train
from tests.pipelines.small_runs import small_run
from tests.pipelines.training.test_trainer import Memory, same_weights
from tests.prepared import prepare

FIRST = {"tasks": ["click"], "epochs": 1}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepare(tmp_path_factory.mktemp("data"), {"train": 600, "valid": 200, "test": 200})


def in_order(**first: object) -> RunConfig:
    return RunConfig.model_validate(small_run(epochs=1, pretrain={**FIRST, **first}).model_dump())


def test_a_run_without_a_first_phase_has_none() -> None:
    assert pretraining.before(small_run()) is None


def test_the_first_phase_learns_the_tasks_that_were_named_and_no_others() -> None:
    first = pretraining.before(in_order())
    assert first is not None and pretraining.before(first) is None
    weights = {"click": 1.0, "like": 0.0, "watch": 0.0, "page": 0.0}
    assert first.weighting == StaticConfig(weights=weights)
    assert first.train.epochs == 1 and first.train.early_stopping is None


def test_the_training_goes_on_from_the_weights_of_the_first_phase(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own seed gives the same rows and draws as without a first phase, so only the start
    differs."""
    began: list[dict[str, torch.Tensor]] = []
    start = Trainer.start

    def seen(trainer: Trainer, *args: object, **options: object) -> None:
        start(trainer, *args, **options)  # type: ignore[arg-type]
        state = trainer.model.state_dict()
        began.append({k: v.clone() for k, v in state.items() if type(v) is torch.Tensor})

    monkeypatch.setattr(Trainer, "start", seen)
    heard = Memory()
    result = train(in_order(), dataset, tmp_path, tracker=heard)
    first = load_weights(read_result(tmp_path / pretraining.FOLDER).checkpoint)
    dense = [name for name, value in began[1].items() if value.dim()]
    assert dense and all(torch.equal(began[1][name], first[name]) for name in dense)
    assert not all(torch.equal(began[0][name], first[name]) for name in dense)
    assert not same_weights(
        result.checkpoint, train(small_run(epochs=1), dataset, tmp_path / "x").checkpoint
    )
    names = {name for _, metrics in heard.metrics for name in metrics}
    assert {"train/loss", "pretrain/train/loss"} <= names


def test_moments_are_kept_when_asked(dataset: PreparedDataset, tmp_path: Path) -> None:
    anew = train(in_order(), dataset, tmp_path / "anew")
    kept = train(in_order(keep_optimizer=True), dataset, tmp_path / "kept")
    assert not same_weights(anew.checkpoint, kept.checkpoint)


STOPPED = """
import os, sys
from pathlib import Path
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.pipelines.training import trainer as module
from tests.pipelines.training.test_pretraining import in_order

data, folder, phase, step = sys.argv[1:]
after, count = module.Trainer._after_step, [0, None]
def stop_here(trainer):
    after(trainer)
    if trainer.folder.name == phase and trainer.step == int(step):
        os.kill(os.getpid(), 9)
module.Trainer._after_step = stop_here
module.train(in_order(), PreparedDataset.open(Path(data)), Path(folder), resume=True)
"""


@pytest.mark.slow
def test_killed_in_either_phase_and_resumed_ends_with_the_same_bits(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    expected = train(in_order(), dataset, tmp_path / "unbroken")
    stopped = tmp_path / "stopped"
    for phase in (pretraining.FOLDER, "stopped"):
        command = [sys.executable, "-c", STOPPED, str(dataset.folder), str(stopped), phase, "5"]
        done = subprocess.run(command, check=False, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    resumed = train(in_order(), dataset, stopped, resume=True)
    assert resumed.history == expected.history
    assert same_weights(resumed.checkpoint, expected.checkpoint)
