"""CoBa: weights by how the tasks' validation losses converge, damped when one of them diverges.

V_t(k)  validation loss of task t at look k over its first one        N  looks of the history

    a_t(k)  = least-squares slope of V_t over the last N looks        a_max(k) that of max_t V_t
    RCS_t   = softmax_t(T a_t(k) / sum_s |a_s(k)|)                     slow against the others
    ACS_t   = softmax_t(-N a_t(k) / sum of |a_t| over the last N)      fast against its own past
    DF      = min(k softmax over looks i <= k of (-tau i a_max(i) / sum_{i <= k} |a_max(i)|) [k], 1)
    w       = DF RCS + (1 - DF) ACS

While all converge DF is near 1 and slow tasks gain; when the worst one diverges DF falls, and ACS
takes weight from what diverges.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from models.step import After, Step
from models.weightings.base import Declared, Setting, Weighting, WeightingConfig

LOOKS = 50
"""Of a history, when it is left out and the training is long enough."""


class CoBaConfig(WeightingConfig):
    """Convergence balancer."""

    source: ClassVar[str] = "Gong et al., CoBa, EMNLP 2024, arXiv 2410.06741, equations 3-7"
    summary: ClassVar[str] = "by the slopes of validation losses; cuts what diverges"

    method: Literal["coba"] = "coba"
    every: int = Field(10, ge=1)
    """Steps from one look at a validation batch to the next; each costs a forward pass."""
    history: int | None = Field(None, ge=2)
    """Looks N; when left out 50, or a fifth of what the training has if that is less."""
    warmup: int | None = Field(None, ge=1)
    """Looks with equal weights; half the history when left out."""
    tau: float = Field(5.0, gt=0)
    """How sharply divergence is answered."""

    def build(self, setting: Setting) -> "CoBa":
        return CoBa(self, setting)

    def problems(self, declared: Declared) -> Iterator[tuple[tuple[str, ...], str]]:
        yield from super().problems(declared)
        if not declared.valid:
            yield ("method",), "looks at validation losses, and `data.split` makes no valid split"


class CoBa(Weighting):
    """As the paper has it where the released code differs: DF has its bound, ACS the window of N
    looks, there is no second softmax. As the code: a floor of 1 / (10 T) under every weight. In
    looks, where the paper counts steps; a task's first look stands for its value at the start."""

    config: CoBaConfig
    looks: Tensor
    first: Tensor
    ratios: Tensor
    slopes: Tensor
    worst: Tensor
    latest: Tensor

    def __init__(self, config: CoBaConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        tasks, total = len(self.names), max(setting.steps // config.every, 1)
        self.history = config.history or max(2, min(LOOKS, total // 5))
        self.warmup = config.warmup or max(1, self.history // 2)
        zeros = torch.zeros
        self.register_buffer("looks", zeros((), dtype=torch.int64))
        self.register_buffer("first", zeros(tasks, dtype=torch.float64))
        self.register_buffer("ratios", zeros(self.history, tasks, dtype=torch.float64))
        self.register_buffer("slopes", zeros(self.history, tasks, dtype=torch.float64))
        self.register_buffer("worst", zeros(total + 1, dtype=torch.float64))
        self.register_buffer("latest", torch.ones(tasks, dtype=torch.float64))

    def weigh(self, step: Step) -> Tensor:
        return self.latest

    def after_step(self, after: After) -> None:
        if (int(self.steps) - 1) % self.config.every == 0:
            self.look(after.held_out(int(self.looks)))

    def look(self, losses: Tensor) -> None:
        """Take in validation losses `(tasks,)`; a task without a row among them keeps its last."""
        k = int(self.looks)
        known = losses > 0
        self.first.copy_(torch.where((self.first == 0) & known, losses, self.first))
        ratio = torch.where(known, losses / self.first.where(self.first > 0, 1.0), self.ratios[-1])
        self.ratios.copy_(torch.cat([self.ratios[1:], ratio[None]]))
        self.looks += 1
        seen = self.ratios[-min(k + 1, self.history) :]
        slopes = slope(seen)
        self.slopes.copy_(torch.cat([self.slopes[1:], slopes[None]]))
        self.worst[min(k, len(self.worst) - 1)] = slope(seen.max(1, keepdim=True).values)[0]
        if k + 1 > self.warmup:
            self._renew(min(k + 1, len(self.worst)))

    def _renew(self, k: int) -> None:
        slopes, tasks = self.slopes[-1], len(self.names)
        recent = self.slopes[-min(k, self.history) :]
        rcs = (tasks * slopes / slopes.abs().sum().clamp(min=1e-300)).softmax(0)
        acs = (-len(recent) * slopes / recent.abs().sum(0).clamp(min=1e-300)).softmax(0)
        worst, places = self.worst[:k], torch.arange(1, k + 1, dtype=torch.float64)
        scores = -self.config.tau * places * worst / worst.abs().sum().clamp(min=1e-300)
        df = (k * scores.softmax(0)[-1]).clamp(max=1)
        weights = df * rcs + (1 - df) * acs
        floor = 1 / (10 * tasks)
        if (weights < floor).any():
            weights = weights * (1 - tasks * floor) + floor
        self.latest.copy_(weights)


def slope(values: Tensor) -> Tensor:
    """Least-squares slopes `(n,)` of the columns of `(looks, n)`; 0 for a single look."""
    x = torch.arange(len(values), dtype=values.dtype)
    x = x - x.mean()
    return x @ values / (x @ x).clamp(min=1e-300)
