"""Smooth Tchebycheff: a soft maximum of the losses, so that the worst task counts most.

l_t = L_t / mean of L_t over its first N steps

    total = mu log sum_t exp(l_t / (T mu))        w_t = softmax(l / (T mu))_t / (T mean L_t)

mu -> 0: the worst task alone; mu -> infinity: every loss over its early level, alike. The worst
task is the one that has fallen least, not the one whose loss has the largest unit. Weights are
published with sum T.
"""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from fulcrum.models.step import Step
from fulcrum.models.weightings.base import Setting, Weighting, WeightingConfig
from fulcrum.models.weightings.level import Level


class STCHConfig(WeightingConfig):
    """How soft the maximum is, and of what."""

    source: ClassVar[str] = "Lin et al., arXiv 2402.19078, ICML 2024"
    summary: ClassVar[str] = "soft maximum of the losses: the task that fell least counts most"

    method: Literal["stch"] = "stch"
    mu: float = Field(1.0, gt=0)
    """Lower is closer to the maximum."""
    window: int = Field(100, ge=1)
    """N: steps of a task that its level is a mean over."""

    def build(self, setting: Setting) -> "STCH":
        return STCH(self, setting)


class STCH(Weighting):
    """Departures: the preference is uniform and the ideal point 0, which no loss of ours can pass.
    The paper takes losses as they are; that they are divided by a level of the warm-up is of public
    code (LibMTL), which takes the logarithm, too, and warms up for four epochs. In the first N
    steps of a task its level is the mean so far; then it stays."""

    def __init__(self, config: STCHConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.mu, self.level = config.mu, Level(len(self.names), config.window)

    def weigh(self, step: Step) -> Tensor:
        self.level.add(step)
        tasks = len(self.names)
        shares = (self.level.divide(step.losses) / (tasks * self.mu)).softmax(0) / tasks
        return self.level.divide(shares)
