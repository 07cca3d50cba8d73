"""Rep-MTL: tasks shall care for different parts of the representation, and agree across rows.

z [B, F, D] the fields, each a location        S_t = dL_t / dz        S the mean of S_t over tasks

    P_bf,t = |mean over D of S_t| / sum over tasks        L_tsr = mean over b, f of - sum_t P log P
    M_bt   = S_t^T S_t of row b, anchor A_b = S^T S, both of length 1 as vectors of D x D
    L_csa  = mean over b, t of - log exp(A_b . M_bt / tau) / sum over k != b of exp(A_b . A_k / tau)
    total  = sum_t w_t L_t + tsr L_tsr + csa L_csa

Experimental: the paper is about images, its code is not public. tau and the mean over tasks are
decisions made here, as is the field for a location. Where towers scale what they send down, they
scale what the two terms send through them, too.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch import distributed as dist
from torch.nn import functional as F

from fulcrum.models.gramians.base import world
from fulcrum.models.layers.batch_norm import everywhere
from fulcrum.models.regularisers.base import Look, Regulariser, RegulariserConfig


class RepMTLConfig(RegulariserConfig):
    """Task saliency at the representation."""

    source: ClassVar[str] = "Rep-MTL, ICCV 2025, arXiv 2507.21049, sections 3.2-3.3"
    summary: ClassVar[str] = "tasks care for different fields and agree across rows; experimental"

    kind: Literal["rep_mtl"] = "rep_mtl"
    tsr: float = Field(0.7, ge=0)
    """Weight of the entropy of saliencies."""
    csa: float = Field(0.7, ge=0)
    """Weight of the alignment across tasks."""
    tau: float = Field(0.5, gt=0)
    """Temperature of the alignment."""
    rows: int = Field(256, ge=2)
    """Rows of a batch that are aligned, at most, of each process: the anchors are compared pair by
    pair."""

    def build(self) -> "RepMTL":
        return RepMTL(self)


class RepMTL(Regulariser):
    """Costs T backward passes to the fields and a second-order one through the dense part."""

    def __init__(self, config: RepMTLConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, look: Look) -> tuple[Tensor, Tensor]:
        saliency = torch.stack(
            [
                torch.autograd.grad(loss, look.fields, create_graph=True, materialize_grads=True)[0]
                for loss in look.losses
            ]
        )
        saliency = saliency.to(torch.promote_types(saliency.dtype, torch.float32))
        # Gradients shrink with the batch; both terms are scale-free, their roundings are not.
        saliency = saliency / saliency.detach().abs().mean().clamp(min=1e-30)
        extra = self.config.tsr * saliency_entropy(saliency)
        extra = extra + self.config.csa * alignment(saliency, self.config.tau, self.config.rows)
        return look.losses, extra


def saliency_entropy(saliency: Tensor) -> Tensor:
    """L_tsr `()` of saliencies `(T, B, F, D)`; log T where tasks care alike, 0 where each location
    belongs to one task. Locations that no task cares for count 0."""
    size = saliency.mean(3).abs()
    share = size / size.sum(0, keepdim=True).clamp(min=1e-12)
    return -torch.xlogy(share, share.clamp(min=1e-12)).sum(0).mean()


def alignment(saliency: Tensor, tau: float, rows: int) -> Tensor:
    """L_csa `()` of saliencies `(T, B, F, D)`, of the first `rows` of them, against those of all
    processes; 0 of a single row."""
    saliency = saliency[:, :rows]
    tasks = F.normalize((saliency.transpose(2, 3) @ saliency).flatten(2), dim=2, eps=1e-12)
    mean = saliency.mean(0)
    anchors = F.normalize((mean.transpose(1, 2) @ mean).flatten(1), dim=1, eps=1e-12)
    positive = (tasks * anchors).sum(2) / tau
    every, others = _of_all(anchors, rows)
    if len(every) < 2:
        return saliency.sum() * 0
    similar = (anchors @ every.T / tau).masked_fill(~others, -torch.inf)
    return (similar.logsumexp(1) - positive).mean()


def _of_all(anchors: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """The anchors `(N, n)` of all processes, which have `rows` each at most, and boolean
    `(own, N)` which of them are those of other rows."""
    if world() == 1:
        return anchors, ~torch.eye(len(anchors), dtype=torch.bool, device=anchors.device)
    first = dist.get_rank() * rows
    # Numbers of rows may differ by process, so every one has a place for as many as there may be.
    place = (0, 0, first, world() * rows - first - len(anchors))
    every = everywhere(F.pad(anchors, place))
    there = everywhere(F.pad(torch.ones_like(anchors[:, :1]), place))[:, 0] > 0
    number = torch.arange(len(every), device=every.device)
    return every, there & (number != number[first : first + len(anchors), None])
