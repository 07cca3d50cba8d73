"""AITM: what a tower knows of a step of the funnel is handed on to the next step's tower.

q_t   what tower t's hidden layers give, k units        z_t  what its last layer reads
g_t   linear layer, ReLU and dropout, one for each step from a parent to a task
h1, h2, h3   linear maps without bias, shared by all tasks and by both inputs

    z_t = q_t where nothing is given, else, with p = g_t(z_given),
    s_u = <h2(u), h3(u)> / √k  for u in {p, q_t};   w = softmax(s_p, s_q)
    z_t = w_p h1(p) + w_q h1(q_t)
    loss_t = CE(label_t, y_t) + alpha max(y_t - y_given, 0)

y_t is the probability of the task itself, from the impression, not of the task if its parent
happened: chains are not products here, and y_t > y_given is only discouraged. Where the paper has
one line of tasks, `given` may make a tree; tasks of equal depth are computed together.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fulcrum.features.layout import TaskSpec
from fulcrum.models.chains.base import Chain, ChainConfig, depth
from fulcrum.models.layers.stacked import StackedMLP


class AITMConfig(ChainConfig):
    """Information transfer between the towers of a funnel.

    Departures: no batch norm in g and in the towers, so that a row's score never depends on its
    batch; the calibrator is averaged over the rows where the later task is observed, and weighted
    with that task.
    """

    source: ClassVar[str] = (
        "Xi et al., Modeling the Sequential Dependence among Audience Multi-step Conversions, "
        "KDD 2021, equations 4-13"
    )
    summary: ClassVar[str] = (
        "each tower of a funnel hands its knowledge on to the next, by attention"
    )

    kind: Literal["aitm"] = "aitm"
    alpha: float = Field(0.6, ge=0)
    """Weight of the penalty on a task that is scored above its parent."""

    def build(self, tasks: Sequence[TaskSpec], width: int, dropout: float) -> "AITM":
        return AITM(self, tasks, width, dropout)


class AITM(Chain):
    """Own logits are those of the whole chain. Without chained tasks there is nothing to learn."""

    def __init__(
        self, config: AITMConfig, tasks: Sequence[TaskSpec], width: int, dropout: float
    ) -> None:
        super().__init__(tasks)
        self.alpha = config.alpha
        steps: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for t, parent in enumerate(self.parents):
            if parent is not None:
                steps[depth(t, self.parents)].append((t, parent))
        self.steps = [steps[d] for d in sorted(steps)]
        self.g = nn.ModuleList(
            StackedMLP(len(step), width, (width,), dropout) for step in self.steps
        )
        if self.steps:
            self.h = nn.Linear(width, 3 * width, bias=False)

    def transfer(self, hidden: Tensor, members: Sequence[int]) -> Tensor:
        if not self.steps:
            return hidden
        z = list(hidden.unbind(0))
        for g, step in zip(self.g, self.steps, strict=True):
            p = g(torch.stack([z[members[parent]] for _, parent in step]))
            q = torch.stack([z[members[t]] for t, _ in step])
            transfer, _ = self.attend(p, q)
            for (t, _), z_t in zip(step, transfer.unbind(0), strict=True):
                z[members[t]] = z_t
        return torch.stack(z)

    def attend(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """What was handed on and what is own, `(..., k)` each, to z `(..., k)` and the weights of
        both `(..., 2)`; never below float32 in the softmax."""
        h1, h2, h3 = self.h(torch.stack([p, q], -2)).chunk(3, -1)
        products = (h2 * h3).to(torch.promote_types(h2.dtype, torch.float32))
        w = (products.sum(-1) * h2.shape[-1] ** -0.5).softmax(-1)
        return (w.to(h1.dtype)[..., None] * h1).sum(-2), w

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        y = logits[:, :, 0].sigmoid()
        return super().loss(logits, labels) + self.alpha * F.relu(y - y[:, self.upper])
