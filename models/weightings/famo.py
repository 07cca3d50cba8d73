"""FAMO: the losses are made to fall at one relative speed, without looking at gradients.

    z = softmax(xi)        w_t = (z_t / L_t) / sum_s (z_s / L_s)
    after the step, on the same batch:   delta_t = log L_t(before) - log L_t(after)
    xi <- Adam on   J_softmax(xi)^T delta_t = z_t (delta_t - sum_s z_s delta_s)

A task that has just improved more than the others loses weight.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fulcrum.models.agents.adam import Adam
from fulcrum.models.step import After, Step
from fulcrum.models.weightings.base import Setting, Weighting, WeightingConfig

SMALLEST = 1e-8
"""Added to losses: the logarithm of one that has become 0 would be infinite."""


class FAMOConfig(WeightingConfig):
    """How fast, and how often, the weights learn."""

    source: ClassVar[str] = "Liu et al., arXiv 2306.03792, NeurIPS 2023"
    summary: ClassVar[str] = "all losses fall at one relative speed, measured after the step"

    method: Literal["famo"] = "famo"
    lr: float = Field(0.025, gt=0)
    """Of the weights' own Adam."""
    weight_decay: float = Field(1e-3, ge=0)
    """Pulls towards weights in inverse proportion to the losses."""
    every: int = Field(10, ge=1)
    """Steps from one update of the weights to the next, each of which costs a forward pass; 1 in
    the paper."""

    def build(self, setting: Setting) -> "FAMO":
        return FAMO(self, setting)


class FAMO(Weighting):
    """Departures: one update every `every` steps, so weights adapt that much more slowly for the
    same `lr`; the lower bound of every loss is 0. Tasks that are absent, or whose loss is
    0, have no part in z and delta: they have no gradient, and 1 / 0 would leave none to others."""

    before: Tensor
    active: Tensor

    def __init__(self, config: FAMOConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        tasks = len(self.names)
        self.every = config.every
        self.xi = nn.Parameter(torch.zeros(tasks, dtype=torch.float64))
        self.adam = Adam([self.xi], config.lr, config.weight_decay)
        self.register_buffer("before", torch.ones(tasks, dtype=torch.float64))
        self.register_buffer("active", torch.ones(tasks, dtype=torch.bool))

    def weigh(self, step: Step) -> Tensor:
        self.before.copy_(step.losses)
        self.active.copy_(step.active & (step.losses > 0))
        if not self.active.any():
            return torch.zeros_like(self.before)
        shares = self._shares() / (step.losses + SMALLEST)
        return len(shares) * shares / shares.sum()

    def after_step(self, after: After) -> None:
        if (int(self.steps) - 1) % self.every or not self.active.any():
            return
        delta = (self.before + SMALLEST).log() - (after.again() + SMALLEST).log()
        shares = self._shares()
        self.adam.step([shares * (delta - shares @ delta)], where=self.active)

    def _shares(self) -> Tensor:
        return self.xi.detach().where(self.active, -torch.inf).softmax(0)
