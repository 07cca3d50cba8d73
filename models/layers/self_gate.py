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

    `own (gates, experts)` says whose the experts are; all others get weight exactly 0 and no
    gradient. One input serves all gates, or each gate has its own. Never below float32.
    """

    own: Tensor
    single: Tensor

    def __init__(self, own: Tensor, inputs: int, bias: bool = True) -> None:
        super().__init__()
        if not own.any(1).all():
            raise ValueError("a self-gate needs an expert of its own")
        self.linear = StackedLinear(own.shape[0], inputs, own.shape[1], bias)
        self.rows: TaskRows | None = None
        self.register_buffer("own", own, persistent=False)
        self.register_buffer("single", own.sum(1, keepdim=True) == 1, persistent=False)

    def forward(self, v: Tensor) -> Tensor:
        logits = run(self.linear, v, self.rows)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        softmax = logits.masked_fill(~self.own, HIDDEN).softmax(-1)
        return torch.where(self.single, logits.sigmoid() * self.own, softmax)
