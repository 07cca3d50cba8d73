"""UPGrad: the mean of the task gradients, each first projected onto what hurts no task.

pi(g_t) = J^T v_t,   v_t = argmin { v^T G v : v >= e_t }        w = (1/T) sum_t v_t
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from fulcrum.models.weightings import solvers
from fulcrum.models.weightings.gradients import GradientWeightingConfig


class UPGradConfig(GradientWeightingConfig):
    """No setting to tune: conflicts are projected away, and without any it is the plain mean."""

    source: ClassVar[str] = "Quinton and Rey, Jacobian Descent, arXiv 2406.16232, section 3"
    summary: ClassVar[str] = "gradients projected until no task is hurt"

    method: Literal["upgrad"] = "upgrad"
    unit_rows: bool = False
    """Solve on gradients of unit length: insensitive to the scale of losses, and another method
    than the paper's."""

    def solve(self, cosines: Tensor, norms: Tensor, random: torch.Generator) -> Tensor:
        if not self.unit_rows:
            return solvers.upgrad(cosines, norms)
        return solvers.upgrad(cosines, torch.ones_like(norms)) / norms
