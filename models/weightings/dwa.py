"""Dynamic weight average: a task whose loss falls more slowly than others' gets more.

    r_t = L_t(k - 1) / L_t(k - 2)        w = T softmax(r / temperature)

L_t(k) is the mean loss of window k; weights are 1 in the first two windows.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from models.step import Step
from models.weightings.base import Setting, Weighting, WeightingConfig
from models.weightings.window import WindowMean


class DWAConfig(WeightingConfig):
    """Weights by how much losses fell from one window to the next."""

    source: ClassVar[str] = "Liu, Johns and Davison, CVPR 2019, arXiv 1803.10704, equation 7"
    summary: ClassVar[str] = "more for tasks whose loss falls slowly"

    method: Literal["dwa"] = "dwa"
    temperature: float = Field(2.0, gt=0)
    """The larger, the more equal the weights."""
    window: int | None = Field(None, ge=1)
    """Steps whose losses are averaged; an epoch, as in the paper, when left out."""

    def build(self, setting: Setting) -> "DWA":
        return DWA(self, setting)


class DWA(Weighting):
    """A task that was not seen in one of the two windows has ratio 1."""

    config: DWAConfig
    past: Tensor

    def __init__(self, config: DWAConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.window = config.window or setting.epoch
        self.current = WindowMean(len(self.names))
        past = torch.full((2, len(self.names)), torch.nan, dtype=torch.float64)
        self.register_buffer("past", past)

    def weigh(self, step: Step) -> Tensor:
        if int(self.steps) and int(self.steps) % self.window == 0:
            mean = self.current.mean.where(self.current.count > 0, torch.nan)
            self.past.copy_(torch.stack([mean, self.past[0]]))
            self.current.reset()
        self.current.add(step)
        ratio = (self.past[0] / self.past[1]).nan_to_num(1.0, posinf=1.0)
        return len(ratio) * (ratio / self.config.temperature).softmax(0)
