"""Training on CUDA against the same training on the CPU."""

import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from fulcrum.pipelines.quality.metrics import measure
from fulcrum.pipelines.training.predict import evaluate
from fulcrum.pipelines.training.processes import process_group
from fulcrum.pipelines.training.trainer import read_result, train
from tests.pipelines.small_runs import small_run
from tests.prepared import prepare

pytestmark = pytest.mark.gpu

ON_CPU = """
import sys
from pathlib import Path
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.pipelines.training.trainer import train
from tests.gpu.test_train import SETTINGS
from tests.pipelines.small_runs import small_run

train(small_run(**SETTINGS), PreparedDataset.open(Path(sys.argv[1])), Path(sys.argv[2]))
"""
SETTINGS = {"epochs": 3, "batch_size": 256, "dense": {"lr": 0.01}, "sparse": {"lr": 0.2}}
"""With these, five seeds on a CPU, in fp32 and bf16, lay within 0.006 of each other."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("data"), {"train": 32_768, "valid": 16_384})


def on_cpu(dataset, folder):
    """The result of a process that sees no card."""
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", ON_CPU, str(dataset.folder), str(folder)]
    subprocess.run(command, env=hidden, check=True)
    return read_result(folder)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_metrics_agree_with_the_cpu(dataset, tmp_path, precision):
    reference = on_cpu(dataset, tmp_path / "cpu").metrics
    run = small_run(**SETTINGS, precision=precision)
    result = train(run, dataset, tmp_path / "cuda")
    for name in ("auc/click", "auc/like", "log_loss/click", "log_loss/like"):
        assert result.metrics[name] == pytest.approx(reference[name], abs=0.015), name


def test_a_table_in_the_memory_of_the_machine_learns(dataset, tmp_path):
    run = small_run(tables={"user": {"kernel": "uvm_caching"}})
    assert train(run, dataset, tmp_path / "cuda").metrics["auc/click"] > 0.7


def test_fused_adam_learns(dataset, tmp_path):
    run = small_run(sparse={"kind": "adam", "lr": 0.02})
    assert train(run, dataset, tmp_path / "cuda").metrics["auc/click"] > 0.7


def test_a_checkpoint_scores_alike_when_loaded_again(dataset, tmp_path):
    result = train(small_run(), dataset, tmp_path / "cuda")
    again = measure(evaluate(small_run(), dataset, result.checkpoint, "valid"))
    assert again["auc/click"] == pytest.approx(result.metrics["auc/click"], abs=1e-6)


def test_processes_meet_over_nccl_and_gloo():
    with process_group() as process:
        assert process.device.type == "cuda"
        for device, backend in ((process.device, "nccl"), (torch.device("cpu"), "gloo")):
            assert dist.group.WORLD._get_backend(device).name() == backend
            ones = torch.ones(3, device=device)
            dist.all_reduce(ones)
            assert ones.tolist() == [process.world] * 3
