"""CAGrad: the best update for the worst task, not far from the mean gradient g_0.

    d = argmax min_t <g_t, d>   subject to   ||d - g_0|| <= c ||g_0||

c = 0 is the mean, a large c is MGDA. Up to c = 1 the update still goes down for the mean loss.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fulcrum.models.weightings import solvers
from fulcrum.models.weightings.gradients import GradientWeightingConfig


class CAGradConfig(GradientWeightingConfig):
    """The worst task's best within a ball around the mean."""

    source: ClassVar[str] = "Liu et al., CAGrad, NeurIPS 2021, arXiv 2110.14048, equation 4"
    summary: ClassVar[str] = "the best for the worst task, near the mean gradient"

    method: Literal["cagrad"] = "cagrad"
    c: float = Field(0.5, ge=0)
    """Radius of the ball, as a share of the mean gradient's length."""

    def solve(self, cosines: Tensor, norms: Tensor, random: torch.Generator) -> Tensor:
        return solvers.cagrad(cosines, norms, self.c)
