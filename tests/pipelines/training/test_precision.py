from pathlib import Path

import pytest
import torch

from fulcrum.pipelines.training.precision import has_bf16, resolve

CPU = torch.device("cpu")


def test_a_stated_precision_is_taken() -> None:
    assert resolve("fp32", CPU) == torch.float32
    assert resolve("bf16", CPU) == torch.bfloat16


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux lists the instructions")
def test_auto_follows_the_processor() -> None:
    flags = Path("/proc/cpuinfo").read_text()
    expected = "avx512_bf16" in flags or "amx_bf16" in flags
    assert has_bf16(CPU) == expected
    assert resolve("auto", CPU) == (torch.bfloat16 if expected else torch.float32)
