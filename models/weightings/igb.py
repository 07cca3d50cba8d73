"""Improvable gap balancing, its first form: tasks far above their base loss gain weight.

    total = sum_t w_t log L_t        w = T softmax(L_t / base_t)        weight of L_t: w_t / L_t

base_t  mean loss of task t over the second window; w = 1 before it is known

In 1 / L_t a loss counts as no less than a hundredth of the task's mean loss so far: the logarithm
of a loss of 0 would ask for an infinite step.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fulcrum.models.step import Step
from fulcrum.models.weightings.base import Setting, Weighting, WeightingConfig
from fulcrum.models.weightings.level import Level

LEAST = 0.01
"""Share of its mean so far that a loss counts as at least, where it is divided by."""


class IGBConfig(WeightingConfig):
    """What a loss is compared with."""

    source: ClassVar[str] = "Dai, Fei and Lu, arXiv 2307.15429, UAI 2023, IGB-v1"
    summary: ClassVar[str] = "log losses, those far above their early level gain weight"

    method: Literal["igb"] = "igb"
    normalise: bool = False
    """The sum of log losses has a size of its own, the same whatever the scale of a loss."""
    window: int | None = Field(None, ge=1)
    """N, for a base over a task's steps from N to 2 N; an epoch, as in the paper, when left out."""

    def build(self, setting: Setting) -> "IGB":
        return IGB(self, setting)


class IGB(Weighting):
    """Departures: steps of a task are counted where it is observed, so that every task has a base
    over as many steps; the bound on 1 / L_t."""

    total: Tensor
    seen: Tensor

    def __init__(self, config: IGBConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.window = config.window or setting.epoch
        zeros = torch.zeros(len(self.names), dtype=torch.float64)
        self.register_buffer("total", zeros)
        self.register_buffer("seen", zeros.long())
        self.level = Level(len(self.names))

    def weigh(self, step: Step) -> Tensor:
        self.level.add(step)
        base = self.total / self.window
        based = (self.seen >= 2 * self.window) & (base > 0)
        gaps = torch.where(based, step.losses / base, 1.0)
        second = step.active & (self.window <= self.seen) & (self.seen < 2 * self.window)
        self.total += step.losses.where(second, 0.0)
        self.seen += step.active
        shares = gaps.where(step.active, -torch.inf).softmax(0)
        return step.active.sum() * shares * self.level.reciprocal(step.losses, LEAST)
