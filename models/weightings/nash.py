"""Nash-MTL: the bargaining solution, in which no task's gain can rise by more than others fall.

    G w = 1 / w,  w > 0

Insensitive to the scale of every loss by itself, and in practice never in conflict. Departure:
solved as FairGrad with alpha = 1, the same equation, since the original's sequence of convex
programs falls back to equal weights now and then; the length of the update is not clipped.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from fulcrum.models.weightings import solvers
from fulcrum.models.weightings.gradients import GradientWeightingConfig


class NashConfig(GradientWeightingConfig):
    """The bargaining solution: no setting, no scale to tune."""

    source: ClassVar[str] = "Navon et al., Nash-MTL, ICML 2022, arXiv 2202.01017, equation 3"
    summary: ClassVar[str] = "bargaining: insensitive to the scale of losses"

    method: Literal["nash"] = "nash"

    def solve(self, cosines: Tensor, norms: Tensor, random: torch.Generator) -> Tensor:
        return solvers.fairgrad(cosines, norms, 1.0)
