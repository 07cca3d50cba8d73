"""Bandit task sampling: every step trains one task, drawn by an adversarial bandit (EXP3).

    p_t = (1 - gamma) exp(S_t) / sum_s exp(S_s) + gamma / T        draw t ~ p: w_t = T, others 0
    reward_t = sigmoid(sum_{s != t} cos(g_s, g_t))        S_t <- S_t + gamma reward_t / (T p_t)
    gamma = min(1, sqrt(T ln T / ((e - 1) rounds)))

A task whose gradient goes along with those of others is drawn more often. Under equal
probabilities the expected weights are all 1.
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fulcrum.models.gramians import GramianChoice, GramianConfig, SketchConfig
from fulcrum.models.step import Step
from fulcrum.models.weightings.base import Setting, Weighting, WeightingConfig


class BanditConfig(WeightingConfig):
    """How much is explored, and where gradients are compared."""

    source: ClassVar[str] = (
        "Wang et al., arXiv 2305.06361; EXP3 by Auer et al., SIAM J. Comput. 32(1), 2002"
    )
    summary: ClassVar[str] = "one task a step, drawn by how much its gradient helps the others"
    family: ClassVar[Literal["losses", "gradients", "agent"]] = "gradients"

    method: Literal["bandit"] = "bandit"
    gamma: float | None = Field(None, ge=0, le=1)
    """Share of draws that are uniform, and speed of learning; from the number of rewards in the
    training when left out."""
    gramian: GramianChoice = SketchConfig(every=12)
    """Where the gradients are taken, and steps from one reward to the next."""

    @property
    def place(self) -> GramianConfig:
        return self.gramian

    def build(self, setting: Setting) -> "Bandit":
        return Bandit(self, setting)


class Bandit(Weighting):
    """Departures: the reward is of the gradients of one step, all tasks at the same weights and
    rows, and goes to the task drawn at that step; the paper compares means of the gradients that
    each task had over a window of steps that trained it. Round robin at first takes as many steps
    as from one reward to the next, or one for each task; in the paper an epoch."""

    scores: Tensor

    def __init__(self, config: BanditConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        tasks = len(self.names)
        self.every = config.gramian.every
        self.warm_up = max(tasks, self.every)
        rounds = max(1, setting.steps // self.every)
        gamma = min(1.0, math.sqrt(tasks * math.log(tasks) / ((math.e - 1) * rounds)))
        self.gamma = gamma if config.gamma is None else config.gamma
        self.register_buffer("scores", torch.zeros(tasks, dtype=torch.float64))

    def weigh(self, step: Step) -> Tensor:
        tasks, number = len(self.names), int(self.steps)
        likely = probabilities(self.scores, self.gamma) * step.active
        if number < self.warm_up:
            task = _first_active(step.active, number)
        else:
            task = torch.multinomial(likely, 1, generator=self.random())
        if number >= self.warm_up and number % self.every == 0:
            reward = helpfulness(step.gramian)[task].sigmoid()
            scores = rewarded(self.scores, likely / likely.sum(), task, reward, self.gamma)
            self.scores.copy_(scores)
        weights = torch.zeros(tasks, dtype=torch.float64)
        weights[task] = tasks
        return weights


def probabilities(scores: Tensor, gamma: float) -> Tensor:
    """`(..., T)` scores to the probabilities of being drawn."""
    return (1 - gamma) * scores.softmax(-1) + gamma / scores.shape[-1]


def rewarded(scores: Tensor, likely: Tensor, task: Tensor, reward: Tensor, gamma: float) -> Tensor:
    """New scores `(..., T)`, from the probabilities, the task drawn `(..., 1)` and its reward
    `(..., 1)` between 0 and 1."""
    worth = reward / likely.gather(-1, task)
    return scores.scatter_add(-1, task, gamma * worth / scores.shape[-1])


def helpfulness(products: Tensor) -> Tensor:
    """`(T,)` sum of the cosines of a task's gradient with those of the others, 0 for a task without
    a gradient."""
    norms = products.diagonal().sqrt()
    cosines = products / torch.outer(norms, norms).clamp(min=1e-300)
    return cosines.sum(1) - cosines.diagonal()


def _first_active(active: Tensor, number: int) -> Tensor:
    """`(1,)` the task whose turn it is; if it is absent, the next one that is not."""
    turn = number % len(active)
    return (active.roll(-turn).long().argmax(0, keepdim=True) + turn) % len(active)
