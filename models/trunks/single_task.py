"""T independent networks: nothing shared, not even embeddings.

x_t  (batch, inputs): the fields from task t's own tables        f_t  task t's trunk

    z_t = f_t(x_t)
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fulcrum.models.layers.expert_usage import Level
from fulcrum.models.layers.fusion import Experts, Fusion
from fulcrum.models.trunks.base import Trunk, TrunkConfig


class SingleTaskConfig(TrunkConfig):
    """One network per task, tables included."""

    source: ClassVar[str] = "the baseline of every multi-task paper; PLE (RecSys 2020), section 5"
    summary: ClassVar[str] = (
        "one network per task, nothing shared: the reference for multi-task gain"
    )

    architecture: Literal["single_task"] = "single_task"
    hidden: tuple[int, ...] = (256, 128)
    """Hidden units of each task's trunk."""

    @property
    def path(self) -> tuple[int, ...]:
        return self.hidden

    def build(self, fields: Sequence[str], tasks: Sequence[str]) -> "SingleTask":
        return SingleTask(self, fields, tasks)

    def copies(self, tasks: int) -> int:
        return tasks


class SingleTask(Trunk):
    """An expert per task, which reads that task's copy of the fields and serves that task alone."""

    def __init__(
        self, config: SingleTaskConfig, fields: Sequence[str], tasks: Sequence[str]
    ) -> None:
        super().__init__()
        inputs = len(fields) * config.embedding_dim
        f = Experts(range(len(tasks)), inputs, config.hidden, config.dropout)
        self.fusion = Fusion(f, native=torch.eye(len(tasks)))
        self.width, self.tasks = f.width, tuple(tasks)

    def forward(self, fields: Tensor) -> Tensor:
        return self.fusion(self._own(fields))

    def diagnostics(self, fields: Tensor) -> list[Level]:
        own = self._own(fields)
        return [self.fusion.diagnostics(own, outputs=self.tasks, owners=self.tasks)]

    def _own(self, fields: Tensor) -> Tensor:
        """`(batch, tasks · fields, dim) -> (batch, tasks, inputs)`."""
        return fields.unflatten(1, (len(self.tasks), -1)).flatten(2)
