"""The benchmarks of the card, on the CPU: they run, whatever they would show there."""

import subprocess
import sys

import pytest
import torch

from benchmarks import gpu
from benchmarks.logs import Size, write_logs

SMALL = Size(rows=1024, values=100, batch_size=64, steps=2, rounds=1)


@pytest.mark.slow
def test_trunks():
    eager, compiled, products = gpu.trunks(torch.device("cpu"), SMALL, 64, ["mmoe"])
    for figure in (eager, compiled):
        assert figure.ratio > 0 and figure.to == products.what


@pytest.mark.slow
def test_training_and_scoring(tmp_path):
    write_logs(tmp_path, SMALL)
    bf16, reading, fp32 = gpu.training(tmp_path, SMALL)
    assert (bf16.to, reading.to) == (fp32.what, bf16.what)
    device, cpu = gpu.scoring(tmp_path, SMALL, "cpu")
    assert device.to == cpu.what


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_says_so_in_one_line():
    command = [sys.executable, "-m", "benchmarks.gpu"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "no NVIDIA GPU that torch can use; `fulcrum doctor` says what is missing"
    ]
