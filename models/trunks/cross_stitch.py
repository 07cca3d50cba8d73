"""Cross-Stitch: a network per task, stitched together level by level with static weights.

t, j  tasks, of T        l  a level        alpha^l  (T, T), learned, the same for every row and unit

    x_t^0 = x
    h_t^l = MLP_t^l(x_t^(l-1))
    x_t^l = sum_j alpha^l_tj h_j^l
    z_t   = x_t^L

alpha starts near the identity, 0.9 for the own network and 0.1 over the others, and learns at the
rate of everything else: the paper's own start and its larger rate are known at second hand only.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fulcrum.models.layers.expert_usage import Level
from fulcrum.models.layers.fusion import Experts, Fusion
from fulcrum.models.trunks.base import Trunk, TrunkConfig


class CrossStitchConfig(TrunkConfig):
    """Parallel networks that learn how much to take from each other."""

    source: ClassVar[str] = "Misra et al., Cross-stitch Networks, CVPR 2016 (arXiv 1604.03539)"
    summary: ClassVar[str] = (
        "one network per task, mixed after each level by learned static weights"
    )

    architecture: Literal["cross_stitch"] = "cross_stitch"
    levels: tuple[Annotated[tuple[int, ...], Field(min_length=1)], ...] = Field(
        ((256,), (128,)), min_length=1
    )
    """Hidden units of each task's network, level by level; a stitch follows each level."""

    @property
    def path(self) -> tuple[int, ...]:
        return sum(self.levels, ())

    def build(self, fields: Sequence[str], tasks: Sequence[str]) -> "CrossStitch":
        return CrossStitch(self, fields, tasks)


class CrossStitch(Trunk):
    """An expert per task and level; alpha is the fusion's static weights."""

    def __init__(
        self, config: CrossStitchConfig, fields: Sequence[str], tasks: Sequence[str]
    ) -> None:
        super().__init__()
        self.tasks, count = tuple(tasks), len(tasks)
        self.levels = nn.ModuleList()
        self.width = len(fields) * config.embedding_dim
        for hidden in config.levels:
            source = range(count) if self.levels else [0] * count
            mlp = Experts(source, self.width, hidden, config.dropout)
            self.levels.append(Fusion(mlp, native=stitch(count), learn_native=True))
            self.width = mlp.width

    def forward(self, fields: Tensor) -> Tensor:
        x = fields.flatten(1)[:, None]
        for level in self.levels:
            x = level(x)
        return x

    def diagnostics(self, fields: Tensor) -> list[Level]:
        x = fields.flatten(1)[:, None]
        usage: list[Level] = []
        for level in self.levels:
            assert isinstance(level, Fusion)
            usage.append(level.diagnostics(x, outputs=self.tasks, owners=self.tasks))
            x = usage[-1].weights @ usage[-1].experts
        return usage


def stitch(tasks: int) -> Tensor:
    """alpha at the start, each row summing to 1."""
    if tasks == 1:
        return torch.ones(1, 1)
    others = 0.1 / (tasks - 1)
    return torch.full((tasks, tasks), others).fill_diagonal_(0.9)
