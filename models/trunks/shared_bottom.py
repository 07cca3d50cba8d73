"""Shared-Bottom: one trunk that every task reads.

x  (batch, inputs): all fields side by side        f  the trunk        t  a task

    z_t = f(x)
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fulcrum.models.layers.expert_usage import SHARED, Level
from fulcrum.models.layers.fusion import Experts, Fusion
from fulcrum.models.trunks.base import Trunk, TrunkConfig


class SharedBottomConfig(TrunkConfig):
    """One shared trunk, a tower per task."""

    source: ClassVar[str] = "Caruana, Multitask Learning, 1997; MMoE (KDD 2018), equation 1"
    summary: ClassVar[str] = "one trunk for all tasks: cheapest, suffers when tasks conflict"

    architecture: Literal["shared_bottom"] = "shared_bottom"
    hidden: tuple[int, ...] = (256, 128)
    """Hidden units of the trunk."""

    @property
    def path(self) -> tuple[int, ...]:
        return self.hidden

    def build(self, fields: Sequence[str], tasks: Sequence[str]) -> "SharedBottom":
        return SharedBottom(self, fields, tasks)


class SharedBottom(Trunk):
    """A single expert that every task takes with weight 1."""

    def __init__(
        self, config: SharedBottomConfig, fields: Sequence[str], tasks: Sequence[str]
    ) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        inputs = len(fields) * config.embedding_dim
        f = Experts([0], inputs, config.hidden, config.dropout)
        self.fusion = Fusion(f, native=torch.ones(len(tasks), 1))
        self.width = f.width

    def forward(self, fields: Tensor) -> Tensor:
        return self.fusion(fields.flatten(1)[:, None])

    def diagnostics(self, fields: Tensor) -> list[Level]:
        x = fields.flatten(1)[:, None]
        return [self.fusion.diagnostics(x, outputs=self.tasks, owners=[SHARED])]
