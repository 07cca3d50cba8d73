"""Smooth Tchebycheff: a soft maximum of the losses, so that the worst task counts most.

    total = mu log sum_t exp(L_t / (T mu))        w = softmax(L / (T mu)) / T

mu -> 0: the worst task alone; mu -> infinity: the mean. Weights are published with sum T.
"""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from fulcrum.models.step import Step
from fulcrum.models.weightings.base import Setting, Weighting, WeightingConfig


class STCHConfig(WeightingConfig):
    """How soft the maximum is."""

    source: ClassVar[str] = "Lin et al., arXiv 2402.19078, ICML 2024"
    summary: ClassVar[str] = "soft maximum of the losses: the worst task counts most"

    method: Literal["stch"] = "stch"
    mu: float = Field(1.0, gt=0)
    """Lower is closer to the maximum."""

    def build(self, setting: Setting) -> "STCH":
        return STCH(self, setting)


class STCH(Weighting):
    """Departure: the preference is uniform and the ideal point 0, which no loss of ours can
    pass."""

    def __init__(self, config: STCHConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.mu = config.mu

    def weigh(self, step: Step) -> Tensor:
        tasks = len(self.names)
        return (step.losses / (tasks * self.mu)).softmax(0) / tasks
