"""Random loss weighting: new weights at every step.

u ~ N(0, I)        w = T softmax(u)
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from fulcrum.models.step import Step
from fulcrum.models.weightings.base import Setting, Weighting, WeightingConfig


class RandomConfig(WeightingConfig):
    """Nothing to set."""

    source: ClassVar[str] = "Lin et al., RLW, arXiv 2111.10603, TMLR 2022, algorithm 2"
    summary: ClassVar[str] = "random weights at every step: what a method has to beat"

    method: Literal["random"] = "random"

    def build(self, setting: Setting) -> "Random":
        return Random(self, setting)


class Random(Weighting):
    """The draws of a step depend on the seed and the step's number alone."""

    def weigh(self, step: Step) -> Tensor:
        tasks = len(self.names)
        noise = torch.randn(tasks, generator=self.random(), dtype=torch.float64)
        return tasks * noise.softmax(0)
