"""Uncertainty weighting: every task has a learned variance that its loss is divided by.

    s_t = log sigma_t^2        c_t = 1/2 for regression, 1 for classification
    total = sum_t c_t exp(-s_t) L_t + s_t / 2        w_t = c_t exp(-s_t)

At its optimum sigma_t^2 = 2 c_t L_t, so the network follows the gradient of (1/2) sum_t log L_t.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fulcrum.features.tasks import TASKS
from fulcrum.models.agents.adam import Adam
from fulcrum.models.step import Step
from fulcrum.models.weightings.base import Setting, Weighting, WeightingConfig

BOUND = 10.0
"""|s| stays below: a loss near 0 would ask for an infinite weight."""


class UncertaintyConfig(WeightingConfig):
    """A learned variance per task."""

    source: ClassVar[str] = "Kendall, Gal and Cipolla, arXiv 1705.07115, CVPR 2018, equations 5-10"
    summary: ClassVar[str] = "each loss over a learned variance: small losses gain weight"

    method: Literal["uncertainty"] = "uncertainty"
    normalise: bool = False
    """The size of the weights is part of the method."""
    form: Literal["regression", "by_kind"] = "regression"
    """`regression` has c = 1/2 for all tasks, as in common use; `by_kind` has 1 for binary and
    multi-class tasks, as in the paper."""
    lr: float = Field(0.02, gt=0)
    """Of the variances' own Adam."""
    start: float = 0.0
    """Where every s begins."""

    def build(self, setting: Setting) -> "Uncertainty":
        return Uncertainty(self, setting)


class Uncertainty(Weighting):
    """Departure: s has an Adam of its own and sees the loss of the global batch in float64, so it
    needs no place in the network's optimizer; s is kept within ±10."""

    factor: Tensor

    def __init__(self, config: UncertaintyConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        halves = [config.form == "regression" or TASKS[t.kind].squared_error for t in setting.tasks]
        factor = torch.tensor([0.5 if half else 1.0 for half in halves], dtype=torch.float64)
        self.register_buffer("factor", factor, persistent=False)
        self.s = nn.Parameter(torch.full_like(factor, config.start))
        self.adam = Adam([self.s], config.lr)

    def weigh(self, step: Step) -> Tensor:
        weights = self.factor * (-self.s.detach()).exp()
        self.adam.step([0.5 - weights * step.losses], where=step.active)
        with torch.no_grad():
            self.s.clamp_(-BOUND, BOUND)
        return weights
