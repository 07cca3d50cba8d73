"""A gate on every number of an input, low-rank and one for each module that reads it (HoME, 2024).

v  (batch, d): what a module reads        i  an adapter of n        B_i  (d, r)        A_i  (r, d)

    FeaLoRA_i(v) = 2 sigmoid(v B_i A_i)                    between 0 and 2
    FG(v)        = sum_i softmax(W v)_i · FeaLoRA_i(v)
"""

import torch
from torch import Tensor, nn

from fulcrum.models.layers.stacked import ALL, StackedLinear
from fulcrum.models.layers.task_rows import TaskRows, run


class FeatureGate(nn.Module):
    """M gates at once: `(batch, 1 or M, d) -> (batch, M, d)`; one input serves all, or each has
    its own.

    A_i starts at 0 and B_i does not, so every gate starts at exactly 1 and learns from the first
    step. To make it exact, FG is computed as the equal 1 + sum_i softmax(W v)_i · tanh(v B_i A_i /
    2): softmax weights sum to 1, though only nearly so in floating point.
    """

    def __init__(self, modules: int, inputs: int, adapters: int, rank: int) -> None:
        super().__init__()
        self.adapters = adapters
        self.mixture = StackedLinear(modules, inputs, adapters, bias=False)
        self.down = StackedLinear(modules * adapters, inputs, rank, bias=False)
        self.up = nn.Parameter(torch.zeros(modules * adapters, rank, inputs))
        self.rows: TaskRows | None = None

    def forward(self, v: Tensor) -> Tensor:
        return run(self._gates, v, self.rows)

    def _gates(self, v: Tensor, modules: slice = ALL) -> Tensor:
        adapters = modules
        if modules != ALL:
            adapters = slice(modules.start * self.adapters, modules.stop * self.adapters)
        lora = torch.bmm(self.down(v, adapters), self.up[adapters])
        weights = self.mixture(v, modules).softmax(-1).transpose(1, 2)[..., None]
        return 1 + (weights * (lora.unflatten(0, (-1, self.adapters)) / 2).tanh()).sum(1)
