"""Smooth Tchebycheff: a soft maximum of the losses.

    total = mu logsumexp_t(p_t L_t / b_t / mu)        w_t = softmax(...)_t p_t / b_t

mu towards 0 trains the worst task alone, a large mu the mean. b_t is the mean loss of the first
window, so that tasks are compared by how far they came; before it is known weights are 1.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from models.step import Step
from models.weightings.base import Setting, Weighting, WeightingConfig
from models.weightings.window import WindowMean


class STCHConfig(WeightingConfig):
    """Look after the task that came least far."""

    source: ClassVar[str] = "Lin et al., Smooth Tchebycheff, ICML 2024, arXiv 2402.19078"
    summary: ClassVar[str] = "a soft maximum: the task that came least far counts most"

    method: Literal["stch"] = "stch"
    mu: float = Field(1.0, gt=0)
    """How soft the maximum is."""
    window: int | None = Field(None, ge=1)
    """Steps whose mean losses are b; an epoch when left out."""

    def build(self, setting: Setting) -> "STCH":
        return STCH(self, setting)


class STCH(Weighting):
    """Departures: p = 1 / T; losses over their start, as public code has them, where the paper
    leaves scale and reference point to the user."""

    config: STCHConfig

    def __init__(self, config: STCHConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.window = config.window or setting.epoch
        self.start = WindowMean(len(self.names))

    def weigh(self, step: Step) -> Tensor:
        if int(self.steps) < self.window:
            self.start.add(step)
            return torch.ones_like(step.losses)
        start = self.start.mean.where(self.start.count > 0, 1.0).clamp(min=1e-12)
        return smooth_tchebycheff(step.losses / start, self.config.mu, step.active) / start


def smooth_tchebycheff(losses: Tensor, mu: float, active: Tensor) -> Tensor:
    """Weights `(tasks,)` of losses `(tasks,)` under the preference 1 / T."""
    preference = 1 / active.sum().clamp(min=1)
    scores = (losses * preference / mu).masked_fill(~active, -torch.inf)
    return scores.softmax(0) * preference
