"""Strictly increasing maps of numbers, as sums of increasing terms: one form for every calibration,
so that all tasks are put right in a few steps of the graph.

    z' = offset + lower · log s(z) - upper · log s(-z)
         + Σ_k slope_k · min(max(z - start_k, least_k), most_k)

s is the logistic function. Lower, upper and slopes are never negative, so no term falls, and in
floating point no sum of them does either.
"""

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Piece(NamedTuple):
    """What rises with `slope` from `start + least` to `start + most`, and is flat elsewhere."""

    slope: float
    start: float = 0.0
    least: float = -inf
    most: float = inf


class Terms(NamedTuple):
    """The terms of one map."""

    offset: float = 0.0
    lower: float = 0.0
    """Slope of the first curve towards minus infinity."""
    upper: float = 0.0
    """Slope of the second curve towards infinity."""
    pieces: tuple[Piece, ...] = ()

    @property
    def steepest(self) -> float:
        """The largest slope: of the curves, which lie between theirs, and of the pieces, no two of
        which rise at one place."""
        return max([self.lower, self.upper, *(piece.slope for piece in self.pieces)])


IDENTITY = Terms(pieces=(Piece(1.0),))
"""Gives each number back, bit for bit."""


class Increasing(nn.Module):
    """n maps at once, `(batch, n) -> (batch, n)`. Nothing in it is learned by gradients, and none
    of it is among the weights."""

    offset: Tensor
    lower: Tensor
    upper: Tensor
    pieces: Tensor
    """`(4, n, most pieces of a map)`: the fields of `Piece`."""

    def __init__(self, maps: Sequence[Terms]) -> None:
        super().__init__()
        width = max(len(terms.pieces) for terms in maps)
        flat = Piece(0.0, least=0.0, most=0.0)
        pieces = [[*terms.pieces, *[flat] * (width - len(terms.pieces))] for terms in maps]
        for name in ("offset", "lower", "upper"):
            numbers = torch.tensor([getattr(terms, name) for terms in maps])
            self.register_buffer(name, numbers, persistent=False)
        numbers = torch.tensor(pieces, dtype=torch.float32).view(len(maps), width, 4)
        self.register_buffer("pieces", numbers.permute(2, 0, 1), persistent=False)
        self.curved = any(terms.lower or terms.upper for terms in maps)

    def forward(self, z: Tensor) -> Tensor:
        out = self.offset
        if self.pieces.numel():
            slope, start, least, most = self.pieces.unbind(0)
            steps = (z[:, :, None] - start).maximum(least).minimum(most)
            out = out + (slope * steps).sum(2)
        if self.curved:
            out = out + self.lower * F.logsigmoid(z) - self.upper * F.logsigmoid(-z)
        return out
