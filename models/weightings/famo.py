"""FAMO: all losses shall fall at the same relative rate, seen from losses alone.

w = softmax(xi)        total = c sum_t w_t log L_t,  c = 1 / sum_t (w_t / L_t)

    the weight of L_t is (w_t / L_t) / sum_s (w_s / L_s)
    after the step, on the same batch: delta_t = log L_t(before) - log L_t(after)
    xi takes an Adam step along Jac_softmax(xi)^T delta, with weight decay

A task that fell less than the weighted others gains weight.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from models.adam import Adam
from models.step import After, Step
from models.weightings.base import Setting, Weighting, WeightingConfig

LEAST = 1e-8


class FAMOConfig(WeightingConfig):
    """Fast adaptive multitask optimization."""

    source: ClassVar[str] = "Liu et al., FAMO, NeurIPS 2023, arXiv 2306.03792, algorithm 1"
    summary: ClassVar[str] = "equal relative progress, from the losses before and after a step"

    method: Literal["famo"] = "famo"
    lr: float = Field(0.025, gt=0)
    """Of xi's own Adam."""
    weight_decay: float = Field(1e-3, ge=0)
    """Of xi."""
    every: int = Field(10, ge=1)
    """Steps from one update of xi to the next, each of which costs a forward pass: 1 is the
    paper's."""

    def build(self, setting: Setting) -> "FAMO":
        return FAMO(self, setting)


class FAMO(Weighting):
    """Departure: xi is updated every ten steps, unless told otherwise."""

    config: FAMOConfig

    def __init__(self, config: FAMOConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.xi = nn.Parameter(torch.zeros(len(self.names), dtype=torch.float64))
        self.adam = Adam([self.xi], config.lr, config.weight_decay)
        self.before: tuple[Tensor, Tensor] | None = None

    def weigh(self, step: Step) -> Tensor:
        due = int(self.steps) % self.config.every == 0
        self.before = (step.losses, step.active) if due else None
        inverse = self.xi.detach().softmax(0) / step.losses.clamp(min=LEAST)
        inverse = torch.where(step.active, inverse, 0.0)
        return inverse / inverse.sum().clamp(min=1e-300)

    def after_step(self, after: After) -> None:
        if self.before is None:
            return
        before, active = self.before
        fell = before.clamp(min=LEAST).log() - after.again().clamp(min=LEAST).log()
        delta = torch.where(active, fell, 0.0)
        w = self.xi.detach().softmax(0)
        old = self.xi.detach().clone()
        self.adam.step([w * (delta - (w * delta).sum())])
        with torch.no_grad():
            self.xi.copy_(torch.where(active, self.xi, old))
