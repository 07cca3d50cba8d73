"""RMTL without critics: rows weighted by the losses that did follow in their session.

    M_ki = sum_j gamma^j r_k(row i + j), to the session's end, of the pretrained network
    omega_ki = 1 - lambda M_ki,  mean over rows 1 per task

An ablation and an oracle, not a method to serve: M holds the row's own label, so the weights leak
it and calibration suffers. What a critic learns should correlate with M.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch import distributed as dist

from fulcrum.features.tasks import TASKS
from fulcrum.models.agents.critics import LEAST, reward, session_ends
from fulcrum.models.step import Rows, Step
from fulcrum.models.weightings.base import Declared, Setting, Weighting, WeightingConfig
from fulcrum.models.weightings.row_weights import Normaliser
from fulcrum.models.weightings.static import StaticConfig


class RMTLMCConfig(WeightingConfig):
    """Realised returns in the place of critics."""

    source: ClassVar[str] = "the Monte-Carlo form of RMTL, arXiv 2302.03328: an ablation"
    summary: ClassVar[str] = "rmtl with realised losses for critics: leaks labels, an ablation"
    family: ClassVar[Literal["losses", "gradients", "agent"]] = "agent"
    sessions: ClassVar[bool] = True

    method: Literal["rmtl_mc"] = "rmtl_mc"
    strength: float = Field(0.7, ge=0)
    """lambda: how much a loss adds to a row's weight."""
    gamma: float = Field(0.95, ge=0, lt=1)
    """Discount of the session's next row."""

    @property
    def pretraining(self) -> WeightingConfig:
        return StaticConfig()

    def build(self, setting: Setting) -> "RMTLMC":
        return RMTLMC(self, setting)

    def problems(self, declared: Declared) -> Iterator[tuple[tuple[str, ...], str]]:
        yield from super().problems(declared)
        if not declared.binary:
            yield ("method",), "needs a binary task, whose predicted probability is the action"


class RMTLMC(Weighting):
    """Keeps a number per training row and binary task."""

    config: RMTLMCConfig
    returns: Tensor

    def __init__(self, config: RMTLMCConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.binary = [t for t, task in enumerate(setting.tasks) if TASKS[task.kind].two_classes]
        self.register_buffer("returns", torch.zeros(setting.rows, len(self.binary)))
        self.normaliser = Normaliser(self.names, self.binary, config.normalise)

    def lessons(self, epoch: int) -> int:
        return epoch

    def learn(self, rows: Rows) -> None:
        policy = rows.scores[:, self.binary].clamp(LEAST, 1 - LEAST)
        gained = reward(policy, rows.labels[:, self.binary]) * rows.observed[:, self.binary]
        returns = discounted(gained, session_ends(rows.session), self.config.gamma)
        self.returns[rows.index.cpu()] = returns.cpu()

    def taught(self) -> None:
        if dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(self.returns)

    @torch.no_grad()
    def weigh(self, step: Step) -> Tensor:
        rows = step.rows
        returns = self.returns[rows.index.cpu()].to(rows.state.device)
        return self.normaliser(1 - self.config.strength * returns, rows)

    def facts(self) -> dict[str, float]:
        return {**super().facts(), **self.normaliser.facts()}


def discounted(rewards: Tensor, ends: Tensor, gamma: float) -> Tensor:
    """Returns `(rows, K)` of rewards `(rows, K)` to the end of each session."""
    returns = rewards.clone()
    following = torch.zeros_like(returns[0])
    last = ends.tolist()
    for row in reversed(range(len(returns))):
        following = returns[row] + (0.0 if last[row] else gamma) * following
        returns[row] = following
    return returns
