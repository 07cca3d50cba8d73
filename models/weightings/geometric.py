"""Geometric loss: the network follows the geometric mean of the losses.

total = (prod_t L_t)^(1/T)        w_t = d total / d L_t = total / (T L_t)
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from fulcrum.models.step import Step
from fulcrum.models.weightings.base import Setting, Weighting, WeightingConfig

SMALLEST = 1e-8
"""A smaller loss counts as this: its weight would be no number."""


class GeometricConfig(WeightingConfig):
    """Nothing to set. No loss of ours is negative, so the mean always exists."""

    source: ClassVar[str] = "Chennupati et al., MultiNet++, arXiv 1904.08492, CVPRW 2019"
    summary: ClassVar[str] = "geometric mean of the losses: their scales do not matter"

    method: Literal["geometric"] = "geometric"
    normalise: bool = False
    """The size of the weights is part of the method."""

    def build(self, setting: Setting) -> "Geometric":
        return Geometric(self, setting)


class Geometric(Weighting):
    """The mean is over the tasks that the batch observes and whose loss is not 0: those have no
    gradient, and would make the mean 0 for all."""

    def weigh(self, step: Step) -> Tensor:
        present = step.active & (step.losses > 0)
        losses = step.losses.clamp(min=SMALLEST)
        total = losses.log().where(present, 0.0).sum().div(present.sum().clamp(min=1)).exp()
        return torch.where(present, total / (present.sum() * losses), 0.0)
