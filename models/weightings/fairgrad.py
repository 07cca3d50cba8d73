"""FairGrad: the utilities of tasks are made alpha-fair.

    G w = w^(-1 / alpha)

alpha = 1 is Nash bargaining (`nash`), alpha towards 0 the plain sum, a large alpha max-min.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fulcrum.models.weightings import solvers
from fulcrum.models.weightings.gradients import GradientWeightingConfig


class FairGradConfig(GradientWeightingConfig):
    """A fair share of the improvement for every task."""

    source: ClassVar[str] = "Ban and Ji, FairGrad, ICML 2024, arXiv 2402.15638, equation 4"
    summary: ClassVar[str] = "alpha-fair improvement of all tasks"

    method: Literal["fairgrad"] = "fairgrad"
    alpha: float = Field(2.0, gt=0)
    """How much the worse-off count."""

    def solve(self, cosines: Tensor, norms: Tensor, random: torch.Generator) -> Tensor:
        return solvers.fairgrad(cosines, norms, self.alpha)
