"""MMoE and OMoE: shared experts, one softmax gate per task, or one for all tasks.

x  (batch, inputs): all fields side by side        f_i  expert i of E        t  a task

    h_i = f_i(x)                        (6)
    a_t = softmax(W_t x)                (8)    OMoE: one W, the same a for every t
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


class SharedExpertsConfig(TrunkConfig):
    """What MMoE and OMoE have in common."""

    one_gate: ClassVar[bool]
    """Whether all tasks share a gate."""

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


class MMoEConfig(SharedExpertsConfig):
    """Shared experts mixed by a gate per task."""

    source: ClassVar[str] = "Ma et al., Multi-gate Mixture-of-Experts, KDD 2018, equations 6-8"
    summary: ClassVar[str] = (
        "shared experts, one gate per task: tasks choose softly what they share"
    )
    one_gate: ClassVar[bool] = False

    architecture: Literal["mmoe"] = "mmoe"


class OMoEConfig(SharedExpertsConfig):
    """Shared experts mixed by one gate."""

    source: ClassVar[str] = "Ma et al., Multi-gate Mixture-of-Experts, KDD 2018, figure 1b"
    summary: ClassVar[str] = "shared experts, one gate for all tasks: the control of mmoe"
    one_gate: ClassVar[bool] = True

    architecture: Literal["omoe"] = "omoe"


class MMoE(Trunk):
    """Every gate sees every expert, and all of them read x. One gate's output is every task's."""

    def __init__(
        self, config: SharedExpertsConfig, fields: Sequence[str], tasks: Sequence[str]
    ) -> None:
        super().__init__()
        self.tasks, self.experts = tuple(tasks), config.experts
        inputs = len(fields) * config.embedding_dim
        f = Experts([0] * config.experts, inputs, config.expert, config.dropout)
        gates = 1 if config.one_gate else len(tasks)
        everything = torch.ones(gates, config.experts, dtype=torch.bool)
        self.fusion = Fusion(f, Gate(everything, inputs, config.gate_bias))
        self.width = f.width
        if config.bottom.per_task and not config.one_gate:
            self.fusion.restrict(torch.eye(gates, dtype=torch.bool))

    def forward(self, fields: Tensor) -> Tensor:
        x = fields.flatten(1)[:, None]
        z = self.fusion(x, x)
        return z.expand(-1, len(self.tasks), -1) if z.shape[1] == 1 else z

    def diagnostics(self, fields: Tensor) -> list[Level]:
        x, tasks = fields.flatten(1)[:, None], len(self.tasks)
        owners = [SHARED] * self.experts
        level = self.fusion.diagnostics(x, x, outputs=self.tasks, owners=owners)
        weights, visible = level.weights.expand(-1, tasks, -1), level.visible.expand(tasks, -1)
        return [level._replace(weights=weights, gates=weights, visible=visible)]
