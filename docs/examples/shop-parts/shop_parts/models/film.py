"""FiLM by task: tasks share every matrix, and each scales and shifts the units of every layer.

x  (batch, inputs): all fields side by side        l  a layer        t  a task

    h_0t = x        h_lt = ReLU(gamma_lt (W_l h_(l-1)t + b_l) + beta_lt)        z_t = h_Lt
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fulcrum.models.layers.expert_usage import Level
from fulcrum.models.trunks import Trunk, TrunkConfig


class FiLMConfig(TrunkConfig):
    """Shared layers that each task tunes to itself."""

    source: ClassVar[str] = "Perez et al., FiLM, arXiv 1709.07871, AAAI 2018, equation 1"
    summary: ClassVar[str] = "one bottom whose units every task scales and shifts: few parameters"

    architecture: Literal["film"] = "film"
    hidden: tuple[int, ...] = Field((256, 128), min_length=1)
    """Units of the shared layers."""

    @property
    def path(self) -> tuple[int, ...]:
        return self.hidden

    def build(self, fields: Sequence[str], tasks: Sequence[str]) -> "FiLM":
        return FiLM(self, len(fields), len(tasks))


class FiLM(Trunk):
    """Departure: the condition is the task and nothing of the row, so gamma and beta are
    parameters. They start at 1 and 0, as a shared bottom."""

    def __init__(self, config: FiLMConfig, fields: int, tasks: int) -> None:
        super().__init__()
        sizes = pairwise((fields * config.embedding_dim, *config.hidden))
        self.layers = nn.ModuleList(nn.Linear(inputs, units) for inputs, units in sizes)
        self.gamma = nn.ParameterList(torch.ones(tasks, units) for units in config.hidden)
        self.beta = nn.ParameterList(torch.zeros(tasks, units) for units in config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.width = config.hidden[-1]

    def forward(self, fields: Tensor) -> Tensor:
        h = fields.flatten(1)[:, None]
        for layer, gamma, beta in zip(self.layers, self.gamma, self.beta, strict=True):
            h = self.dropout(F.relu(gamma * layer(h) + beta))
        return h

    def diagnostics(self, fields: Tensor) -> list[Level]:
        return []
