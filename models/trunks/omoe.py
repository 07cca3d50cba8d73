"""OMoE: shared experts, one softmax gate for all tasks.

x  (batch, inputs): all fields side by side        f_i  expert i of E        t  a task

    h_i = f_i(x)
    a = softmax(W x)
    z_t = sum_i a_i h_i, the same for every t
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fulcrum.models.layers.expert_usage import SHARED, Level
from fulcrum.models.layers.fusion import Experts, Fusion, Gate
from fulcrum.models.trunks.base import Trunk, TrunkConfig


class OMoEConfig(TrunkConfig):
    """Shared experts mixed by one gate."""

    source: ClassVar[str] = "Ma et al., Multi-gate Mixture-of-Experts, KDD 2018, figure 1b"
    summary: ClassVar[str] = "shared experts, one gate for all tasks: the control of mmoe"

    architecture: Literal["omoe"] = "omoe"
    experts: int = Field(6, ge=1)
    """Number of experts E."""
    expert: tuple[int, ...] = Field((256, 128), min_length=1)
    """Hidden units of each expert; the last is its output width."""
    gate_bias: bool = True
    """The paper's gate has no bias; public code has one."""

    @property
    def path(self) -> tuple[int, ...]:
        return self.expert

    def build(self, fields: Sequence[str], tasks: Sequence[str]) -> "OMoE":
        return OMoE(self, fields, tasks)


class OMoE(Trunk):
    """One gate sees every expert, and its output is every task's."""

    def __init__(self, config: OMoEConfig, fields: Sequence[str], tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks, self.experts = tuple(tasks), config.experts
        inputs = len(fields) * config.embedding_dim
        f = Experts([0] * config.experts, inputs, config.expert, config.dropout)
        everything = torch.ones(1, config.experts, dtype=torch.bool)
        self.fusion = Fusion(f, Gate(everything, inputs, config.gate_bias))
        self.width = f.width

    def forward(self, fields: Tensor) -> Tensor:
        x = fields.flatten(1)[:, None]
        return self.fusion(x, x).expand(-1, len(self.tasks), -1)

    def diagnostics(self, fields: Tensor) -> list[Level]:
        x, tasks = fields.flatten(1)[:, None], len(self.tasks)
        owners = [SHARED] * self.experts
        seen = self.fusion.diagnostics(x, x, outputs=self.tasks, owners=owners)
        weights = seen.weights.expand(-1, tasks, -1)
        return [
            seen._replace(weights=weights, gates=weights, visible=seen.visible.expand(tasks, -1))
        ]
