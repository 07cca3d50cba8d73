"""Squeeze and excitation: a weight per field, from what all the fields say in short.

    s = mean of each field over its width                 squeeze
    w = 2 sigmoid(W2 relu(W1 s))                          excitation

FiBiNET (RecSys 2019), equations 1 to 4, with the last activation of SENet (CVPR 2018). Departure:
it is doubled, so that with W2 = 0 every weight is 1 and nothing changes.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from fulcrum.models.layers.stacked import StackedLinear


class SENet(nn.Module):
    """N networks over fields of their own: `(N, batch, fields, width) -> (N, batch, fields)`,
    weights between 0 and 2."""

    def __init__(self, networks: int, fields: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, fields // reduction)
        self.reduce = StackedLinear(networks, fields, hidden, bias=False)
        self.excite = StackedLinear(networks, hidden, fields, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        return 2 * self.excite(F.relu(self.reduce(z.mean(3)))).sigmoid()
