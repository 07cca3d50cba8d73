"""APEM: groups of set attention find patterns among the fields, each task picks its own mixture.

B  rows    T  tasks    F  fields    G  groups    D  width of a field

DeepAuto group Transformer

    O_g = ISAB_g(X)                X: fields, each plus an embedding of which field it is
    a = SENet(O),  P_g = a_g O_g   a: a weight per group; P: patterns (B, G · F, D)

Pattern selector, with an adaptive indicator per task

    q_t = e_t + MLP_t(mean of P)
    alpha_t = softmax(q_t W_q (P W_k)^T / sqrt(D))
    z_t = sum_j alpha_tj P_j W_v

A task's fields are `pattern`, z_t, and `mean`, the mean of X.

The paper's text was not at hand: the parts are those that its abstract names, how they are joined
is a reconstruction. Set attention is taken to be that of the Set Transformer, a group to be a block
of it with one head, and squeeze and excitation to weigh groups.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from features.layout import Layout
from models.bottoms.base import Bottom, BottomConfig
from models.fields import Fields
from models.layers import StackedLinear
from models.senet import SENet
from models.set_attention import InducedSetAttention
from models.tables import INITIAL, Vectors


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
    points: int = Field(8, ge=1)
    """Inducing points of each group."""
    reduction: int = Field(2, ge=1)
    """Groups per hidden unit of the SENet that weighs them."""

    def build(self, layout: Layout, dim: int, copies: int, attention: bool) -> "APEM":
        return APEM(self, layout, dim, attention)


class APEM(Bottom):
    """Two fields per task, whatever the number of inputs."""

    names = ("pattern", "mean")

    def __init__(self, config: APEMConfig, layout: Layout, dim: int, attention: bool) -> None:
        super().__init__()
        self.fields = Fields(layout, dim, 1, attention)
        fields, tasks = len(self.fields.names), len(layout.tasks)
        self.which = nn.Parameter(torch.empty(fields, dim).uniform_(-INITIAL, INITIAL))
        self.groups = InducedSetAttention(config.groups, config.points, dim)
        self.excitation = SENet(1, config.groups, config.reduction)
        self.selector = Selector(tasks, dim)

    def forward(self, vectors: Vectors, dense: Tensor) -> Tensor:
        x = self.fields(vectors, dense) + self.which
        z = self.selector(self.patterns(x))
        return torch.stack([z, x.mean(1, keepdim=True).expand_as(z)], 2).flatten(1, 2)

    def patterns(self, x: Tensor) -> Tensor:
        """`(B, F, D) -> (B, G · F, D)`, group-major."""
        o = self.groups(x).transpose(0, 1)
        weights = self.excitation(o.flatten(2)[None]).squeeze(0)
        return (weights[..., None, None] * o).flatten(1, 2)


class Selector(nn.Module):
    """Each task attends to the patterns: `(B, n, D) -> (B, T, D)`.

    The query has no bias, so that an indicator of zero is uniform attention. MLP_t has one hidden
    layer of width D.
    """

    def __init__(self, tasks: int, dim: int) -> None:
        super().__init__()
        self.indicator = nn.Parameter(torch.randn(tasks, 1, dim))
        self.hidden, self.adapt = (StackedLinear(tasks, dim, dim) for _ in range(2))
        self.query, self.key, self.value = (nn.Linear(dim, dim, bias=False) for _ in range(3))

    def forward(self, patterns: Tensor) -> Tensor:
        return self.value(self.weights(patterns) @ patterns)

    def weights(self, patterns: Tensor) -> Tensor:
        """alpha: `(B, n, D) -> (B, T, n)`, each row summing to 1."""
        q = self.indicators(patterns.mean(1))
        scores = self.query(q) @ self.key(patterns).transpose(1, 2)
        return (scores * q.shape[2] ** -0.5).softmax(2)

    def indicators(self, mean: Tensor) -> Tensor:
        """q: `(B, D) -> (B, T, D)`."""
        adaptive = self.adapt(F.relu(self.hidden(mean[None])))
        return (self.indicator + adaptive).transpose(0, 1)
