"""Shared-Bottom: one trunk that every task reads.

x  (batch, inputs): all fields side by side        f  the trunk        t  a task

    z_t = f(x)
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from models.fusion import Experts, Fusion
from models.trunks.base import Trunk, TrunkConfig


class SharedBottomConfig(TrunkConfig):
    """One shared trunk, a tower per task."""

    source: ClassVar[str] = "Caruana, Multitask Learning, 1997; MMoE (KDD 2018), equation 1"
    summary: ClassVar[str] = "one trunk for all tasks: cheapest, suffers when tasks conflict"

    architecture: Literal["shared_bottom"] = "shared_bottom"
    hidden: tuple[int, ...] = (256, 128)
    """Hidden units of the trunk."""

    def build(self, fields: int, tasks: int) -> "SharedBottom":
        return SharedBottom(self, fields, tasks)


class SharedBottom(Trunk):
    """A single expert that every task takes with weight 1."""

    def __init__(self, config: SharedBottomConfig, fields: int, tasks: int) -> None:
        super().__init__()
        inputs = fields * config.embedding_dim
        f = Experts([0], inputs, config.hidden, config.dropout)
        self.fusion = Fusion(f, native=torch.ones(tasks, 1))
        self.width = f.width

    def forward(self, fields: Tensor) -> Tensor:
        return self.fusion(fields.flatten(1)[:, None])

    def diagnostics(self, fields: Tensor) -> dict[str, Tensor]:
        return self.fusion.diagnostics(fields.flatten(1)[:, None])
