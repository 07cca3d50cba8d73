"""APEM: groups of set attention find patterns among the fields, each task picks its own mixture.

B  rows    T  tasks    F  fields    G  groups    K  picks    D  width of a field

DeepAuto group Transformer

    X = fields + an embedding of which field it is
    O_g = ISAB_g(X)                a block of set attention, one head
    a = SENet(O),  P_g = X + a_g O_g   a weight per unit of each group; patterns P (B, G, F, D)

Pattern selector, with an adaptive indicator per task

    q_tk = e_tk + MLP_t(mean of P)
    alpha_tkg = softmax(q_tk W_q (P_g W_k)^T / sqrt(D))
    z_tkg = sum_j alpha_tkgj P_gj W_v

A task's fields are its z_tkg, K of each group, and the mean of its inputs' fields: (K G + 1) D
numbers.

The paper's text was not at hand: the parts are those that its abstract names, how they are joined
is a reconstruction. Set attention is taken to be that of the Set Transformer, and squeeze and
excitation to weigh the units of every group by their means over fields: a mean over units would be
0, behind a norm. Patterns are added to the fields: without, rare tasks learned little on real logs.
Each group gives K fields, since one for all groups was found too narrow to learn from. The abstract
does not say how many indicators a task has. With one, a trunk reads G + 1 fields, however many the
inputs have, so K declares how much comes through, as the seeds of the Set Transformer's pooling do.
Embeddings of fields start at the scale of the norms, far above that of the tables: a row of a table
that was never trained then says little, behind a norm too.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fulcrum.features.layout import Layout
from fulcrum.models.bottoms.base import Bottom, BottomConfig
from fulcrum.models.embedding.fields import Fields
from fulcrum.models.embedding.vectors import Vectors
from fulcrum.models.layers.set_attention import InducedSetAttention
from fulcrum.models.layers.squeeze import SENet
from fulcrum.models.layers.stacked import StackedLinear


class APEMConfig(BottomConfig):
    """Patterns of fields, picked per task."""

    source: ClassVar[str] = (
        "Tao et al., Adaptive Pattern Extraction Multi-Task Learning, arXiv 2301.02494, 2023; "
        "reconstructed from its abstract"
    )
    summary: ClassVar[str] = (
        "per task: an indicator that adapts to the row picks among patterns of the fields"
    )

    kind: Literal["apem"] = "apem"
    groups: int = Field(4, ge=1)
    """Groups G of set attention."""
    picks: int = Field(1, ge=1)
    """Indicators K of each task: mixtures that it picks of the patterns of each group."""
    points: int = Field(8, ge=1)
    """Inducing points of each group."""
    reduction: int = Field(2, ge=1)
    """Units of all groups per hidden unit of the SENet that weighs them."""

    def build(self, layout: Layout, dim: int, copies: int, attention: bool) -> "APEM":
        return APEM(self, layout, dim, attention)


class APEM(Bottom):
    """K fields per group and one more for each task, whatever the number of inputs."""

    def __init__(self, config: APEMConfig, layout: Layout, dim: int, attention: bool) -> None:
        super().__init__()
        self.fields = Fields(layout, dim, 1, attention)
        fields, tasks = len(self.fields.names), len(layout.tasks)
        fields_of_task = range(config.picks * config.groups)
        self.names = (*(f"pattern.{number}" for number in fields_of_task), "mean")
        self.which = nn.Parameter(torch.randn(fields, dim))
        self.groups = InducedSetAttention(config.groups, config.points, dim)
        self.excitation = SENet(1, config.groups * dim, config.reduction)
        self.selector = Selector(tasks, config.picks, dim)

    def forward(self, vectors: Vectors, dense: Tensor) -> Tensor:
        fields = self.fields(vectors, dense)
        z = self.selector(self.patterns(fields + self.which))
        mean = fields.mean(1)[:, None, None].expand(-1, z.shape[1], -1, -1)
        return torch.cat([z, mean], 2).flatten(1, 2)

    def patterns(self, x: Tensor) -> Tensor:
        """`(B, F, D) -> (B, G, F, D)`."""
        o = self.groups(x).transpose(0, 1)
        units = o.transpose(2, 3).flatten(1, 2)
        weights = self.excitation(units[None]).squeeze(0)
        return x[:, None] + weights.unflatten(1, o.shape[1::2])[:, :, None] * o


class Selector(nn.Module):
    """Each task attends to the patterns of every group: `(B, G, F, D) -> (B, T, K G, D)`.

    The query has no bias, so that an indicator of zero is uniform attention. MLP_t has one hidden
    layer of width D.
    """

    def __init__(self, tasks: int, picks: int, dim: int) -> None:
        super().__init__()
        self.indicator = nn.Parameter(torch.randn(tasks, picks, dim))
        self.hidden, self.adapt = (StackedLinear(tasks, dim, dim) for _ in range(2))
        self.query, self.key, self.value = (nn.Linear(dim, dim, bias=False) for _ in range(3))

    def forward(self, patterns: Tensor) -> Tensor:
        z = self.value(self.weights(patterns) @ patterns).transpose(1, 2)
        return z.unflatten(1, self.indicator.shape[:2]).flatten(2, 3)

    def weights(self, patterns: Tensor) -> Tensor:
        """alpha: `(B, G, F, D) -> (B, G, T K, F)`, each row summing to 1."""
        q = self.query(self.indicators(patterns.mean((1, 2))))
        return (q[:, None] @ self.key(patterns).transpose(2, 3) * q.shape[2] ** -0.5).softmax(3)

    def indicators(self, mean: Tensor) -> Tensor:
        """q: `(B, D) -> (B, T K, D)`."""
        adaptive = self.adapt(F.relu(self.hidden(mean[None]))).transpose(0, 1)
        return (self.indicator + adaptive[:, :, None]).flatten(1, 2)
