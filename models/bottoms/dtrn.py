"""DTRN: every task reads histories with an interest of its own, then weighs the fields for itself.

B  rows    T  tasks    k  a history (behaviour type) of L events    A  attributes of a history
D  width of a field    W = A · D  width of an event    n  fields of a task

TIM, the interests. The layer norms of one Transformer block are conditional (CLN): a hypernetwork
gives their scale and shift for task t and behaviour k, all other weights are shared by the tasks.

    gamma_1, beta_1, gamma_2, beta_2 = (1, 0, 1, 0) + hypernetwork([p_t ; q_k])
    U = gamma_1 · norm(S_k + MHSA(S_k + position)) + beta_1
    V = gamma_2 · norm(U + FFN(U)) + beta_2
    I_tk = mean of V over the events there are

TRM, the refinement: one SENet per task over the fields and the interests.

    Z_t = fields and I_t1 ... I_tK side by side
    X_t = SENet_t(Z_t) · Z_t
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fulcrum.features.layout import Layout, SequenceInput
from fulcrum.models.bottoms.base import Bottom, BottomConfig
from fulcrum.models.embedding.fields import Fields, by_history, events
from fulcrum.models.embedding.vectors import INITIAL, Vectors, mean_of_present
from fulcrum.models.layers.fusion import HIDDEN
from fulcrum.models.layers.squeeze import SENet


class DTRNConfig(BottomConfig):
    """Interests and field weights per task."""

    source: ClassVar[str] = (
        "Liu et al., Deep Task-specific Bottom Representation Network, CIKM 2023, TIM and TRM"
    )
    summary: ClassVar[str] = (
        "per task: histories read by a Transformer with layer norms of the task's, fields weighed"
    )

    kind: Literal["dtrn"] = "dtrn"
    condition: int = Field(16, ge=1)
    """Width of the embeddings of tasks and behaviours, which steer the layer norms."""
    reduction: int = Field(3, ge=1)
    """Fields per hidden unit of each task's SENet."""

    def build(self, layout: Layout, dim: int, copies: int, attention: bool) -> "DTRN":
        return DTRN(self, layout, dim)


class DTRN(Bottom):
    """The fields that are no histories are the same for all tasks until TRM weighs them."""

    def __init__(self, config: DTRNConfig, layout: Layout, dim: int) -> None:
        super().__init__()
        self.tasks, histories = len(layout.tasks), by_history(layout)
        self.fields = Fields(layout, dim, 1, attention=False, histories=False)
        self.interests = (
            Interests(histories, self.tasks, dim, config.condition) if histories else None
        )
        self.names = (*self.fields.names, *(s.name for history in histories for s in history))
        self.refinement = SENet(self.tasks, len(self.names), config.reduction)

    def forward(self, vectors: Vectors, dense: Tensor) -> Tensor:
        z = []
        if self.fields.names:
            z.append(self.fields(vectors, dense)[:, None].expand(-1, self.tasks, -1, -1))
        if self.interests is not None:
            z.append(self.interests(vectors))
        Z = torch.cat(z, 2)
        weights = self.refinement(Z.transpose(0, 1)).transpose(0, 1)
        return (weights[..., None] * Z).flatten(1, 2)


class Interests(nn.Module):
    """TIM: `Vectors -> (B, T, sum of A, D)`, one field per attribute of each history.

    The hypernetwork has one hidden layer, as wide as its input. The paper's histories are all alike
    and share a Transformer; these differ in width and length, so each has its own, and with it its
    own output layer of the hypernetwork.
    """

    def __init__(
        self, histories: list[list[SequenceInput]], tasks: int, dim: int, condition: int
    ) -> None:
        super().__init__()
        self.histories, self.dim = histories, dim
        self.task = nn.Parameter(torch.randn(tasks, condition))
        self.behaviour = nn.Parameter(torch.randn(len(histories), condition))
        self.hidden = nn.Linear(2 * condition, 2 * condition)
        self.transformers = nn.ModuleList(
            ConditionalTransformer(h[0].max_length, len(h), dim, 2 * condition) for h in histories
        )

    def conditions(self) -> Tensor:
        """The hypernetwork's hidden layer for every history and task: `(K, T, hidden)`."""
        p = self.task.expand(len(self.behaviour), -1, -1)
        q = self.behaviour[:, None].expand(-1, len(self.task), -1)
        return F.relu(self.hidden(torch.cat([p, q], 2)))

    def forward(self, vectors: Vectors) -> Tensor:
        interests = []
        for history, transformer, condition in zip(
            self.histories, self.transformers, self.conditions(), strict=True
        ):
            past, present = events(history, vectors)
            interests.append(transformer(past.squeeze(1), present, condition))
        return torch.cat(interests, 2).unflatten(2, (-1, self.dim))


class ConditionalTransformer(nn.Module):
    """One post-norm block over one history, for all tasks: `(B, L, W), (B, L), (T, condition) ->
    (B, T, W)`.

    What precedes the first scale depends on no task, so attention runs once, not once per task. The
    last scale and shift follow the mean, with which they commute; an empty history gives zero.
    A head per attribute; positions are learned and count from the newest event; the feed-forward
    network is twice as wide inside. Departure: a mean over events, not attention by the candidate.
    """

    def __init__(self, length: int, heads: int, dim: int, condition: int) -> None:
        super().__init__()
        width = heads * dim
        self.heads = heads
        self.position = nn.Parameter(torch.empty(length, width).uniform_(-INITIAL, INITIAL))
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.join = nn.Linear(width, width)
        self.feedforward = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )
        self.norms = nn.Linear(condition, 4 * width)
        """The hypernetwork's output layer."""

    def forward(self, past: Tensor, present: Tensor, condition: Tensor) -> Tensor:
        scale_1, shift_1, scale_2, shift_2 = self.norms(condition).chunk(4, 1)
        n = normalised(past + self.attend(past, present))
        u = (1 + scale_1[:, None]) * n[:, None] + shift_1[:, None]
        mean = mean_of_present(normalised(u + self.feedforward(u)), present)
        return ((1 + scale_2) * mean + shift_2) * present.any(1)[:, None, None]

    def attend(self, past: Tensor, present: Tensor) -> Tensor:
        """Every event looks at every event there is: `(B, L, W) -> (B, L, W)`."""
        places = torch.arange(len(self.position), device=past.device)
        newer = (present.sum(1, keepdim=True) - 1 - places).clamp(min=0)
        heads = self.project(past + self.position[newer]).unflatten(2, (3 * self.heads, -1))
        q, k, v = heads.transpose(1, 2).chunk(3, 1)
        scores = q @ k.transpose(2, 3) * q.shape[3] ** -0.5
        weights = scores.masked_fill(~present[:, None, None], HIDDEN).softmax(3)
        return self.join((weights @ v).transpose(1, 2).flatten(2))


def normalised(x: Tensor) -> Tensor:
    """Layer norm without scale and shift."""
    return F.layer_norm(x, x.shape[-1:])
