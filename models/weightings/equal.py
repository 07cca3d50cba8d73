"""Equal: the plain sum of the losses."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from fulcrum.models.step import Step
from fulcrum.models.weightings.base import Setting, Weighting, WeightingConfig


class EqualConfig(WeightingConfig):
    """Nothing to set."""

    source: ClassVar[str] = "the control of every weighting paper"
    summary: ClassVar[str] = "every weight is 1: the plain sum"

    method: Literal["equal"] = "equal"

    def build(self, setting: Setting) -> "Equal":
        return Equal(self, setting)


class Equal(Weighting):
    """Ones at every step."""

    ones: Tensor

    def __init__(self, config: EqualConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.register_buffer("ones", torch.ones(len(self.names)), persistent=False)

    def forward(self, step: Step) -> Tensor:
        """No loss is looked at, so a GPU is not waited for. A task that is observed nowhere has no
        gradient, whatever its weight."""
        self.steps += 1
        return self.ones
