"""Aligned-MTL: the gradients are made an orthogonal system of equal lengths, then averaged.

    G = V diag(l) V^T        w = sqrt(l_min) V diag(l)^(-1/2) V^T p,   p = 1 / T

The system of aligned gradients has condition number 1.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from fulcrum.models.weightings import solvers
from fulcrum.models.weightings.gradients import GradientWeightingConfig


class AlignedConfig(GradientWeightingConfig):
    """Principal components of the gradients brought to one length."""

    source: ClassVar[str] = "Senushkin et al., CVPR 2023, arXiv 2305.19000, section 4"
    summary: ClassVar[str] = "principal components of the gradients at equal length"

    method: Literal["aligned"] = "aligned"
    scale: Literal["min", "median", "rmse"] = "min"
    """The common length: of the smallest component, as in the paper, or of a middle one."""

    def solve(self, cosines: Tensor, norms: Tensor, random: torch.Generator) -> Tensor:
        return solvers.aligned(cosines, norms, self.scale)
