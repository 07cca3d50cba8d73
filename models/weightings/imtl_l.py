"""IMTL-L: every loss has a learned scale, so that all scaled losses become 1.

total = sum_t exp(s_t) L_t - s_t        w_t = exp(s_t)
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from models.adam import Adam
from models.step import Step
from models.weightings.base import Setting, Weighting, WeightingConfig

BOUND = 10.0
"""|s| stays below."""


class IMTLLConfig(WeightingConfig):
    """A learned scale per loss."""

    source: ClassVar[str] = "Liu et al., Impartial Multi-task Learning, ICLR 2021, section 3"
    summary: ClassVar[str] = "a learned scale that brings every loss to 1"

    method: Literal["imtl_l"] = "imtl_l"
    normalise: bool = False
    """The size of the weights is part of the method."""
    lr: float = Field(0.02, gt=0)
    """Of the scales' own Adam."""

    def build(self, setting: Setting) -> "IMTLL":
        return IMTLL(self, setting)


class IMTLL(Weighting):
    """Departure: s has an Adam of its own, and stays within ±10."""

    def __init__(self, config: IMTLLConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.s = nn.Parameter(torch.zeros(len(self.names), dtype=torch.float64))
        self.adam = Adam([self.s], config.lr)

    def weigh(self, step: Step) -> Tensor:
        before = self.s.detach().clone()
        weights = before.exp()
        self.adam.step([torch.where(step.active, weights * step.losses - 1, 0.0)])
        with torch.no_grad():
            self.s.copy_(torch.where(step.active, self.s.clamp(-BOUND, BOUND), before))
        return weights
