"""The task towers: one MLP per task, batched over tasks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fulcrum.models.layers.stacked import StackedLinear, StackedMLP


class Towers(nn.Module):
    """Hidden layers with ReLU, then a linear layer, per task: `(batch, tasks, width) -> (batch, sum
    of outputs)`.

    Tasks may differ in their number of outputs: the last layer is as wide as the widest, and the
    columns that nobody asked for are left out.
    """

    columns: Tensor

    def __init__(
        self, width: int, hidden: Sequence[int], outputs: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        widest = max(outputs)
        self.hidden = StackedMLP(len(outputs), width, hidden, dropout)
        self.last = StackedLinear(len(outputs), self.hidden.width, widest)
        columns = [t * widest + o for t, n in enumerate(outputs) for o in range(n)]
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.ragged = min(outputs) < widest

    def start_at(self, logits: Tensor) -> None:
        """Set the biases of the last layer, one per output."""
        with torch.no_grad():
            assert self.last.bias is not None
            self.last.bias.zero_().view(-1)[self.columns] = logits

    def represent(self, z: Tensor) -> Tensor:
        """The hidden layers: `(batch, tasks, width) -> (tasks, batch, hidden)`."""
        return self.hidden(z.transpose(0, 1))

    def logits(self, hidden: Tensor) -> Tensor:
        """The last layer: `(tasks, batch, hidden) -> (batch, sum of outputs)`."""
        logits = self.last(hidden).transpose(0, 1).flatten(1)
        return logits.index_select(1, self.columns) if self.ragged else logits

    def forward(self, z: Tensor) -> Tensor:
        return self.logits(self.represent(z))
