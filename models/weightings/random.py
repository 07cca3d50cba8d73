"""Random loss weighting: new weights at every step.

    u ~ N(0, I)        w = T softmax(u)

The control of every method that moves weights: if it does not beat this, its weights say nothing.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from models.step import Step
from models.weightings.base import Setting, Weighting, WeightingConfig


class RandomConfig(WeightingConfig):
    """Weights drawn anew at every step."""

    source: ClassVar[str] = "Lin et al., Random Loss Weighting, TMLR 2022, arXiv 2111.10603"
    summary: ClassVar[str] = "drawn anew at every step: the control of moving weights"

    method: Literal["random"] = "random"

    def build(self, setting: Setting) -> "Random":
        return Random(self, setting)


class Random(Weighting):
    """The mean weight of each task is 1."""

    def weigh(self, step: Step) -> Tensor:
        draws = torch.randn(len(self.names), generator=self.random(), dtype=torch.float64)
        return len(draws) * draws.softmax(0)
