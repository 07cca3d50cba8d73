"""Multi-level MMoE: MMoE stacked, a gate for every expert of the next level.

x  (batch, inputs): all fields side by side        f_e^l  expert e of E at level l of N

    z_e^0 = x
    h_e^l = f_e^l(z_e^{l-1})
    a_g^l = softmax(W_g^l x)                 raw x at every level
    z_g^l = sum_e a_ge^l h_e^l               g: the E experts of level l + 1; at level N the tasks
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fulcrum.models.layers.expert_usage import SHARED, Level
from fulcrum.models.layers.fusion import Experts, Fusion, Gate
from fulcrum.models.trunks.base import Trunk, TrunkConfig


class MLMMoEConfig(TrunkConfig):
    """Levels of shared experts, each expert fed by a gate of its own."""

    source: ClassVar[str] = "Tang et al., PLE, RecSys 2020, section 5.1.2, as a baseline"
    summary: ClassVar[str] = "mmoe in several levels, all gates on the raw input"

    architecture: Literal["ml_mmoe"] = "ml_mmoe"
    experts: int = Field(6, ge=1)
    """Number of experts E of each level."""
    levels: tuple[Annotated[tuple[int, ...], Field(min_length=1)], ...] = Field(
        ((256,), (128,)), min_length=1
    )
    """Hidden units of the experts, level by level; with one level it is mmoe."""
    gate_bias: bool = True
    """The papers' gates have no bias; public code has one."""

    @property
    def path(self) -> tuple[int, ...]:
        return sum(self.levels, ())

    def build(self, fields: Sequence[str], tasks: Sequence[str]) -> "MLMMoE":
        return MLMMoE(self, fields, tasks)


class MLMMoE(Trunk):
    """Every gate of a level sees all its experts; all gates read x."""

    def __init__(self, config: MLMMoEConfig, fields: Sequence[str], tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks, self.experts = tuple(tasks), config.experts
        self.levels = nn.ModuleList()
        inputs = self.width = len(fields) * config.embedding_dim
        for level, hidden in enumerate(config.levels, 1):
            source = [0] * config.experts if level == 1 else range(config.experts)
            f = Experts(source, self.width, hidden, config.dropout)
            gates = len(tasks) if level == len(config.levels) else config.experts
            everything = torch.ones(gates, config.experts, dtype=torch.bool)
            fusion = Fusion(f, Gate(everything, inputs, config.gate_bias))
            self.levels.append(fusion)
            self.width = f.width
        if config.bottom.per_task:
            fusion.restrict(torch.eye(len(tasks), dtype=torch.bool))

    def forward(self, fields: Tensor) -> Tensor:
        z = x = fields.flatten(1)[:, None]
        for level in self.levels:
            z = level(z, x)
        return z

    def diagnostics(self, fields: Tensor) -> list[Level]:
        owners = [SHARED] * self.experts
        outputs = [owners] * (len(self.levels) - 1) + [list(self.tasks)]
        z = x = fields.flatten(1)[:, None]
        usage: list[Level] = []
        for level, names in zip(self.levels, outputs, strict=True):
            assert isinstance(level, Fusion)
            usage.append(level.diagnostics(z, x, outputs=names, owners=owners))
            z = usage[-1].weights @ usage[-1].experts
        return usage
