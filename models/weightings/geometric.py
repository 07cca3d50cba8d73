"""Geometric loss: the network follows the geometric mean of the losses.

total = (prod_t L_t)^(1/T)        w_t = d total / d L_t = total / (T L_t)
"""

from typing import ClassVar, Literal

from torch import Tensor

from fulcrum.models.step import Step
from fulcrum.models.weightings.base import Setting, Weighting, WeightingConfig

SMALLEST = 1e-8
"""The weight of a loss of 0 would be infinite."""


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
    """The mean is over the tasks that the batch observes."""

    def weigh(self, step: Step) -> Tensor:
        losses = step.losses.clamp(min=SMALLEST)
        total = losses[step.active].log().mean().exp()
        return total / (step.active.sum() * losses)
