"""In which number format the dense part trains."""

from typing import Literal

import torch


def resolve(precision: Literal["fp32", "bf16", "auto"], device: torch.device) -> torch.dtype:
    """The dtype of a `train.precision`; `auto` asks the processor for bf16 instructions."""
    if precision == "bf16" or (precision == "auto" and has_bf16(device)):
        return torch.bfloat16
    return torch.float32


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 matrices in hardware: tensor cores, AMX or AVX-512."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("amx_bf16") or abilities.get("avx512_bf16"))
