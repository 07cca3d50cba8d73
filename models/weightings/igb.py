"""IGB: a task that is far above what it could reach gets more.

base_t  mean loss of the base window        w = T softmax(L_t / base_t)

    total = sum_t w_t log L_t        the weight of L_t is w_t / L_t

w is detached and recomputed at every step; before the base is known it is 1. A loss times a
constant has the same direction.
"""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from models.step import Step
from models.weightings.base import Setting, Weighting, WeightingConfig
from models.weightings.window import WindowMean


class IGBConfig(WeightingConfig):
    """Improvable gap balancing, from losses."""

    source: ClassVar[str] = "Dai, Fei and Lu, Improvable Gap Balancing, UAI 2023, arXiv 2307.15429"
    summary: ClassVar[str] = "more for tasks far above what they could reach"

    method: Literal["igb"] = "igb"
    window: int | None = Field(None, ge=1)
    """Steps of the base window, which begins after as many; an epoch when left out."""

    def build(self, setting: Setting) -> "IGB":
        return IGB(self, setting)


class IGB(Weighting):
    """The base is the mean loss of the second window, the paper's epoch 1 counted from 0. Where a
    training has but one window, weights are those of the log losses alone."""

    def __init__(self, config: IGBConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.window = config.window or setting.epoch
        self.base = WindowMean(len(self.names))

    def weigh(self, step: Step) -> Tensor:
        losses = step.losses.clamp(min=1e-8)
        done = int(self.steps) // self.window
        if done == 1:
            self.base.add(step)
        if done < 2:
            return 1 / losses
        return gaps(losses, self.base.mean.where(self.base.count > 0, losses)) / losses


def gaps(losses: Tensor, base: Tensor) -> Tensor:
    """T softmax(L / base), each `(tasks,)`."""
    return len(losses) * (losses / base.clamp(min=1e-12)).softmax(0)
