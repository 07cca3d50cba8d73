"""MLPs whose output is normalised before its activation, many at once."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from fulcrum.models.layers.batch_norm import StackedBatchNorm
from fulcrum.models.layers.stacked import ALL, StackedLinear

Activation = Literal["swish", "relu"]

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {"swish": F.silu, "relu": F.relu}


class NormalisedMLP(nn.Module):
    """N MLPs at once: `(sources, rows, inputs) -> (N, rows, hidden[-1])`.

        Exp(x) = Swish(BN(W h + b))        h: the hidden layers before, each Swish(W h + b)

    Where the last layer is normalised it has no b: beta of the norm takes its place. Dropout
    follows every activation. With `relu` and without the norm it is `StackedMLP`. `counts` and
    `networks` are those of `StackedLinear`.
    """

    def __init__(
        self,
        networks: int,
        inputs: int,
        hidden: Sequence[int],
        dropout: float,
        counts: Sequence[int] | None = None,
        activation: Activation = "swish",
        normalise: bool = True,
    ) -> None:
        super().__init__()
        sizes = list(pairwise((inputs, *hidden)))
        last = len(sizes) - 1
        self.layers = nn.ModuleList(
            StackedLinear(networks, i, o, place < last or not normalise, None if place else counts)
            for place, (i, o) in enumerate(sizes)
        )
        self.width = hidden[-1]
        self.norm = StackedBatchNorm(networks, self.width) if normalise else None
        self.activation = ACTIVATIONS[activation]
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, networks: slice = ALL) -> Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            x = self.dropout(self.activation(layer(x, networks)))
        x = last(x, networks)
        if self.norm is not None:
            x = self.norm(x, networks)
        return self.dropout(self.activation(x))
