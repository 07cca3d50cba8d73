"""Gate neural unit of PEPNet (KDD 2023), equation 2: a small network whose outputs scale others.

    δ = 2 sigmoid(ReLU(x W + b) W' + b')

Gates lie between 0 and 2, and with W' = 0 and b' = 0 they are exactly 1. The factor 2 is the one
that did best in the paper.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from fulcrum.models.layers.stacked import StackedLinear


class GateNU(nn.Module):
    """N gates of one width over a common hidden layer: `(1 or N, batch, inputs) -> (N, batch,
    width)`."""

    def __init__(self, inputs: int, hidden: int, gates: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, hidden)
        self.last = StackedLinear(gates, hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.last(F.relu(self.hidden(x))).sigmoid()
