"""IMTL-L: every loss has a learned scale that brings it to 1.

    total = sum_t exp(s_t) L_t - s_t        w_t = exp(s_t)

Stationary in s where exp(s_t) L_t = 1.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fulcrum.models.agents.adam import Adam
from fulcrum.models.step import Step
from fulcrum.models.weightings.base import Setting, Weighting, WeightingConfig

BOUND = 10.0
"""|s| stays below: a loss near 0 would ask for an infinite weight."""


class IMTLLConfig(WeightingConfig):
    """A learned scale per task."""

    source: ClassVar[str] = "Liu et al., Towards Impartial Multi-task Learning, ICLR 2021, IMTL-L"
    summary: ClassVar[str] = "learned scales that bring every loss to 1"

    method: Literal["imtl_l"] = "imtl_l"
    normalise: bool = False
    """The size of the weights is part of the method."""
    lr: float = Field(0.02, gt=0)
    """Of the scales' own Adam."""

    def build(self, setting: Setting) -> "IMTLL":
        return IMTLL(self, setting)


class IMTLL(Weighting):
    """Departure: s has an Adam of its own, outside the network's optimizer, and is kept within
    ±10."""

    def __init__(self, config: IMTLLConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.s = nn.Parameter(torch.zeros(len(self.names), dtype=torch.float64))
        self.adam = Adam([self.s], config.lr)

    def weigh(self, step: Step) -> Tensor:
        weights = self.s.detach().exp()
        self.adam.step([weights * step.losses - 1], where=step.active)
        with torch.no_grad():
            self.s.clamp_(-BOUND, BOUND)
        return weights
