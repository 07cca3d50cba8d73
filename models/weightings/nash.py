"""Nash-MTL: the bargaining solution, in which no task's gain can rise by more than others fall.

    G w = 1 / w,  w > 0

The direction of the update does not depend on the scale of any loss, and hurts no task where any
direction does not. Departures: solved as FairGrad with alpha = 1, the same equation, since the
original's sequence of convex programs falls back to equal weights now and then; weights of opposed
gradients stop growing, see `solvers.LONGEST`; the length of the update is not clipped.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from fulcrum.models.weightings import solvers
from fulcrum.models.weightings.gradients import GradientWeightingConfig


class NashConfig(GradientWeightingConfig):
    """The bargaining solution: no setting, no scale to tune."""

    source: ClassVar[str] = "Navon et al., Nash-MTL, ICML 2022, arXiv 2202.01017, equation 3"
    summary: ClassVar[str] = "bargaining: a direction that no scale of a loss changes"

    method: Literal["nash"] = "nash"

    def solve(self, cosines: Tensor, norms: Tensor, random: torch.Generator) -> Tensor:
        return solvers.fairgrad(cosines, norms, 1.0)
