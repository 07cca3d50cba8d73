"""ESMM: P(task) = P(given) · P(task | given), trained over the entire space.

a_t   own logit, of P(t | given)        s  logistic function
p, q  probability of the whole chain, and 1 - p

    log p_t = log p_given + log s(a_t)
    log q_t = log(q_given + p_given · s(-a_t))
    loss_t  = CE(label_t, p_t) over all rows

Chains of any depth. The label of a chained task is that of the whole chain: bought, not bought if
clicked. Probabilities stay in logarithms, and the result is the logit log p - log q of the whole
chain, so that a chained task is a binary task like any other. Nothing is ever subtracted from 1, so
loss and gradient are finite for any logits.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fulcrum.features.layout import TaskSpec
from fulcrum.models.chains.base import Chain, ChainConfig, depth
from fulcrum.models.objectives.binary import RATE_BOUND


class ESMMConfig(ChainConfig):
    """Products of conditional probabilities."""

    source: ClassVar[str] = "Ma et al., Entire Space Multi-Task Model, SIGIR 2018, equations 1-3"
    summary: ClassVar[str] = "P(buy) = P(click) · P(buy | click), learned from all impressions"

    kind: Literal["esmm"] = "esmm"

    def build(self, tasks: Sequence[TaskSpec], width: int, dropout: float) -> "ESMM":
        return ESMM(tasks)


class ESMM(Chain):
    """Own logits are conditional on the parent; log loss on the whole chain."""

    def rates(self) -> list[float]:
        rates = super().rates()
        return [
            rate
            if parent is None or task.rate is None
            else rate / max(self.tasks[parent].rate or 1.0, RATE_BOUND)
            for rate, task, parent in zip(rates, self.tasks, self.parents, strict=True)
        ]

    def joint(self, conditional: Tensor) -> Tensor:
        return joint_logits(conditional, self.parents)


def joint_logits(conditional: Tensor, parents: Sequence[int | None]) -> Tensor:
    """Own logits `(batch, tasks)` to the logits of each task's whole chain `(batch, tasks)`."""
    if all(parent is None for parent in parents):
        return conditional
    joint = list(conditional.unbind(1))
    log_p, log_q = (
        list(F.logsigmoid(conditional).unbind(1)),
        list(F.logsigmoid(-conditional).unbind(1)),
    )
    for t in sorted(range(len(parents)), key=lambda t: depth(t, parents)):
        parent = parents[t]
        if parent is not None:
            log_q[t] = torch.logaddexp(log_q[parent], log_p[parent] + log_q[t])
            log_p[t] = log_p[parent] + log_p[t]
            joint[t] = log_p[t] - log_q[t]
    return torch.stack(joint, 1)
