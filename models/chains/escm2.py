"""ESCM²: ESMM, and a debiased loss of the conditional probability.

o    label of the parent        ô  its probability as predicted, no gradient        z  the label
e    CE(z, s(a)) of the own logit a, that of P(task | given)
ê    error imputed by the tower's second output, softplus, so never negative
w    min(o / max(ô, 1e-6), w_max)

    IPS    R = w e
    DR     R = ê + w (e - ê) + w (sg(e) - ê)²        (error and imputation; sg: no gradient)
    loss of a chained task = λ_g CE(z, P(given) · P(task | given)) + λ_c R

Row by row, so R is averaged over the rows where the task is observed. Of rows without o only ê is
read: there z says nothing of the conditional probability.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fulcrum.features.layout import TaskSpec
from fulcrum.models.chains.base import ChainConfig
from fulcrum.models.chains.esmm import ESMM

SMALLEST_PROPENSITY = 1e-6
"""Keeps w finite where ô is 0 in float32, for any cap."""


class ESCM2Config(ChainConfig):
    """ESMM with a counterfactual loss of the conditional probability.

    Departures: the weight itself is capped, where public code caps it before scaling by the batch;
    ê is not bounded by 1, as log loss is not; it shares the hidden layers of its task's tower; the
    imputation follows e and never pulls it, which would pull P(task | given) to a half.
    UNVERIFIED: the defaults are those of one of two public codes, which differ.
    """

    source: ClassVar[str] = (
        "Wang et al., Entire Space Counterfactual Multi-Task Model, SIGIR 2022; equations as two "
        "public codes have them"
    )
    summary: ClassVar[str] = (
        "ESMM, and P(buy | click) from clicks weighted by 1 / P(click) or doubly robust"
    )

    kind: Literal["escm2"] = "escm2"
    estimator: Literal["ips", "dr"] = "dr"
    """`ips` weights the rows where the parent happened; `dr` also imputes the loss elsewhere."""
    lambda_c: float = Field(0.1, ge=0)
    """Weight of the counterfactual loss R; with 0 it is ESMM."""
    lambda_g: float = Field(1.0, ge=0)
    """Weight of the loss over the entire space."""
    max_weight: float = Field(15.0, ge=1)
    """Cap w_max on the inverse propensity of a row."""

    def build(self, tasks: Sequence[TaskSpec], width: int, dropout: float) -> "ESCM2":
        return ESCM2(self, tasks)


class ESCM2(ESMM):
    """With `dr`, the second logit of a task is that of ê; tasks without a parent leave it alone."""

    def __init__(self, config: ESCM2Config, tasks: Sequence[TaskSpec]) -> None:
        super().__init__(tasks)
        self.config = config

    @property
    def outputs(self) -> int:
        return 2 if self.config.estimator == "dr" else 1

    def start(self) -> Tensor:
        """ê starts at ln 2, the loss of a coin."""
        return F.pad(super().start(), (0, self.outputs - 1))

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        conditional, entire = logits[:, :, 0], self.error(logits, labels)
        e = F.binary_cross_entropy_with_logits(conditional, labels, reduction="none")
        w = self.weights(self.score(logits)[:, self.upper, 0], labels[:, self.upper])
        risk = w * e
        if self.config.estimator == "dr":
            imputed = F.softplus(logits[:, :, 1])
            risk = imputed + w * (e - imputed) + w * (e.detach() - imputed) ** 2
        loss = self.config.lambda_g * entire + self.config.lambda_c * risk
        return torch.where(self.chained, loss, entire)

    def weights(self, propensity: Tensor, happened: Tensor) -> Tensor:
        """Capped inverse propensity of the rows where the parent happened, 0 elsewhere."""
        inverse = happened / propensity.detach().clamp(min=SMALLEST_PROPENSITY)
        return inverse.clamp(max=self.config.max_weight)
