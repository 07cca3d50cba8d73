"""Many small networks of one shape as one: linear layers and MLPs over a stacked dimension.

N  networks        S  sources (inputs shared by consecutive networks)        B  rows
"""

from collections.abc import Sequence
from itertools import groupby, pairwise

import torch
from torch import Tensor, nn

from fulcrum.models.layers.linear_relu import linear

ALL = slice(None)
"""All networks of a stack; other slices compute some of them."""


class StackedLinear(nn.Module):
    """N linear layers at once: `(sources, rows, inputs) -> (N, rows, outputs)`.

    Consecutive layers share a source: `counts` says how many read each, N / S of them when it is
    left out. With one source all N run as a single wide matrix product, with N sources every layer
    reads its own; sources of equal count run together. Of some `networks` alone, all sources are
    read by as many. Initialised as `nn.Linear` is: weight and bias uniform in ±1/√inputs.
    """

    def __init__(
        self,
        layers: int,
        inputs: int,
        outputs: int,
        bias: bool = True,
        counts: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        bound = inputs**-0.5 if inputs else 0.0
        self.weight = nn.Parameter(torch.empty(layers, outputs, inputs).uniform_(-bound, bound))
        self.bias = (
            nn.Parameter(torch.empty(layers, outputs).uniform_(-bound, bound)) if bias else None
        )
        self.runs = _runs(counts) if counts is not None and len(set(counts)) > 1 else None

    def forward(self, x: Tensor, networks: slice = ALL, relu: bool = False) -> Tensor:
        """Only the slice `networks` of them; with `relu`, max(y, 0)."""
        if self.runs is None or networks != ALL:
            return self._stack(x, networks, relu)
        return torch.cat([self._stack(x[s], n, relu) for s, n in self.runs])

    def _stack(self, x: Tensor, networks: slice, relu: bool) -> Tensor:
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        if networks != ALL:  # even a slice of everything has a backward pass, which copies
            weight, bias = weight[networks], None if bias is None else bias[networks]
        sources = len(x)
        bias = None if bias is None else bias.reshape(sources, 1, -1)
        return linear(x, weight.reshape(sources, -1, x.shape[2]), bias, len(weight), relu)


def _runs(counts: Sequence[int]) -> list[tuple[slice, slice]]:
    """Neighbouring sources of equal count, with the layers that read them."""
    runs, source, layer = [], 0, 0
    for count, group in groupby(counts):
        sources = len(list(group))
        if count:
            layers = slice(layer, layer + sources * count)
            runs.append((slice(source, source + sources), layers))
        source, layer = source + sources, layer + sources * count
    return runs


class StackedMLP(nn.Module):
    """N MLPs at once: `(sources, rows, inputs) -> (N, rows, hidden[-1])`.

    Every layer, the last one too, is followed by ReLU and dropout. With no hidden layer the input
    passes through. `counts` and `networks` are those of `StackedLinear`.
    """

    def __init__(
        self,
        networks: int,
        inputs: int,
        hidden: Sequence[int],
        dropout: float,
        counts: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        sizes = pairwise((inputs, *hidden))
        self.layers = nn.ModuleList(
            StackedLinear(networks, i, o, counts=None if layer else counts)
            for layer, (i, o) in enumerate(sizes)
        )
        self.dropout = nn.Dropout(dropout)
        self.width = (inputs, *hidden)[-1]

    def forward(self, x: Tensor, networks: slice = ALL) -> Tensor:
        for layer in self.layers:
            x = self.dropout(layer(x, networks, relu=True))
        return x
