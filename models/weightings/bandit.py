"""Task sampling by an adversarial bandit: one task a step, drawn by how much it helped the others.

    p_t = (1 - gamma) exp(S_t) / sum_s exp(S_s) + gamma / T        t ~ p        w_t = T, others 0
    S_t <- S_t + gamma (reward / p_t) / T        for the task drawn last, every so many steps
    reward = sigmoid(sum of the cosines of its gradient with the others')

The first epoch, or less of a short training, goes round the tasks in turn.
"""

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from models.gramians import GramianChoice, GramianConfig, SketchConfig
from models.step import Step
from models.weightings.base import Declared, Setting, Weighting, WeightingConfig


class BanditConfig(WeightingConfig):
    """EXP3 over tasks."""

    source: ClassVar[str] = "Combinatorial solvers by multi-armed bandits, arXiv 2305.06361; EXP3"
    summary: ClassVar[str] = "one task a step, drawn by how much it helps the others"
    family: ClassVar[Literal["losses", "gradients", "agent"]] = "agent"

    method: Literal["bandit"] = "bandit"
    gramian: GramianChoice = SketchConfig(every=12)
    """Where gradients are compared, and how often a reward is given."""
    gamma: float | None = Field(None, gt=0, le=1)
    """Share of uniform exploration; from the number of rewards when left out:
    sqrt(T ln T / ((e - 1) n))."""

    @property
    def place(self) -> GramianConfig:
        return self.gramian

    def build(self, setting: Setting) -> "Bandit":
        return Bandit(self, setting)

    def problems(self, declared: Declared) -> Iterator[tuple[tuple[str, ...], str]]:
        yield from super().problems(declared)
        if len(declared.tasks) == 1:
            yield ("method",), "draws one of several tasks, and there is one; expected `static`"


class Bandit(Weighting):
    """Departure: a reward compares the gradients of one batch, where the paper keeps the mean
    gradients of a window."""

    config: BanditConfig

    def __init__(self, config: BanditConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.round_robin = min(setting.epoch, setting.steps // 5)
        rounds = max(setting.steps // config.gramian.every, 1)
        self.exp3 = EXP3(len(self.names), config.gamma or default_gamma(len(self.names), rounds))

    def weigh(self, step: Step) -> Tensor:
        k, tasks = int(self.steps), len(self.names)
        chances = self.exp3.chances() * step.active
        if k < self.round_robin or not chances.any():
            drawn = k % tasks
        else:
            drawn = int(torch.multinomial(chances, 1, generator=self.random()))
        if k >= self.round_robin and k % self.config.gramian.every == 0 and step.active[drawn]:
            norms = step.gramian.diagonal().sqrt().clamp(min=1e-300)
            cosines = step.gramian[drawn] / (norms[drawn] * norms)
            self.exp3.reward(drawn, float((cosines.sum() - cosines[drawn]).sigmoid()))
        weights = torch.zeros(tasks, dtype=torch.float64)
        weights[drawn] = tasks
        return weights

    def facts(self) -> dict[str, float]:
        chances = zip(self.names, self.exp3.chances().tolist(), strict=True)
        return {**super().facts(), **{f"chance/{name}": chance for name, chance in chances}}


class EXP3(torch.nn.Module):
    """Auer et al., "The nonstochastic multiarmed bandit problem", 2002, section 3."""

    scores: Tensor

    def __init__(self, arms: int, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer("scores", torch.zeros(arms, dtype=torch.float64))

    def chances(self) -> Tensor:
        """`(arms,)`, summing to 1."""
        return (1 - self.gamma) * self.scores.softmax(0) + self.gamma / len(self.scores)

    def reward(self, arm: int, reward: float) -> None:
        """What the drawn arm brought, within [0, 1]."""
        chance = float(self.chances()[arm])
        self.scores[arm] += self.gamma * reward / chance / len(self.scores)


def default_gamma(arms: int, rounds: int) -> float:
    """Exploration for a known number of rewards (Auer et al., corollary 3.2)."""
    return min(1.0, math.sqrt(arms * math.log(arms) / ((math.e - 1) * rounds))) if arms > 1 else 1.0
