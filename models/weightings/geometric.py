"""Geometric loss: the product of the losses instead of their sum.

    total = (prod_t L_t)^(1/T)        w_t = d total / d L_t = total / (T L_t)

A loss times a constant has the same direction: no scale to tune. The product is over the tasks
that are active.
"""

from typing import ClassVar, Literal

from torch import Tensor

from models.step import Step
from models.weightings.base import Setting, Weighting, WeightingConfig

LEAST = 1e-8
"""Losses are taken as no smaller."""


class GeometricConfig(WeightingConfig):
    """The geometric mean of the losses."""

    source: ClassVar[str] = "Chennupati et al., MultiNet++, CVPR workshops 2019, arXiv 1904.08492"
    summary: ClassVar[str] = "the geometric mean of losses: no scale to tune"

    method: Literal["geometric"] = "geometric"
    normalise: bool = False
    """The size of the weights is part of the method."""

    def build(self, setting: Setting) -> "Geometric":
        return Geometric(self, setting)


class Geometric(Weighting):
    """Losses of all kinds of task here are positive, as the method needs."""

    def weigh(self, step: Step) -> Tensor:
        losses = step.losses.clamp(min=LEAST)
        active = step.active.double()
        tasks = active.sum().clamp(min=1)
        total = ((losses.log() * active).sum() / tasks).exp()
        return total / (tasks * losses)
