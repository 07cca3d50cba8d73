"""Many small networks of one shape as one: linear layers and MLPs over a stacked dimension.

N  networks        S  sources (inputs shared by N / S consecutive networks)        B  rows
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class StackedLinear(nn.Module):
    """N linear layers at once: `(sources, rows, inputs) -> (N, rows, outputs)`.

    Consecutive layers share a source, N / S of them each: with one source all N run as a single
    wide matrix product, with N sources every layer reads its own. Initialised as `nn.Linear` is:
    weight and bias uniform in ±1/√inputs.
    """

    def __init__(self, layers: int, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        bound = inputs**-0.5 if inputs else 0.0
        self.weight = nn.Parameter(torch.empty(layers, outputs, inputs).uniform_(-bound, bound))
        self.bias = (
            nn.Parameter(torch.empty(layers, outputs).uniform_(-bound, bound)) if bias else None
        )

    def forward(self, x: Tensor) -> Tensor:
        sources, outputs = x.shape[0], self.weight.shape[1]
        weight = self.weight.reshape(sources, -1, x.shape[2])
        bias = None if self.bias is None else self.bias.reshape(sources, 1, -1)
        if sources == 1:
            flat = None if bias is None else bias.flatten()
            y = F.linear(x.squeeze(0), weight.squeeze(0), flat).unsqueeze(0)
        elif bias is None:
            y = torch.bmm(x, weight.transpose(1, 2))
        else:
            y = torch.baddbmm(bias, x, weight.transpose(1, 2))
        return y.unflatten(2, (-1, outputs)).transpose(1, 2).flatten(0, 1)


class StackedMLP(nn.Module):
    """N MLPs at once: `(sources, rows, inputs) -> (N, rows, hidden[-1])`.

    Every layer, the last one too, is followed by ReLU and dropout. With no hidden layer the input
    passes through.
    """

    def __init__(self, networks: int, inputs: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            StackedLinear(networks, i, o) for i, o in pairwise((inputs, *hidden))
        )
        self.dropout = nn.Dropout(dropout)
        self.width = (inputs, *hidden)[-1]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.dropout(F.relu(layer(x).contiguous(), inplace=True))
        return x
