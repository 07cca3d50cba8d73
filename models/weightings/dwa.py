"""Dynamic weight average: tasks whose loss falls slowly gain weight.

    r_t = L_t(e - 1) / L_t(e - 2)        w = T softmax(r / temperature)

L_t(e)  mean loss of task t over window e; w = 1 in the first two windows
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fulcrum.models.step import Step
from fulcrum.models.weightings.base import Setting, Weighting, WeightingConfig

SMALLEST = 1e-8
"""A mean loss of 0 has no ratio."""


class DWAConfig(WeightingConfig):
    """Windows and temperature."""

    source: ClassVar[str] = "Liu, Johns and Davison, arXiv 1803.10704, CVPR 2019, equation 7"
    summary: ClassVar[str] = "tasks whose loss falls slowly from epoch to epoch gain weight"

    method: Literal["dwa"] = "dwa"
    temperature: float = Field(2.0, gt=0)
    """Higher is closer to equal weights."""
    window: int | None = Field(None, ge=1)
    """Steps that a mean loss is taken over; an epoch, as in the paper, when left out."""

    def build(self, setting: Setting) -> "DWA":
        return DWA(self, setting)


class DWA(Weighting):
    """Departure: windows may be shorter than an epoch. The mean of a task is over the steps that
    observe it; a task that a whole window lacks keeps its latest ratio."""

    total: Tensor
    count: Tensor
    means: Tensor
    known: Tensor

    def __init__(self, config: DWAConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.temperature, self.window = config.temperature, config.window or setting.epoch
        zeros = torch.zeros(len(self.names), dtype=torch.float64)
        self.register_buffer("total", zeros.clone())
        self.register_buffer("count", zeros.clone())
        self.register_buffer("means", torch.stack([zeros, zeros], 1))
        self.register_buffer("known", zeros.long())

    def weigh(self, step: Step) -> Tensor:
        older, newer = self.means.clamp(min=SMALLEST).unbind(1)
        ratios = torch.where(self.known >= 2, newer / older, 1.0)
        self.total += step.losses.where(step.active, 0.0)
        self.count += step.active
        if (int(self.steps) + 1) % self.window == 0:
            self._turn()
        return len(ratios) * (ratios / self.temperature).softmax(0)

    def _turn(self) -> None:
        """A window is over."""
        seen = self.count > 0
        self.means[seen] = torch.stack([self.means[:, 1], self.total / self.count], 1)[seen]
        self.known += seen
        self.total.zero_()
        self.count.zero_()
