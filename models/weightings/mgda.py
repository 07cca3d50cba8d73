"""MGDA: the shortest vector in the convex hull of the task gradients.

    w = argmin { w^T G w : w >= 0, sum w = 1 }

Where it is not zero it goes down for every task. It leans to tasks with small gradients: of
orthogonal ones, w_t is proportional to 1 / ||g_t||^2.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from fulcrum.models.weightings import solvers
from fulcrum.models.weightings.gradients import GradientWeightingConfig


class MGDAConfig(GradientWeightingConfig):
    """The point of the hull nearest to zero."""

    source: ClassVar[str] = "Sener and Koltun, NeurIPS 2018, equation 3; Desideri, 2012"
    summary: ClassVar[str] = "the shortest mixture of gradients: leans to small ones"

    method: Literal["mgda"] = "mgda"
    unit_rows: bool = False
    """Solve on gradients of unit length, which takes the lean to small gradients away."""

    def solve(self, cosines: Tensor, norms: Tensor, random: torch.Generator) -> Tensor:
        if not self.unit_rows:
            return solvers.mgda(cosines, norms)
        return solvers.mgda(cosines, torch.ones_like(norms)) / norms
