"""A module's gate on its own experts alone, added to what it takes from others (HoME, 2024)."""

import torch
from torch import Tensor, nn

from fulcrum.models.layers.fusion import HIDDEN
from fulcrum.models.layers.stacked import StackedLinear
from fulcrum.models.layers.task_rows import TaskRows, run


class SelfGate(nn.Module):
    """Weights of own experts: `(batch, 1 or gates, inputs) -> (batch, gates, experts)`.

        SG(v) = softmax(W v)    over K > 1 own experts
                sigmoid(w · v)  over one, since the softmax of one is always 1

    `ownership (gates, experts)` says whose the experts are; all others get weight exactly 0 and no
    gradient. One input serves all gates, or each gate has its own. Never below float32.
    """

    ownership: Tensor
    single: Tensor

    def __init__(self, ownership: Tensor, inputs: int, bias: bool = True) -> None:
        super().__init__()
        if not ownership.any(1).all():
            raise ValueError("a self-gate needs an expert of its own")
        self.linear = StackedLinear(ownership.shape[0], inputs, ownership.shape[1], bias)
        self.rows: TaskRows | None = None
        self.register_buffer("ownership", ownership, persistent=False)
        self.register_buffer("single", ownership.sum(1, keepdim=True) == 1, persistent=False)

    def forward(self, v: Tensor) -> Tensor:
        logits = run(self.linear, v, self.rows)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        softmax = logits.masked_fill(~self.ownership, HIDDEN).softmax(-1)
        return torch.where(self.single, logits.sigmoid() * self.ownership, softmax)
