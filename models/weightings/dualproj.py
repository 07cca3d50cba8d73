"""DualProj: the mean gradient, projected onto what hurts no task.

    v = argmin { v^T G v : v >= 1/T }        w = v

Lopez-Paz and Ranzato's GEM projects so (NeurIPS 2017); as a method for many losses it is in the
paper of UPGrad.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from fulcrum.models.weightings import solvers
from fulcrum.models.weightings.gradients import GradientWeightingConfig


class DualProjConfig(GradientWeightingConfig):
    """The nearest update to the mean that hurts no task."""

    source: ClassVar[str] = "Quinton and Rey, Jacobian Descent, arXiv 2406.16232, section 3"
    summary: ClassVar[str] = "the mean gradient, projected until no task is hurt"

    method: Literal["dualproj"] = "dualproj"

    def solve(self, cosines: Tensor, norms: Tensor, random: torch.Generator) -> Tensor:
        return solvers.dualproj(cosines, norms)
