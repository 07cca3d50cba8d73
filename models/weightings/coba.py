"""CoBa: weights from the slopes of validation losses, damped when the worst task diverges.

    V_t(k)   = validation loss at look k / its value at the first look
    a_t(k)   = least squares slope of V_t over the last N looks, from look W on
    a_max(k) = the same of max_t V_t
    RCS_t    = softmax_t(T a_t(k) / sum_s |a_s(k)|)                     slow tasks gain weight
    ACS_t    = softmax_t(-n a_t(k) / sum over the last n <= N slopes |a_t|)    tasks that are fast
                                                                    against their past gain weight
    DF       = min(1, m softmax(-tau m a_max / sum |a_max|)_last)       over all m slopes so far
    w        = T (DF RCS + (1 - DF) ACS), w = 1 before look W

A weight below f = 1 / (10 T) of the total lifts all: w <- T ((1 - T f) w / T + f).
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fulcrum.models.step import After, Step
from fulcrum.models.weightings.base import Declared, Setting, Weighting, WeightingConfig


class CoBaConfig(WeightingConfig):
    """How often validation losses are looked at, and how far back."""

    source: ClassVar[str] = "Gong et al., arXiv 2410.06741, EMNLP 2024"
    summary: ClassVar[str] = "slopes of validation losses: slow tasks gain, diverging ones lose"

    method: Literal["coba"] = "coba"
    every: int = Field(10, ge=1)
    """Steps from one look to the next, each of which costs a forward pass; 1 in the paper."""
    warm_up: int | None = Field(None, ge=2)
    """W, looks before the first slope; a tenth of the training's, at most the public code's 100,
    when left out."""
    history: int | None = Field(None, ge=2)
    """N, looks that a slope is taken over; twice the warm-up, as in the public code, when left
    out."""
    tau: float = Field(5.0, gt=0)
    """How sharply divergence turns the weights from relative to absolute."""

    def build(self, setting: Setting) -> "CoBa":
        return CoBa(self, setting)

    def problems(self, declared: Declared) -> Iterator[tuple[tuple[str, ...], str]]:
        yield from super().problems(declared)
        if not declared.valid:
            yield ("method",), "learns from validation losses, and there is no validation split"


class History(nn.Module):
    """The latest rows of a growing list, oldest first."""

    rows: Tensor
    count: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(length, width, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def add(self, row: Tensor) -> None:
        self.rows.copy_(self.rows.roll(-1, 0))
        self.rows[-1] = row
        self.count += 1

    def latest(self) -> Tensor:
        """`(at most length, width)`."""
        return self.rows[-min(int(self.count), len(self.rows)) :]


class CoBa(Weighting):
    """Departures. From the paper: a look every `every` steps, and the first look instead of a whole
    validation pass is what losses are compared with. From the public code, with the paper: DF is at
    most 1, the absolute score has a window of N slopes, and no second softmax follows. The floor is
    the public code's. A task that a look does not observe keeps its value."""

    start: Tensor
    latest: Tensor

    def __init__(self, config: CoBaConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        tasks, looks = len(self.names), -(-setting.steps // config.every)
        self.every, self.tau = config.every, config.tau
        self.warm_up = config.warm_up or min(max(looks // 10, 2), 100)
        length = config.history or 2 * self.warm_up
        self.values, self.slopes = History(length, tasks), History(length, tasks)
        self.worst = History(looks, 1)
        self.register_buffer("start", torch.zeros(tasks, dtype=torch.float64))
        self.register_buffer("latest", torch.ones(tasks, dtype=torch.float64))

    def weigh(self, step: Step) -> Tensor:
        return self.latest

    def after_step(self, after: After) -> None:
        if (int(self.steps) - 1) % self.every:
            return
        self._look(after.held_out(int(self.values.count)))
        if self.values.count >= self.warm_up:
            values = self.values.latest()
            self.slopes.add(slopes(values))
            self.worst.add(slopes(values.amax(1, keepdim=True)))
            self.latest.copy_(len(self.latest) * self._shares())

    def _look(self, losses: Tensor) -> None:
        present = losses > 0
        self.start.copy_(torch.where(present & (self.start == 0), losses, self.start))
        before = self.values.latest()[-1] if self.values.count else torch.ones_like(losses)
        self.values.add(torch.where(present, losses / self.start, before))

    def _shares(self) -> Tensor:
        """`(T,)` of sum 1."""
        history, worst = self.slopes.latest(), self.worst.latest()[:, 0]
        now, tasks = history[-1], history.shape[1]
        relative = (tasks * over(now, now)).softmax(0)
        absolute = (-len(history) * over(now, history)).softmax(0)
        pressure = (-self.tau * len(worst) * over(worst, worst)).softmax(0)[-1]
        trust = (len(worst) * pressure).clamp(max=1)
        shares = trust * relative + (1 - trust) * absolute
        floor = 1 / (10 * tasks)
        return shares * (1 - tasks * floor) + floor if (shares < floor).any() else shares


def slopes(values: Tensor) -> Tensor:
    """`(looks, n)` to the `(n,)` least squares slopes of its columns."""
    place = torch.arange(len(values), dtype=values.dtype)
    place -= place.mean()
    return place @ values / (place @ place)


def over(slopes: Tensor, all_slopes: Tensor) -> Tensor:
    """Slopes over the sum of absolute slopes along the first dimension; 0 where nothing moves."""
    return slopes / all_slopes.abs().sum(0).clamp(min=1e-300)
