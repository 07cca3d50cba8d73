"""Attention among the members of a set through a few learned points: ISAB, Set Transformer (ICML
2019), equations 6, 7 and 9 with one head.

G  blocks    B  rows    n  members    m  inducing points    D  width

    MAB(Q, K) = norm(U + FFN(U)),  U = norm(Q + softmax(Q W_q (K W_k)^T / sqrt(D)) K W_v)
    H = MAB(P, X)              the points attend to the set
    O = MAB(X, H)              the set attends back: time and memory grow with n, not with n squared
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fulcrum.models.layers.stacked import StackedLinear


class InducedSetAttention(nn.Module):
    """G blocks over one set: `(B, n, D) -> (G, B, n, D)`. Moving members moves only their rows."""

    def __init__(self, blocks: int, points: int, dim: int) -> None:
        super().__init__()
        self.points = nn.Parameter(torch.randn(blocks, 1, points, dim))
        self.gather, self.spread = AttentionBlock(blocks, dim), AttentionBlock(blocks, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x[None]
        return self.spread(x, self.gather(self.points, x))


class AttentionBlock(nn.Module):
    """G blocks MAB: `(G or 1, B or 1, n, D), (G or 1, B, m, D) -> (G, B, n, D)`.

    The feed-forward network is twice as wide inside. A bias of keys would cancel in the softmax,
    one of queries or values adds nothing to what the norms and the network do: there is none.
    """

    def __init__(self, blocks: int, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (
            StackedLinear(blocks, dim, dim, bias=False) for _ in range(3)
        )
        self.widen = StackedLinear(blocks, dim, 2 * dim)
        self.narrow = StackedLinear(blocks, 2 * dim, dim)
        self.norms = nn.ModuleList(StackedNorm(blocks, dim) for _ in range(2))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        q, k, v = each(self.query, queries), each(self.key, keys), each(self.value, keys)
        weights = (q @ k.transpose(2, 3) * q.shape[3] ** -0.5).softmax(3)
        u = self.norms[0](queries + weights @ v)
        return self.norms[1](u + each(self.narrow, F.relu(each(self.widen, u))))


class StackedNorm(nn.Module):
    """G layer norms: `(G, B, n, D) -> (G, B, n, D)`."""

    def __init__(self, norms: int, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(norms, 1, 1, dim))
        self.shift = nn.Parameter(torch.zeros(norms, 1, 1, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * F.layer_norm(x, x.shape[3:]) + self.shift


def each(linear: StackedLinear, x: Tensor) -> Tensor:
    """Stacked layers on every member: `(G or 1, B, n, inputs) -> (G, B, n, outputs)`."""
    return linear(x.flatten(1, 2)).unflatten(1, (-1, x.shape[2]))
