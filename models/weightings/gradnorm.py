"""GradNorm: weights are learned so that every task trains at a like rate.

n_t = w_t ||g_t||        w = T softmax(s)        r_t = (L_t / L_t(0)) / mean_s (L_s / L_s(0))

    minimise over s alone:  sum_t | n_t - sg(mean(n) r_t^alpha) |

A task whose loss fell less than others' shall have a larger gradient.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fulcrum.models.agents.adam import Adam
from fulcrum.models.step import Step
from fulcrum.models.weightings.base import Setting
from fulcrum.models.weightings.gradients import GradientWeighting, GradientWeightingConfig


class GradNormConfig(GradientWeightingConfig):
    """Gradient sizes steered by training rates."""

    source: ClassVar[str] = "Chen et al., GradNorm, ICML 2018, arXiv 1711.02257, equations 1-2"
    summary: ClassVar[str] = "gradient sizes steered so that tasks train at like rates"

    method: Literal["gradnorm"] = "gradnorm"
    alpha: float = Field(1.5, ge=0)
    """How strongly slow tasks are pulled along; 0 makes all weighted gradients equally long."""
    lr: float = Field(0.025, gt=0)
    """Of the weights' own Adam, one step a look at the gradients."""
    window: int | None = Field(None, ge=1)
    """Steps at the start whose mean loss is L(0), with equal weights; an epoch when left out."""

    def build(self, setting: Setting) -> "GradNorm":
        return GradNorm(self, setting)


class GradNorm(GradientWeighting):
    """Departures: softmax, as in public code, where the paper renormalises; gradients at the table
    rows, where the paper takes the last shared layer; L(0) is a mean over a window, where the paper
    takes the first step."""

    config: GradNormConfig
    start: Tensor
    count: Tensor

    def __init__(self, config: GradNormConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        tasks = len(self.names)
        self.window = config.window or setting.epoch
        self.register_buffer("start", torch.zeros(tasks, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(tasks, dtype=torch.float64))
        self.losses = torch.zeros(tasks, dtype=torch.float64)
        self.s = nn.Parameter(torch.zeros(tasks, dtype=torch.float64))
        self.adam = Adam([self.s], config.lr)

    def weigh(self, step: Step) -> Tensor:
        self.losses = step.losses
        if int(self.steps) < self.window:
            self.count += step.active
            self.start += (step.losses - self.start) * step.active / self.count.clamp(min=1)
            return torch.ones_like(self.start)
        return super().weigh(step)

    def solve(self, cosines: Tensor, norms: Tensor, present: Tensor) -> Tensor:
        s = self.s.detach().clone().requires_grad_()
        with torch.enable_grad():
            weights = len(s) * s.softmax(0)
            objective = gradnorm(
                weights[present],
                norms,
                self.losses[present] / self.start[present].clamp(min=1e-12),
                self.config.alpha,
            )
            (gradient,) = torch.autograd.grad(objective, s)
        before = self.s.detach().clone()
        self.adam.step([gradient])
        with torch.no_grad():
            self.s.copy_(torch.where(present, self.s, before))
        return (len(s) * self.s.detach().softmax(0))[present]

    def scale(self, weights: Tensor, cosines: Tensor) -> Tensor:
        """To the sum that they have in the paper: conflicts are not looked at."""
        return len(weights) / weights.sum()


def gradnorm(weights: Tensor, norms: Tensor, ratios: Tensor, alpha: float) -> Tensor:
    """The objective, from weights, gradient lengths and L / L(0), each `(tasks,)`."""
    sizes = weights * norms
    target = sizes.mean() * (ratios / ratios.mean()) ** alpha
    return (sizes - target.detach()).abs().sum()
