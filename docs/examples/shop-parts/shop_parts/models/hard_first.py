"""Dynamic task prioritisation: the tasks that the network knows least come first.

    kappa_t <- (1 - rate) kappa_t + rate exp(-L_t)        w_t = -(1 - kappa_t)^focus log kappa_t

L_t  loss of task t; exp(-L_t) of a log loss is how likely the network held the right answer
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fulcrum.models.step import Step
from fulcrum.models.weightings import Setting, Weighting, WeightingConfig

LEAST = 1e-6
"""kappa stays so far from 0 and 1, where a weight would be infinite or nothing."""


class HardFirstConfig(WeightingConfig):
    """How fast, and how much, the hardest tasks are preferred."""

    source: ClassVar[str] = "Guo et al., Dynamic Task Prioritization, ECCV 2018"
    summary: ClassVar[str] = "tasks that the network knows least gain weight"

    method: Literal["hard_first"] = "hard_first"
    rate: float = Field(0.05, gt=0, le=1)
    """Share of the newest step in the moving mean of what a task knows."""
    focus: float = Field(1.0, ge=0)
    """Higher leaves less to tasks that are known well."""

    def build(self, setting: Setting) -> "HardFirst":
        return HardFirst(self, setting)


class HardFirst(Weighting):
    """Departure: what a task knows is read off its loss, so tasks of any kind have it."""

    kappa: Tensor

    def __init__(self, config: HardFirstConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.rate, self.focus = config.rate, config.focus
        half = torch.full((len(self.names),), 0.5, dtype=torch.float64)
        self.register_buffer("kappa", half)

    def weigh(self, step: Step) -> Tensor:
        change = self.rate * ((-step.losses).exp() - self.kappa)
        self.kappa += change.where(step.active, 0.0)
        kappa = self.kappa.clamp(LEAST, 1 - LEAST)
        return -((1 - kappa) ** self.focus) * kappa.log()
