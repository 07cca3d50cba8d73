"""MMoE: shared experts, one softmax gate per task.

x  (batch, inputs): all fields side by side        f_i  expert i of E        t  a task

    h_i = f_i(x)                        (6)
    a_t = softmax(W_t x)                (8)
    z_t = sum_i a_ti h_i                (7)
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fulcrum.models.layers.expert_usage import SHARED, Level
from fulcrum.models.layers.fusion import Experts, Fusion, Gate
from fulcrum.models.trunks.base import Trunk, TrunkConfig


class MMoEConfig(TrunkConfig):
    """Shared experts mixed by a gate per task."""

    source: ClassVar[str] = "Ma et al., Multi-gate Mixture-of-Experts, KDD 2018, equations 6-8"
    summary: ClassVar[str] = (
        "shared experts, one gate per task: tasks choose softly what they share"
    )

    architecture: Literal["mmoe"] = "mmoe"
    experts: int = Field(6, ge=1)
    """Number of experts E."""
    expert: tuple[int, ...] = Field((256, 128), min_length=1)
    """Hidden units of each expert; the last is its output width."""
    gate_bias: bool = True
    """The paper's gate has no bias; public code has one."""

    @property
    def path(self) -> tuple[int, ...]:
        return self.expert

    def build(self, fields: Sequence[str], tasks: Sequence[str]) -> "MMoE":
        return MMoE(self, fields, tasks)


class MMoE(Trunk):
    """Every gate sees every expert, and all of them read x."""

    def __init__(self, config: MMoEConfig, fields: Sequence[str], tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks, self.experts = tuple(tasks), config.experts
        inputs = len(fields) * config.embedding_dim
        f = Experts([0] * config.experts, inputs, config.expert, config.dropout)
        everything = torch.ones(len(tasks), config.experts, dtype=torch.bool)
        self.fusion = Fusion(f, Gate(everything, inputs, config.gate_bias))
        self.width = f.width

    def forward(self, fields: Tensor) -> Tensor:
        x = fields.flatten(1)[:, None]
        return self.fusion(x, x)

    def diagnostics(self, fields: Tensor) -> list[Level]:
        x = fields.flatten(1)[:, None]
        owners = [SHARED] * self.experts
        return [self.fusion.diagnostics(x, x, outputs=self.tasks, owners=owners)]
